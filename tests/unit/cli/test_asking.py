import argparse
import json

import pytest

from tests.unit.cli.answering import Daemon
from wfpd.cli.asking import ask, say_refusal
from wfpd.client import Refused
from wfpd.control.protocol import INVALID_PARAMS, METHOD_NOT_FOUND, NOT_ALLOWED, REFUSED, RpcError
from wfpd.errors import ControlError, UsageError


def test_the_result_comes_back(daemon: Daemon, path: str) -> None:
    daemon.answer = {"generation": 3}
    assert ask(argparse.Namespace(socket=path), "confirm") == {"generation": 3}


def test_a_refusal_is_for_the_caller_and_everything_else_could_not_be_reached(daemon: Daemon, path: str) -> None:
    arguments = argparse.Namespace(socket=path)
    daemon.answer = RpcError(REFUSED, "nothing waits")
    with pytest.raises(Refused, match="nothing waits"):
        ask(arguments, "confirm")
    for code in (NOT_ALLOWED, METHOD_NOT_FOUND):
        daemon.answer = RpcError(code, "not you")
        with pytest.raises(ControlError, match="confirm: not you"):
            ask(arguments, "confirm")


def test_what_cannot_be_meant_is_status_2(daemon: Daemon, path: str) -> None:
    daemon.answer = RpcError(INVALID_PARAMS, "'1.2.3' is no address", {"hint": "192.0.2.1"})
    with pytest.raises(UsageError, match="is no address") as caught:
        ask(argparse.Namespace(socket=path), "confirm")
    assert (caught.value.exit_status, caught.value.hint) == (2, "192.0.2.1")


def test_without_a_daemon_nothing_is_asked(path: str) -> None:
    with pytest.raises(ControlError, match="cannot reach wfpd"):
        ask(argparse.Namespace(socket=path), "status")


def test_a_refusal_is_told_with_its_problems_or_its_hint(capsys) -> None:
    assert say_refusal(Refused("confirm", REFUSED, "no", {"hint": "try this"}), as_json=False) == 1
    assert capsys.readouterr().err == "error: no\n  hint: try this\n"
    assert say_refusal(Refused("confirm", REFUSED, "no", {"problems": ["one", "two"]}), as_json=False) == 1
    assert capsys.readouterr().err == "error: one\nerror: two\n"
    assert say_refusal(Refused("confirm", REFUSED, "no", "odd"), as_json=True) == 1
    assert json.loads(capsys.readouterr().out) == {"successful": False, "error": "no"}

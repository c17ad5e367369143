"""The service around the packet path: kept words, sinks, a policy that is refused."""

from __future__ import annotations

import logging
import pathlib

import pytest

from wfpd.daemon.service import BAD_POLICY, _refuse, has_net_admin, make_sinks
from wfpd.errors import ControlError, KernelError, PolicyError, Problem
from wfpd.model.policy import DaemonSettings, Policy
from wfpd.observe.sinks import FileSink, Hub


def test_sinks_are_the_declared_ones_and_the_subscribers(tmp_path: pathlib.Path) -> None:
    hub = Hub()
    policy = Policy(daemon=DaemonSettings(events=({"type": "file", "path": str(tmp_path / "eve.json")},)))
    sinks = make_sinks(policy, hub)
    assert sinks[0] is hub and isinstance(sinks[1], FileSink)
    for sink in sinks:
        sink.close()


def test_a_refusal_is_logged_whole_and_has_its_exit_status(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    with caplog.at_level(logging.ERROR):
        assert _refuse(PolicyError([Problem("first"), Problem("second")]), None) == BAD_POLICY
        assert _refuse(KernelError("queue 0 is taken", hint="stop it"), None) == 3
    assert [record.message for record in caplog.records] == ["first", "second", "queue 0 is taken", "hint: stop it"]


def test_the_capability_is_read_from_the_effective_set(tmp_path: pathlib.Path) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\twfpd\nCapEff:\t0000000000001000\n")
    assert has_net_admin(str(status))
    status.write_text("CapEff:\t0000000000000400\nCapBnd:\t0000000000001000\n")
    assert not has_net_admin(str(status))


def test_an_event_file_that_cannot_be_opened_is_said_and_not_a_traceback(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "nowhere" / "eve.json"
    policy = Policy(daemon=DaemonSettings(events=({"type": "file", "path": str(path)},)))
    with pytest.raises(ControlError, match="cannot open"):
        make_sinks(policy, Hub())

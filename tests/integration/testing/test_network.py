"""The namespaces as a plug-in's test has them; what tests of wfpd do in them is in test_netns.py."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.proven import OTHER_USER, need_other_user
from wfpd.errors import KernelError
from wfpd.netfilter.commands import Commands
from wfpd.netfilter.namespace import path_of
from wfpd.testing.network import SERVER, Line, family_of, wait_until, why_no_namespaces

pytestmark = pytest.mark.usefixtures("needs_root")
ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("family", [4, 6])
def test_the_ends_reach_each_other_and_all_goes_at_the_end(family: int) -> None:
    with Line() as line:
        names = [space.name for space in (line.client, line.router, line.server)]
        process = line.popen(line.client, ["sleep", "600"])
        with line.tcp_echo(line.server, 7001, family):
            assert line.tcp_round_trip(line.client, 7001, to=SERVER[family]) == b"ping"
    assert process.poll() is not None
    assert not any(path_of(name).exists() for name in names)


def test_all_goes_after_a_failure_too() -> None:
    made: list[str] = []

    def fails() -> None:
        with Line() as line:
            made.extend(space.name for space in (line.client, line.router, line.server))
            line.ip("-n", line.client.name, "link", "set", "no-such-device", "up")

    with pytest.raises(KernelError, match="ip: "):
        fails()
    assert made and not any(path_of(name).exists() for name in made)


def test_who_may_make_none_is_told_why() -> None:
    need_other_user()
    assert why_no_namespaces() == ""
    code = "from wfpd.testing.network import why_no_namespaces; print(why_no_namespaces())"
    with Line() as line:
        done = line.run(line.client, [*OTHER_USER, "env", f"PYTHONPATH={ROOT}", sys.executable, "-c", code])
    assert done.stdout == "network namespaces need root; running as uid 65534\n"
    assert os.geteuid() == 0


def test_waiting_ends_when_it_holds_or_never_did() -> None:
    assert wait_until(lambda: True) and not wait_until(lambda: False, 0.01)
    assert family_of("::1") != family_of("127.0.0.1")


def test_a_queue_that_can_be_made_leaves_no_rule_and_one_that_cannot_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    with Line() as line:
        assert line.why_no_queue() == ""
        assert "NFQUEUE" not in line.router.rules()
        monkeypatch.setattr(Commands, "find", lambda self, tool: None)
        assert line.why_no_queue() == "no NFQUEUE here: iptables is not installed"
        monkeypatch.undo()

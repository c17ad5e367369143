import json
import os
import signal
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.unit.cli.answering import GOOD, Daemon
from wfpd import cli
from wfpd.control.protocol import INVALID_PARAMS, REFUSED, RpcError

ROW = {
    "verdict": "block", "packets": 3, "bytes": 300, "older_flows": 2, "first": 1.0, "last": 2.0,
    "active": {"layer": "ipforward_v4", "sublayer": "universal", "filter": "one", "reason": None},
    "staged": {"layer": None, "sublayer": None, "filter": None, "reason": "malformed"},
    "example": {"hook": "forward", "length": 28, "bytes": "45", "mark": None, "interface": None,
                "command": "wfpd explain --hook forward"},
}  # fmt: skip


def found(*rows: dict, running: bool = False, **more: object) -> dict:
    blocked = sum(row["packets"] for row in rows)
    return {
        "running": running, "ended": None if running else "time", "path": "/p.yaml", "hash": "ab" * 32, "n_filters": 2,
        "sample": 1, "answers": {}, "for": 60.0, "started": 0, "seconds": 60.0, "same": not rows,
        "packets": {"seen": 9, "left_out": 0, "compared": 9, "same": 9 - blocked, "would_block": blocked,
                    "would_permit": 0, "older_flows": 0, "waiting": 0},
        "not_decided": {"packets": 0, "callouts": {}}, "not_compared": {"ring_full": 0, "unparsable": 0},
        "differences": list(rows), "other": {"packets": 0, "bytes": 0},
    } | more  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "new.yaml"
    path.write_text(GOOD)
    return str(path)


def test_it_waits_for_the_end_and_says_that_nothing_would_change(daemon: Daemon, path: str, file: str, capsys) -> None:
    daemon.answer = found()
    assert cli.main(["stage", file, "--for", "10m", "--sample", "4", "--answer", "c=block", "--socket", path]) == 0
    assert daemon.asked == [{"path": file, "for": 600.0, "sample": 4, "answers": {"c": "block"}}, {}, {}]
    assert "nothing would change" in capsys.readouterr().out


def test_differences_name_both_filters_and_a_packet_and_are_1(daemon: Daemon, path: str, file: str, capsys) -> None:
    daemon.answer = found(ROW)
    assert cli.main(["stage", file, "--socket", path]) == 1
    out = capsys.readouterr().out
    assert "would block  3 packets, 300 bytes, 2 of connections without their beginning\n" in out
    assert "  active  ipforward_v4 universal one\n  staged  malformed\n" in out
    assert "  for example  wfpd explain --hook forward\n" in out
    assert "nothing would change" not in out


def test_what_is_not_decided_not_compared_or_left_out_is_said(daemon: Daemon, path: str, capsys) -> None:
    packets = found()["packets"] | {"older_flows": 5}
    daemon.answer = found(*[ROW] * 22, sample=8, same=False, packets=packets, other={"packets": 6, "bytes": 1},
                          not_decided={"packets": 7, "callouts": {"c": 7}},
                          not_compared={"ring_full": 11, "unparsable": 12})  # fmt: skip
    assert cli.main(["stage", "--status", "--socket", path]) == 1
    out = capsys.readouterr().out
    for part in ("1 flow in 8", "7 not decided: callout c", "11 not compared", "12 for longer headers", "2 more pairs",
                 "6 packets of pairs", "5 of them belong"):  # fmt: skip
        assert part in out


def test_detached_it_only_begins(daemon: Daemon, path: str, file: str, capsys) -> None:
    daemon.answer = found(running=True)
    assert cli.main(["stage", file, "--detach", "--socket", path]) == 0
    assert daemon.asked == [{"path": file}]
    assert "is tried for 60 s" in capsys.readouterr().out
    assert cli.main(["stage", file, "--detach", "--json", "--socket", path]) == 0
    assert json.loads(capsys.readouterr().out)["running"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_it_and_prints_what_was_found(
    daemon: Daemon, path: str, file: str, capsys, number: int
) -> None:
    def reply(params: Mapping[str, object]) -> dict:
        daemon.asked.append(dict(params))
        if len(daemon.asked) == 2:
            threading.Timer(0.05, os.kill, (os.getpid(), number)).start()
        return found(running=len(daemon.asked) < 3, seconds=0.0)

    daemon.reply = reply  # type: ignore[method-assign]
    assert cli.main(["stage", file, "--json", "--socket", path]) == 0
    assert not json.loads(capsys.readouterr().out)["running"] and len(daemon.asked) == 3


def test_without_a_stage_status_is_1_and_stop_is_refused(daemon: Daemon, path: str, capsys) -> None:
    daemon.answer = {"running": False, "path": None}
    assert cli.main(["stage", "--status", "--socket", path]) == 1
    daemon.answer = RpcError(REFUSED, "no policy is staged")
    assert cli.main(["stage", "--stop", "--socket", path]) == 1
    assert capsys.readouterr().err.count("no policy is staged") == 2


def test_a_refused_policy_says_its_problems(daemon: Daemon, path: str, file: str, capsys) -> None:
    daemon.answer = RpcError(REFUSED, "refused", {"problems": ["new.yaml:3: no such layer"]})
    assert cli.main(["stage", file, "--socket", path]) == 1
    assert "new.yaml:3: no such layer" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [[], ["--status", "--stop"], ["--status", "--sample", "2"], ["FILE", "--stop"],
                                   ["--stop", "--answer", "c=block"], ["FILE", "--answer", "c"]])  # fmt: skip
def test_what_makes_no_sense_is_2(daemon: Daemon, path: str, file: str, wrong: list[str]) -> None:
    assert cli.main(["stage", *[file if one == "FILE" else one for one in wrong], "--socket", path]) == 2
    assert daemon.asked == []


def test_an_unknown_callout_is_2_and_no_daemon_or_file_3(daemon: Daemon, path: str, file: str) -> None:
    daemon.answer = RpcError(INVALID_PARAMS, "the policy has no callout 'x'")
    assert cli.main(["stage", file, "--answer", "x=block", "--socket", path]) == 2
    assert cli.main(["stage", file, "--socket", path + ".none"]) == 3
    assert cli.main(["stage", file + ".none", "--socket", path]) == 3

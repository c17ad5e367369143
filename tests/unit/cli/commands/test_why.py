from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.control_schema import check_result
from tests.unit.cli.answering import Daemon
from wfpd import cli
from wfpd.capture import read_capture
from wfpd.control.protocol import INVALID_PARAMS, RpcError

HEAD = bytes([0x45, *bytes(39)])
RECORD: dict[str, Any] = {
    "first": 1000.25, "last": 1060.5, "timestamp_ns": 1_000_250_000_000, "count": 12, "verdict": "block",
    "audit": False, "reason": "filter", "layer": "ipforward_v4", "filter": "no\x1b[31m telnet", "sublayer": "universal",
    "sublayer_weight": 0x8000, "callout": None, "veto": False, "reply": None, "generation": 3, "hook": "forward",
    "in_interface": "c0", "out_interface": "s0", "flow_id": 0, "length": 60, "source": "192.0.2.1",
    "destination": "198.51.100.2", "protocol": "tcp", "source_port": 4000, "destination_port": 23,
    "tcp_flags": "syn+ack", "bytes": base64.b64encode(HEAD).decode(),
    "rows": [{"layer": "ipforward_v4", "action": "block", "right": "clear", "filter": "no\x1b[31m telnet",
              "sublayer": "universal", "discard": False}],
}  # fmt: skip
TELNET = "--proto tcp --src 192.0.2.1:4000 --dst 198.51.100.2:23 --flags syn,ack"
SIX = "--proto tcp --src '[2001:db8::1]:4000' --dst '[2001:db8::2]:23' --flags syn,ack"
AUDITED = (
    "would be blocked, let pass by audit mode at ipforward_v4 by filter f of sublayer universal (0x8000), "
    "reason veto, callout c, reply tcp_reset, generation 4"
)
PORTS = {"source_port", "destination_port", "tcp_flags"}


def answer(*records: dict[str, Any]) -> dict[str, Any]:
    found = {"records": list(records), "generation": 4, "kept": 7, "overwritten": 2, "oldest": 1000.25}
    check_result("why", found)
    return found


def lines(daemon: Daemon, path: str, capsys: Any, **changes: Any) -> list[str]:
    daemon.answer = answer({**RECORD, **changes})
    assert cli.main(["why", "--socket", path]) == 0
    shown: list[str] = capsys.readouterr().out.splitlines()
    return shown


def test_a_record_is_a_paragraph(daemon: Daemon, path: str, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(time, "time", lambda: 1240.5)
    monkeypatch.setattr(time, "localtime", time.gmtime)
    assert lines(daemon, path, capsys) == [
        "1970-01-01 00:16:40.250 (3 min ago), 12 times until 1970-01-01 00:17:40.500",
        "  tcp 192.0.2.1:4000 -> 198.51.100.2:23, syn+ack, 60 bytes, hook forward in by c0 out by s0",
        "  blocked at ipforward_v4 by filter no\\x1b[31m telnet of sublayer universal (0x8000), generation 3 (now 4)",
        "    ipforward_v4: block, right clear by no\\x1b[31m telnet (universal)",
        f"  now: wfpd explain --live --hook forward {TELNET} --interface c0",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"filter": None, "reason": "malformed", "malformed": "truncated_ip", "layer": None, "generation": 4},
      "blocked, reason malformed (truncated_ip), generation 4"),
     ({"filter": None}, "blocked at ipforward_v4 by a filter whose name is not known any more, generation 3 (now 4)"),
     ({"filter": "f", "audit": True, "callout": "c", "reason": "veto", "reply": "tcp_reset", "generation": 4},
      AUDITED),
     ({"filter": None, "verdict": "permit", "reason": "no_match", "generation": 4, "layer": None},
      "permitted, reason no_match, generation 4")],
)  # fmt: skip
def test_the_decision_says_who_and_why(daemon: Daemon, path: str, capsys: Any, changes: Any, said: str) -> None:
    assert lines(daemon, path, capsys, **changes)[2] == f"  {said}"


@pytest.mark.parametrize(
    ("changes", "command"),
    [({"hook": "postrouting"}, f"--hook output {TELNET} --interface s0"),
     ({"source": "2001:db8::1", "destination": "2001:db8::2", "in_interface": "a b"},
      f"--hook forward {SIX} --interface 'a b'"),
     ({"protocol": "icmp", "icmp_type": 8, "icmp_code": 0, "in_interface": "#4"},
      "--hook forward --proto icmp --src 192.0.2.1 --dst 198.51.100.2 --icmp 8/0")],
)  # fmt: skip
def test_the_last_line_asks_about_the_packet_now(
    daemon: Daemon, path: str, capsys: Any, changes: Any, command: str
) -> None:
    left_out = PORTS if changes.get("protocol") == "icmp" else set()
    daemon.answer = answer({k: v for k, v in {**RECORD, **changes}.items() if k not in left_out})
    assert cli.main(["why", "--socket", path]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"  now: wfpd explain --live {command}"


def test_a_packet_that_explain_cannot_describe_has_no_such_line(daemon: Daemon, path: str, capsys: Any) -> None:
    for left_out in (("source", "destination"), ("protocol",), ("source_port", "destination_port")):
        daemon.answer = answer({k: v for k, v in RECORD.items() if k not in left_out})
        assert cli.main(["why", "--socket", path]) == 0
        assert "explain" not in capsys.readouterr().out
    assert "explain" not in "".join(lines(daemon, path, capsys, tcp_flags="0x0"))


def test_options_are_parameters(daemon: Daemon, path: str, capsys: Any) -> None:
    daemon.answer = answer(RECORD)
    options = ["--proto", "tcp", "--filter", "f", "--verdict", "block", "--since", "2m", "--limit", "5", "--json"]
    assert cli.main(["why", "192.0.2.1:23", *options, "--socket", path]) == 0
    assert daemon.asked == [{"address": "192.0.2.1", "port": 23, "protocol": "tcp", "filter": "f", "verdict": "block",
                             "since": 120.0, "size": 5}]  # fmt: skip
    assert json.loads(capsys.readouterr().out) == daemon.answer


def test_nothing_is_1_and_says_what_there_is(daemon: Daemon, path: str, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(time, "time", lambda: 1060.25)
    daemon.answer = answer()
    assert cli.main(["why", "--socket", path]) == 1
    said = capsys.readouterr()
    assert (said.out, said.err) == (
        "", "nothing recorded fits; 7 records are kept, the oldest of 1 min ago, 2 were overwritten\n")  # fmt: skip


@pytest.mark.parametrize("wrong", [["host"], ["1.2.3.4:70000"], [""], [":"], ["[::1]:x"], ["--since", "0"],
                                   ["--limit", "1001"], ["--verdict", "drop"]])  # fmt: skip
def test_what_cannot_be_meant_is_2(wrong: list[str], path: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["why", *wrong, "--socket", path])
    assert stopped.value.code == 2


def test_what_the_daemon_cannot_read_is_2_and_no_daemon_is_3(daemon: Daemon, path: str, capsys: Any) -> None:
    daemon.answer = RpcError(INVALID_PARAMS, "'x' is no protocol's name")
    assert cli.main(["why", "--proto", "x", "--socket", path]) == 2
    assert cli.main(["why", "--socket", f"{path}-none"]) == 3


def test_a_capture_has_the_heads_oldest_first(daemon: Daemon, path: str, capsys: Any, tmp_path: Path) -> None:
    daemon.answer = answer({**RECORD, "filter": "f"}, {**RECORD, "timestamp_ns": 5, "in_interface": ""})
    file = tmp_path / "why.pcapng"
    assert cli.main(["why", "--pcap", str(file), "--socket", path]) == 0
    assert daemon.asked[0]["bytes"] is True
    found = list(read_capture(str(file)))
    assert [(one.timestamp_ns, one.data, one.original_length, one.interface_name) for one in found] == [
        (5, HEAD, 60, b"s0"), (1_000_250_000_000, HEAD, 60, b"c0")]  # fmt: skip
    assert b"blocked at ipforward_v4 by filter f of" in file.read_bytes()


def test_a_capture_that_cannot_be_written_is_3(daemon: Daemon, path: str, tmp_path: Path) -> None:
    daemon.answer = answer(RECORD)
    assert cli.main(["why", "--pcap", str(tmp_path / "none" / "x"), "--socket", path]) == 3

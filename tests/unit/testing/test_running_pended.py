"""`callouts: run` where callouts pend and coroutines decide: what is expected is of the verdict in the end."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from scapy.layers.inet import IP, UDP
from scapy.utils import wrpcap

from tests.unit.testing.files import ran, result
from wfpd.capture import read_capture
from wfpd.config import load_policy
from wfpd.replay import run
from wfpd.testing.running import Result

MODULE = """
import asyncio

class Pairs:
    '''Lets a question wait until an answer to its port comes, which says what becomes of it.'''
    parks = True
    modifies = True

    def __init__(self):
        self.waiting = {}

    def classify(self, c):
        port = c.values["ip_destination_port"]
        if c.values["ip_source_port"] == 9:
            for handle in self.waiting.pop(port, ()):
                handle.complete("permit" if port < 100 else "block")
        else:
            self.waiting.setdefault(port, []).append(c.pend())

class Interrupted:
    def classify(self, c):
        raise KeyboardInterrupt

class Hangs:
    async def classify(self, c):
        if c.values["ip_destination_port"] == 1:
            await asyncio.get_running_loop().create_future()
        elif c.values["ip_destination_port"] == 2:
            raise LookupError("port 2")
        c.block()
"""
POLICY = """\
version: 1
faults: {on_late: permit, on_error: block, late_after: 2s}
daemon: {callout_path: [.]}
callouts: [{name: c, use: "pended_cases:CLASS"}]
filters:
  - {name: ask, layer: ipforward, action: {callout: c, kind: unknown}, when: {ip_protocol: udp}}
"""
PACKETS = "proto: udp, callouts: run, packets: "
ANSWER = "src: '192.0.2.1:9'"


@pytest.fixture(autouse=True)
def module(tmp_path: Path) -> Iterator[None]:
    (tmp_path / "pended_cases.py").write_text(MODULE)
    yield
    sys.modules.pop("pended_cases", None)


def case(folder: Path, text: str, name: str = "Pairs") -> Result:
    return result(folder, text, POLICY.replace("[.]", f"[{folder}]").replace("CLASS", name))


def to(port: int, more: str) -> str:
    return f"{{dst: '198.51.100.2:{port}', {more}}}"


def test_what_is_expected_is_of_the_verdict_that_comes_when_it_is_decided(tmp_path: Path) -> None:
    packets = [
        to(53, "expect: {verdict: permit, reason: callout, callouts: [c]}"),
        to(443, "expect: {verdict: block, filter: ask}"),
        to(443, f"{ANSWER}, expect: {{reason: no_match}}"), to(53, f"{ANSWER}, after: 1s, expect: permit"),
    ]  # fmt: skip
    found = case(tmp_path, f"{PACKETS}[{', '.join(packets)}]")
    assert (found.outcome, found.n_packets, found.failures) == ("passed", 4, [])


def test_what_waits_too_long_or_at_the_end_gets_on_late(tmp_path: Path) -> None:
    late = [to(443, "expect: {verdict: permit, reason: late}"), to(443, f"{ANSWER}, after: 3s")]
    assert case(tmp_path, f"{PACKETS}[{', '.join(late)}]").outcome == "passed"
    assert case(tmp_path, f"{PACKETS}[{to(53, 'expect: {verdict: permit, reason: late}')}]").outcome == "passed"
    assert case(tmp_path, "proto: udp, callouts: run, expect: {reason: late}").outcome == "passed"


def test_a_packet_that_waited_is_explained_as_it_was_decided(tmp_path: Path) -> None:
    packets = [to(50, ""), to(443, "expect: permit"), to(443, ANSWER), to(50, ANSWER)]
    found = case(tmp_path, f"{PACKETS}[{', '.join(packets)}]")
    (failure,) = found.failures
    assert (failure.packet, failure.line and failure.line["reason"]) == (2, "callout")
    assert found.explanation and found.explanation["packet"]["number"] == 2
    assert found.explanation["decision"] == failure.line
    (asked,) = found.explanation["visits"][0]["layers"][0]["sublayers"][0]["filters"]
    assert asked["answer"] == {"kind": "block", "clear_right": False}


def test_a_coroutine_that_never_returns_is_late_and_what_one_raises_is_told(tmp_path: Path) -> None:
    fast = POLICY.replace("late_after: 2s", "late_after: 1ms").replace("[.]", f"[{tmp_path}]").replace("CLASS", "Hangs")
    text = f"{PACKETS}[{to(1, 'expect: {reason: late, verdict: permit}')}, {to(3, 'expect: block')}]"
    assert result(tmp_path, text, fast).outcome == "passed"
    found = result(tmp_path, f"{PACKETS}[{to(2, 'expect: permit')}]", fast)
    assert found.outcome == "failed" and any("LookupError('port 2')" in one for one in found.missing)


def test_an_interrupt_ends_the_tests_though_it_came_in_a_callout(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        case(tmp_path, "proto: udp, callouts: run, expect: permit", "Interrupted")


def capture(folder: Path, ports: list[tuple[int, int]]) -> str:
    packets = []
    for at, (source, port) in enumerate(ports):
        packet = IP(src="192.0.2.1", dst="198.51.100.2") / UDP(sport=source, dport=port)
        packet.time = at / 10
        packets.append(packet)
    wrpcap(str(folder / "some.pcap"), packets)
    return "capture: some.pcap, callouts: run"


def test_packets_of_a_capture_wait_for_later_ones_beyond_the_last_expected(tmp_path: Path) -> None:
    text = capture(tmp_path, [(1, 50), (1, 443), (1, 60), (9, 443), (9, 50), (9, 60)])
    found = case(tmp_path, f"{text}, packet: 2, expect: {{verdict: block, reason: callout}}")
    assert (found.outcome, found.n_packets) == ("passed", 2)  # Nothing is read beyond the one that decided it.
    found = case(tmp_path, f"{text}, packet: 2, expect: permit")
    assert found.explanation and found.explanation["decision"]["reason"] == "callout"
    found = case(tmp_path, f"{text}, expect: {{verdicts: {{permit: 5, block: 1}}, packets: {{2: block}}}}")
    assert (found.outcome, found.n_packets) == ("passed", 6)
    assert "no packet 7: it ends with packet 6" in case(tmp_path, f"{text}, packet: 7, expect: permit").error


def test_the_golden_lines_of_packets_that_wait_are_those_of_replay(tmp_path: Path) -> None:
    text = capture(tmp_path, [(1, 50), (1, 443), (9, 443), (1, 60), (9, 50)])
    (tmp_path / "policy.yaml").write_text(POLICY.replace("[.]", f"[{tmp_path}]").replace("CLASS", "Pairs"))
    with open(tmp_path / "golden.jsonl", "w") as out:
        policy = load_policy(str(tmp_path / "policy.yaml"), trust="warn")
        assert run(policy, iter(list(read_capture(str(tmp_path / "some.pcap")))), as_json=True, out=out) == 0
    numbers = [json.loads(line)["packet"] for line in (tmp_path / "golden.jsonl").read_text().splitlines()]
    assert numbers == [3, 2, 5, 1, 4]
    assert case(tmp_path, f"{text}, expect: {{golden: golden.jsonl}}").outcome == "passed"


def test_coverage_counts_a_packet_that_waits_once_it_is_decided(tmp_path: Path) -> None:
    policy = POLICY.replace("[.]", f"[{tmp_path}]").replace("CLASS", "Pairs")
    cases = f"  - {{name: it, {PACKETS}[{to(53, 'expect: permit')}, {to(53, ANSWER)}]}}\n"
    found, runner = ran(tmp_path, cases, coverage=True, policy=policy)
    assert [one.outcome for one in found.results] == ["passed"]
    (coverage,) = runner.coverage.values()
    assert coverage.document()["hit"] == 1

"""Byte patterns in packets and in streams, against a plain search."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6

from tests.replaying import decide
from tests.unit.callouts.builtin.fake import FakeContext, answer
from wfpd.callouts.builtin.byte_patterns import BytePatterns

PATTERN = st.binary(min_size=1, max_size=5).map(lambda data: bytes(byte & 1 for byte in data))
DATA = st.binary(max_size=60).map(lambda data: bytes(byte & 1 for byte in data))


class Flow:
    def __init__(self, callout: BytePatterns) -> None:
        self.callout, self.context = callout, None

    def indicate(self, data: bytes, direction: str = "inbound") -> Any:
        c = FakeContext(layer="stream_v4", stream=memoryview(data), stream_direction=direction)
        c.flow_context = self.context
        word = answer(self.callout, c)
        self.context = c.flow_context
        return word


@given(st.lists(PATTERN, min_size=1, max_size=4), DATA, st.lists(st.integers(0, 60), max_size=5))
def test_a_stream_is_dropped_with_the_piece_that_completes_a_pattern(
    patterns: list[bytes], data: bytes, cuts: list[int]
) -> None:
    flow = Flow(BytePatterns(hexadecimal=[one.hex() for one in patterns]))
    ends = [*sorted({cut for cut in cuts if cut < len(data)}), len(data)]
    for begin, end in zip([0, *ends], ends, strict=False):
        seen = any(one in data[:end] for one in patterns)
        assert flow.indicate(data[begin:end]) == ("drop_connection" if seen else "permit")
        if seen:
            return


def test_the_directions_of_a_flow_are_searched_apart() -> None:
    flow = Flow(BytePatterns("abc"))
    assert [flow.indicate(b"ab"), flow.indicate(b"c", "outbound"), flow.indicate(b"c")] == [
        "permit", "permit", "drop_connection",
    ]  # fmt: skip


@pytest.mark.parametrize("front", [IP(), IPv6()])
def test_payloads_of_packets_are_searched_and_their_headers_are_not(front: Any) -> None:
    callout = BytePatterns(["needle"], found="absorb")
    for transport in (UDP(), TCP(flags="PA")):
        assert answer(callout, FakeContext(bytes(front / transport / b"a needle"), layer="inbound_transport_v4")) == (
            "block", {"absorb": True},
        )  # fmt: skip
        assert answer(callout, FakeContext(bytes(front / transport / b"a needl"))) == "continue"
    assert answer(BytePatterns(hexadecimal="0000"), FakeContext(bytes(front / UDP(sport=0) / b"a"))) == "continue"
    assert answer(callout, FakeContext(bytes(front / ICMP() / b"needle"))) == "continue"


def test_case_and_characters_are_as_asked_for(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "patterns"
    file.write_text("# head\nde ad be ef\n")
    packet = bytes(IP() / UDP() / b"A NEEDLE")
    assert answer(BytePatterns("Needle"), FakeContext(packet)) == "continue"
    assert answer(BytePatterns("Needle", any_case=True), FakeContext(packet)) == "block"
    assert Flow(BytePatterns("Needle", any_case=True)).indicate(b"nEEDLE") == "drop_connection"
    assert answer(BytePatterns("ä"), FakeContext(bytes(IP() / UDP() / "ä".encode()))) == "block"
    assert answer(BytePatterns(file=str(file)), FakeContext(bytes(IP() / UDP() / b"\xde\xad\xbe\xef"))) == "block"
    assert answer(BytePatterns("N", found="permit"), FakeContext(packet)) == "permit"
    assert Flow(BytePatterns("N", found="permit")).indicate(b"N") == "permit"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "patterns, hexadecimal, file: none"), ({"patterns": ""}, "patterns, hexadecimal, file: a pattern has 1"),
        ({"patterns": 7}, "patterns: 7"), ({"hexadecimal": "abc"}, "hexadecimal: 'abc' is no hexadecimal"),
        ({"patterns": "a", "found": "drop"}, "found"), ({"patterns": "a", "any_case": 1}, "any_case"),
        ({"patterns": "a" * 65_536}, "patterns, hexadecimal, file: a pattern has 1"), ({"file": "x"}, "file"),
    ],
)  # fmt: skip
def test_options_that_mean_nothing_are_refused_by_name(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=f"^{said}"):
        BytePatterns(**options)


def test_replay_blocks_a_datagram_with_a_pattern() -> None:
    policy = """version: 1
callouts: [{name: search, use: "wfpd.callouts.builtin.byte_patterns:BytePatterns", options: {patterns: [needle]}}]
filters: [{name: one, layer: ipforward, action: {callout: search}}]
"""
    packets = [IP() / UDP() / b"a needle", IP() / UDP() / b"a needl", IP() / TCP(flags="PA") / b"needles"]
    assert [line["verdict"] for line in decide(policy, list(packets))] == ["block", "permit", "block"]

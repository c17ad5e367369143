"""The compiled sides of the callouts that write, against the same in Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt

from tests.builders import a_filter, a_policy, callout, slot, snapshot
from wfpd.callouts._rewrite import DscpWriter, SegmentClamp
from wfpd.callouts.builtin.dscp_set import DscpSet
from wfpd.callouts.builtin.mss_clamp import MssClamp
from wfpd.dataplane import Flows, Replayer
from wfpd.model.policy import Action, Word

FRONTS = [IP(tos=0x55), IPv6(tc=0xAA, fl=0xABCDE), IPv6() / IPv6ExtHdrDestOpt()]
OPTION = st.one_of(
    st.sampled_from(
        [b"\x00", b"\x01", b"\x02\x04\x05\xb4", b"\x02\x04\x00\x58", b"\x02\x03\x05", b"\x03\x03\x07", b"\x02"]
    ),
    st.binary(max_size=6),
)


def rewritten(one: object, packet: bytes, original: int | None = None) -> tuple[str, str, bytes | None]:
    at = [slot("ipforward", family) for family in (4, 6)]
    filters = [a_filter(f"f{each}", Action.CALLOUT_UNKNOWN, at=each, callout="c") for each in at]
    tables = snapshot(a_policy(filters, callouts=[callout("c")]), [one], on_error=Word.BLOCK)
    found = Replayer(tables, Flows(16)).visit(packet, "forward", 1, original=original or len(packet))
    return found["verdict"], found["reason"], found["modified"]


def python(one: Any) -> Callable[[Any], None]:
    """The same callout without its compiled side."""
    return lambda c: one.classify(c)


@given(
    st.sampled_from(FRONTS),
    st.lists(OPTION, max_size=6),
    st.sampled_from(["S", "SA", "A", "PA"]),
    st.integers(88, 2000),
)
def test_a_segment_size_is_lowered_as_in_python(front: Any, options: list[bytes], flags: str, most: int) -> None:
    data = b"".join(options)[:40]
    data += bytes(-len(data) % 4)
    packet = bytearray(bytes(front / TCP(flags=flags) / data))
    packet[len(packet) - len(data) - 20 + 12] = (5 + len(data) // 4) << 4
    clamp = MssClamp(mss=most)
    compiled = rewritten(clamp, bytes(packet))
    if compiled[1] == "malformed":  # It is left alone; in Python the write is refused.
        assert compiled == ("permit", "malformed", None)
    else:
        assert compiled == rewritten(python(clamp), bytes(packet))


@given(st.sampled_from(FRONTS), st.integers(0, 63))
def test_a_dscp_is_written_as_in_python(front: Any, dscp: int) -> None:
    packet, setter = bytes(front / UDP() / b"x"), DscpSet(dscp)
    compiled = rewritten(setter, packet)
    assert compiled == rewritten(python(setter), packet)
    before, after = (type(front)(one) for one in (packet, compiled[2] or packet))
    found = after.tos if after.version == 4 else after.tc
    assert (found >> 2, found & 3) == (dscp, (before.tos if before.version == 4 else before.tc) & 3)


@pytest.mark.parametrize("one", [DscpWriter(46), SegmentClamp(100, 100)])
def test_what_cannot_be_written_is_decided_by_on_error(one: object) -> None:
    packet = bytes(IP() / TCP(flags="S", options=[("MSS", 1460)]) / b"and more data")
    assert rewritten(one, packet[:50], len(packet)) == ("block", "error", None)


def test_what_is_as_it_should_be_is_not_written() -> None:
    packet = bytes(IP(tos=46 << 2) / TCP(flags="S", options=[("MSS", 100)]))
    assert (
        rewritten(DscpWriter(46), packet) == rewritten(SegmentClamp(100, 100), packet) == ("permit", "no_match", None)
    )

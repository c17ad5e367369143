"""Refused with the reply that fits."""

from __future__ import annotations

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.packet import Packet

from tests.replaying import decide
from tests.unit.callouts.builtin.fake import FakeContext, answer
from wfpd.callouts.builtin.reset import Reset

POLICY = """version: 1
callouts: [{name: refuse, use: "wfpd.callouts.builtin.reset:Reset"}]
filters: [{name: one, layer: ipforward_v4, action: {callout: refuse}}]
"""


@pytest.mark.parametrize(
    ("option", "packet", "reply"),
    [
        ("reset", IP() / TCP(), "tcp_reset"),
        ("reset", IP() / UDP(), "icmp_unreachable"),
        ("reset", IP() / ICMP(), "icmp_unreachable"),
        ("icmp_unreachable", IP() / TCP(), "icmp_unreachable"),
        ("tcp_reset", IP() / TCP(), "tcp_reset"),
    ],
)
def test_the_reply_is_the_one_asked_for_or_fits_the_protocol(option: str, packet: Packet, reply: str) -> None:
    assert answer(Reset(option), FakeContext(bytes(packet))) == ("block", {"reply": reply, "clear_right": True})
    assert answer(Reset(option, clear_right=False), FakeContext(bytes(packet))) == ("block", {"reply": reply})


def test_other_replies_are_refused() -> None:
    with pytest.raises(ValueError, match="reply: 'none' is none of reset, tcp_reset"):
        Reset("none")


def test_it_blocks_in_replay() -> None:
    assert [line["reason"] for line in decide(POLICY, [IP() / TCP(), IP() / UDP()])] == ["callout", "callout"]

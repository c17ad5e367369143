"""The ways to refuse."""

from __future__ import annotations

from typing import Any

import pytest
from scapy.layers.inet import IP, TCP, UDP

from tests.unit.callouts.builtin.fake import FakeContext
from wfpd.callouts.builtin.answers import REFUSALS, answer, answer_stream, refuse

TCP_PACKET, UDP_PACKET = bytes(IP() / TCP()), bytes(IP() / UDP())


@pytest.mark.parametrize(
    ("how", "layer", "packet", "given"),
    [
        ("block", "ipforward_v4", TCP_PACKET, {}),
        ("absorb", "ipforward_v4", TCP_PACKET, {}),
        ("absorb", "inbound_transport_v6", TCP_PACKET, {"absorb": True}),
        ("reset", "ipforward_v4", TCP_PACKET, {"reply": "tcp_reset"}),
        ("reset", "ipforward_v4", UDP_PACKET, {"reply": "icmp_unreachable"}),
        ("tcp_reset", "ipforward_v4", UDP_PACKET, {"reply": "tcp_reset"}),
        ("icmp_unreachable", "ipforward_v4", TCP_PACKET, {"reply": "icmp_unreachable"}),
    ],
)
def test_a_refusal_is_a_block_in_its_way(how: str, layer: str, packet: bytes, given: dict[str, Any]) -> None:
    soft, hard = FakeContext(packet, layer=layer), FakeContext(packet, layer=layer)
    refuse(soft, how)
    refuse(hard, how, clear_right=True)
    assert soft.answer == ("block", given) and hard.answer == ("block", given | {"clear_right": True})


def test_what_is_no_refusal_is_continue_or_permit() -> None:
    for how, word in (("continue", "continue"), ("permit", "permit"), ("reset", "block")):
        c = FakeContext(TCP_PACKET)
        answer(c, how)
        assert c.answer is not None and c.answer[0] == word


@pytest.mark.parametrize("how", ["continue", "permit", *REFUSALS])
def test_a_connection_is_allowed_or_dropped(how: str) -> None:
    c = FakeContext(layer="stream_v4")
    answer_stream(c, how)
    assert c.answer == ("drop_connection" if how in REFUSALS else "allow_connection", {})

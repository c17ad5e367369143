"""The ways to refuse."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from scapy.layers.inet import IP, TCP, UDP

from tests.unit.callouts.builtin.fake import FakeContext
from wfpd.callouts.builtin.answers import REFUSALS, answer, answer_stream, refuse
from wfpd.callouts.builtin.dscp_set import DscpSet
from wfpd.callouts.builtin.mss_clamp import MssClamp
from wfpd.callouts.registered import Registered
from wfpd.model.policy import Callout

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


@pytest.mark.parametrize("made", [DscpSet(46), MssClamp(1200)], ids=["dscp", "mss"])
def test_what_changes_packets_applies_to_layers_where_they_can_be_changed_only(made: object) -> None:
    item = Registered(Callout("c", uuid.UUID(int=1), "m:C", {}), made)
    assert not any(item.serves(name) for name in ("stream_v4", "stream_v6", "inbound_transport_v4_discard"))
    assert all(item.serves(name) for name in ("inbound_transport_v4", "ipforward_v6", "ale_auth_connect_v4"))

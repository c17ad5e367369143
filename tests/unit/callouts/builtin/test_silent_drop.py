"""Dropped without a trace."""

from __future__ import annotations

import pytest
from scapy.layers.inet import IP, UDP

from tests.replaying import decide
from tests.unit.callouts.builtin.fake import FakeContext, answer
from wfpd.callouts.builtin.silent_drop import SilentDrop

POLICY = """version: 1
callouts: [{name: drop, use: "wfpd.callouts.builtin.silent_drop:SilentDrop"}]
filters:
  - {name: one, layer: inbound_transport_v4, action: {callout: drop}, when: {ip_local_port: 9}}
  - {name: seen, layer: inbound_transport_discard, action: block}
"""


def test_it_absorbs_by_a_hard_block_unless_told_otherwise() -> None:
    transport = "inbound_transport_v4"
    assert answer(SilentDrop(), FakeContext(layer=transport)) == ("block", {"absorb": True, "clear_right": True})
    assert answer(SilentDrop(clear_right=False), FakeContext(layer=transport)) == ("block", {"absorb": True})
    assert answer(SilentDrop(), FakeContext(layer="ipforward_v6")) == ("block", {"clear_right": True})
    with pytest.raises(ValueError, match="clear_right"):
        SilentDrop(clear_right="no")  # type: ignore[arg-type]


def test_no_discard_layer_sees_the_packet() -> None:
    dropped, passed = decide(POLICY, [IP() / UDP(dport=9), IP() / UDP(dport=10)], hook="input")
    assert (dropped["verdict"], dropped["reason"], passed["verdict"]) == ("block", "callout", "permit")
    assert [row["layer"] for row in dropped["layers"]] == ["inbound_transport_v4"]

"""The DSCP is written, the ECN bits are left."""

from __future__ import annotations

import pytest
from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet

from tests.unit.callouts.builtin.fake import FakeContext, answer
from wfpd.callouts.builtin.dscp_set import DscpSet


def written(callout: DscpSet, packet: Packet) -> Packet:
    data = bytearray(bytes(packet))
    c = FakeContext(bytes(data))
    assert answer(callout, c) == "continue"
    for offset, part in c.written:
        data[offset : offset + len(part)] = part
    return type(packet)(bytes(data))


@pytest.mark.parametrize(("name", "number"), [("ef", 46), ("cs0", 0), ("af41", 34), ("le", 1), (63, 63)])
def test_it_is_written_in_both_families(name: str | int, number: int) -> None:
    assert written(DscpSet(name), IP(tos=0xFF)).tos == number << 2 | 3
    packet = written(DscpSet(name), IPv6(tc=0x55, fl=0xABCDE))
    assert (packet.version, packet.tc, packet.fl) == (6, number << 2 | 1, 0xABCDE)


def test_what_has_it_already_is_not_written() -> None:
    for packet in (IP(tos=46 << 2 | 1), IPv6(tc=46 << 2, fl=7)):
        c = FakeContext(bytes(packet))
        DscpSet("ef").classify(c)
        assert c.written == []


@pytest.mark.parametrize("value", ["best", 64, -1, True, None])
def test_what_is_no_dscp_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"^dscp"):
        DscpSet(value)  # type: ignore[arg-type]

"""A segment size is lowered and never raised."""

from __future__ import annotations

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet

from tests.unit.callouts.builtin.fake import FakeContext, answer
from wfpd.callouts.builtin.mss_clamp import MssClamp


def size_after(callout: MssClamp, packet: Packet) -> int:
    data = bytearray(bytes(packet))
    c = FakeContext(bytes(data))
    assert answer(callout, c) == "continue"
    for offset, part in c.written:
        data[offset : offset + len(part)] = part
    options = dict(type(packet)(bytes(data))[TCP].options)
    return int(options["MSS"])


def syn(front: Packet, size: int, flags: str = "S") -> Packet:
    return front / TCP(flags=flags, options=[("NOP", None), ("MSS", size), ("WScale", 7)])


def test_it_is_lowered_by_size_or_by_mtu() -> None:
    assert size_after(MssClamp(mss=1300), syn(IP(), 1460)) == 1300
    assert size_after(MssClamp(mtu=1420), syn(IP(), 1460)) == 1380
    assert size_after(MssClamp(mtu=1420), syn(IPv6(), 1440, "SA")) == 1360


def test_what_is_small_enough_or_no_syn_is_left() -> None:
    assert size_after(MssClamp(mss=1300), syn(IP(), 1300)) == 1300
    assert size_after(MssClamp(mss=1300), syn(IP(), 1460, "A")) == 1460


@pytest.mark.parametrize("options", [{}, {"mss": 1, "mtu": 2}, {"mss": 87}, {"mtu": 147}, {"mss": "1300"}])
def test_one_of_two_options_is_needed_and_is_a_size(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"^(mss|mtu)"):
        MssClamp(**options)

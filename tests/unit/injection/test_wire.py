"""The protocol between daemon and helper, and what is no part of it."""

from __future__ import annotations

import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6

from wfpd.injection import wire
from wfpd.injection.wire import Order

FOUR = bytes(IP(src="192.0.2.1", dst="198.51.100.2") / UDP() / b"four")
SIX = bytes(IPv6(src="2001:db8::1", dst="2001:db8::2") / UDP() / b"six")
ORDER = Order(FOUR, 0xABC00000, 3)


@pytest.mark.parametrize("packet", [FOUR, SIX])
@pytest.mark.parametrize("local", [False, True])
def test_an_order_is_read_as_it_was_written(packet: bytes, local: bool) -> None:
    order = Order(packet, 0xFFFFFFFF, 7, local)
    assert wire.decode(order.encode()) == order


@pytest.mark.parametrize(
    "message",
    [
        b"",
        ORDER.encode()[:31],
        ORDER.encode() + b"!",
        ORDER.encode()[:-1],
        b"\x02" + ORDER.encode()[1:],  # Another version.
        b"\x01\x06" + ORDER.encode()[2:],  # Another family than the packet's.
        b"\x01\x04\x00\x02" + ORDER.encode()[4:],
        Order(b"\x50" + FOUR[1:], 0).encode(),
        Order(b"\x44" + FOUR[1:], 0).encode(),  # A header of 16 bytes.
        Order(b"\x4f" + FOUR[1:], 0).encode(),  # One longer than the packet.
        Order(SIX[:39], 0).encode(),
        Order(SIX[:4] + b"\xff\xff" + SIX[6:], 0).encode(),
        Order(SIX[:4] + b"\xff\xff" + SIX[6:40] + bytes(65535), 0).encode(),
    ],
)
def test_what_is_no_order_with_one_whole_packet_is_refused(message: bytes) -> None:
    with pytest.raises(ValueError):
        wire.decode(message)


@given(st.binary(max_size=120))
def test_whatever_comes_is_an_order_or_a_value_error(message: bytes) -> None:
    try:
        order = wire.decode(message)
    except ValueError:
        return
    assert order.encode() == message and wire.whole_length(order.packet) == len(order.packet)


def test_a_helper_of_this_namespace_with_sockets_is_of_use() -> None:
    assert wire.read_hello(wire.hello(0)) == ""
    assert "Operation not permitted" in wire.read_hello(wire.hello(errno.EPERM))
    assert "no helper" in wire.read_hello(b"") and "no helper" in wire.read_hello(wire.hello(0) + b"!")
    version, error, device, inode = struct.unpack("!BxHQQ", wire.hello(0))
    assert "version 9" in wire.read_hello(wire.HELLO.pack(9, error, device, inode))
    assert "namespace" in wire.read_hello(wire.HELLO.pack(version, error, device, inode + 1))

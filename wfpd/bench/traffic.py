"""The packets of a measurement: made up from a seed, or a capture's."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence

from wfpd.capture import CapturedPacket

SIZE = 50
"""Bytes of a made-up IP packet: with its Ethernet header a 64-byte frame."""
UDP_HEADER = 8
IPV4_HEADER = 20


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071) of an even number of bytes."""
    total = sum(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))
    total = (total & 0xFFFF) + (total >> 16)
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF


def udp4(source: int, destination: int, source_port: int, destination_port: int, size: int = SIZE) -> bytes:
    """An IPv4 packet of `size` bytes with a UDP datagram that has no checksum."""
    head = b"\x45\0" + size.to_bytes(2, "big") + b"\0\0\x40\0\x40\x11"
    addresses = source.to_bytes(4, "big") + destination.to_bytes(4, "big")
    ports = source_port.to_bytes(2, "big") + destination_port.to_bytes(2, "big")
    udp = ports + (size - IPV4_HEADER).to_bytes(2, "big") + b"\0\0"
    payload = bytes(size - IPV4_HEADER - UDP_HEADER)
    return head + checksum(head + addresses).to_bytes(2, "big") + addresses + udp + payload


def routable4(address: int) -> bool:
    """Whether a router forwards packets from and to an IPv4 address."""
    return 0 < address >> 24 < 224 and address >> 24 != 127


def made_up(count: int, flows: int, seed: int = 1) -> list[bytes]:
    """`count` UDP packets of `flows` conversations, which take turns."""
    draw = random.Random(f"made up {flows} {seed}")
    ends = [(_host(draw), _host(draw), draw.randrange(1024, 65536), draw.randrange(1, 65536)) for _ in range(flows)]
    return list(itertools.islice(itertools.cycle([udp4(*each) for each in ends]), count))


def _host(draw: random.Random) -> int:
    while True:
        address = draw.getrandbits(32)
        if routable4(address):
            return address


def of_capture(captured: Iterator[CapturedPacket], count: int) -> list[bytes]:
    """At most `count` whole IP packets of a capture, from its beginning; those cut by its snap length are left out."""
    whole = (packet.data[: packet.original_length] for packet in captured if _is_whole(packet))
    return list(itertools.islice(whole, count))


def _is_whole(packet: CapturedPacket) -> bool:
    return packet.is_ip and len(packet.data) >= max(packet.original_length, IPV4_HEADER)


def repeated(packets: Sequence[bytes], count: int) -> list[bytes]:
    """`count` packets: a short capture over and over."""
    return list(itertools.islice(itertools.cycle(packets), count))

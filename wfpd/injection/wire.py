"""What daemon and helper say to each other: datagrams of a SOCK_SEQPACKET socket, numbers in network byte order.

daemon → helper  one packet a message: HEADER (version, IP version, 1 if it is to be received here and else 0, mark,
                 interface index) and the IP packet
helper → daemon  first HELLO (version, errno of what it could not open or 0, device and inode of its network
                 namespace), then COUNTS, cumulative, one number a result of RESULTS
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass

VERSION = 1
HEADER = struct.Struct("!BBHII")
HELLO = struct.Struct("!BxHQQ")
MOST = 65535
"""Bytes of a packet."""
RESULTS = ("sent", "invalid", "too_long", "no_route", "refused", "no_buffers", "error")
"""What can become of a packet that the helper has got."""
COUNTS = struct.Struct(f"!{len(RESULTS)}Q")
IPV4_HEADER, IPV6_HEADER = 20, 40


@dataclass(frozen=True, slots=True)
class Order:
    """One packet to be sent."""

    packet: bytes
    mark: int
    """The whole mark it carries."""
    interface: int = 0
    """Index, for a link-local destination; else 0."""
    local: bool = False
    """It is to be received by this host, and must not leave it."""

    def encode(self) -> bytes:
        """As one message."""
        return HEADER.pack(VERSION, self.packet[0] >> 4, self.local, self.mark, self.interface) + self.packet


def decode(message: bytes) -> Order:
    """ValueError unless it is an order with exactly one whole IP packet."""
    if len(message) < HEADER.size + IPV4_HEADER:
        raise ValueError("shorter than a header and a packet")
    version, family, local, mark, interface = HEADER.unpack_from(message)
    packet = message[HEADER.size :]
    if version != VERSION or local > 1:
        raise ValueError("another version of the protocol")
    if len(packet) > MOST or packet[0] >> 4 != family or whole_length(packet) != len(packet):
        raise ValueError("no whole IP packet")
    return Order(packet, mark, interface, bool(local))


def whole_length(packet: bytes) -> int:
    """Bytes that the IP header tells of, itself included; -1 where it cannot be one."""
    if packet[0] >> 4 == 4:
        header, length = (packet[0] & 15) * 4, int.from_bytes(packet[2:4], "big")
        return length if IPV4_HEADER <= header <= length else -1
    if packet[0] >> 4 == 6 and len(packet) >= IPV6_HEADER:
        return IPV6_HEADER + int.from_bytes(packet[4:6], "big")
    return -1


def hello(error: int) -> bytes:
    """A helper's first message; `error`: the errno of what it could not open, or 0."""
    return HELLO.pack(VERSION, error, *_namespace())


def read_hello(message: bytes) -> str:
    """Why this helper is of no use here, "" if it is."""
    if len(message) != HELLO.size:
        return "it is no helper"
    version, error, *namespace = HELLO.unpack(message)
    if version != VERSION:
        return f"it speaks version {version} of the protocol"
    if error:
        return f"it cannot open raw sockets: {os.strerror(error)}"
    if tuple(namespace) != _namespace():
        return "it is in another network namespace"
    return ""


def _namespace() -> tuple[int, int]:
    status = os.stat("/proc/thread-self/ns/net")
    return status.st_dev, status.st_ino

"""Heads of IP packets as a pcapng file (draft-ietf-opsawg-pcapng): one section, little-endian, link type RAW."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import BinaryIO, NamedTuple

LINK_RAW = 101
_SECTION, _INTERFACE, _ENHANCED_PACKET = 0x0A0D0D0A, 1, 6
_COMMENT, _IF_NAME, _IF_TSRESOL = 1, 2, 9
_NANOSECONDS = b"\x09"
MOST_COMMENT = 4096
"""Bytes of a comment; what is beyond is cut off, as are names beyond MOST_NAME."""
MOST_NAME = 255


class Head(NamedTuple):
    """The first bytes of one IP packet."""

    timestamp_ns: int  # Since 1970.
    data: bytes
    length: int  # Of the whole packet.
    interface: str
    comment: str


def write_pcapng(file: BinaryIO, heads: Iterable[Head]) -> int:
    """Write all of them, each interface when it is first named; how many packets that were."""
    file.write(_block(_SECTION, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)))
    interfaces: dict[str, int] = {}
    n = 0
    for head in heads:
        if head.interface not in interfaces:
            interfaces[head.interface] = len(interfaces)
            file.write(_interface(head.interface))
        file.write(_packet(interfaces[head.interface], head))
        n += 1
    return n


def _interface(name: str) -> bytes:
    named = _option(_IF_NAME, _cut(name, MOST_NAME)) if name else b""
    options = named + _option(_IF_TSRESOL, _NANOSECONDS)
    return _block(_INTERFACE, struct.pack("<HHI", LINK_RAW, 0, 0) + options + _option(0, b""))


def _packet(interface: int, head: Head) -> bytes:
    tick = max(0, head.timestamp_ns)
    fixed = struct.pack("<5I", interface, tick >> 32, tick & 0xFFFFFFFF, len(head.data),
                        max(head.length, len(head.data)))  # fmt: skip
    options = _option(_COMMENT, _cut(head.comment, MOST_COMMENT)) + _option(0, b"") if head.comment else b""
    return _block(_ENHANCED_PACKET, fixed + _padded(head.data) + options)


def _cut(text: str, most: int) -> bytes:
    """UTF-8 of at most so many bytes, whole characters; what is no text in it is escaped."""
    return text.encode("utf-8", "backslashreplace")[:most].decode("utf-8", "ignore").encode()


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + _padded(value)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _block(kind: int, body: bytes) -> bytes:
    size = struct.pack("<I", len(body) + 12)
    return struct.pack("<I", kind) + size + body + size

"""Segments of a connection, through the layer `stream` to an endpoint."""

from __future__ import annotations

import struct
from typing import Any

from tests.streams import Conversation, a_snapshot
from wfpd.dataplane._streams import Streams

WORD = b"evil"
TEXT = b"some good words and then evil ones, evevilil and eviL again: evil" * 2
"""What the sender means, by place; a segment may carry other bytes."""


def waits_for_the_word(c: Any) -> None:
    """Blocks the word, and holds what may be its beginning."""
    data = bytes(c.stream)
    keep = next((n for n in range(len(WORD) - 1, 0, -1) if data.endswith(WORD[:n])), 0)
    if WORD in data:
        c.block()
    elif keep == 0 or "NO_MORE_DATA" in c.stream_flags:
        c.permit()
    elif keep == len(data):
        c.need_more()
    else:
        c.permit()
        c.enforce(len(data) - keep)


TABLES = a_snapshot(
    waits_for_the_word
)  # With the module: builds that keep accounts ask each test for what it has taken.
FLAGS = {"S": 0x02, "SA": 0x12, "A": 0x10, "PA": 0x18, "FPA": 0x19, "RA": 0x14}


class Bare(Conversation):
    """Packets without checksums, which nobody looks at: Scapy would take most of the time."""

    def packet(self, at: int, data: bytes, flags: str, *, server: bool = False, ack: int | None = None) -> bytes:
        """As Conversation's."""
        sequence = (self.initial[server] + 1 + at) % 2**32
        acknowledged = 0 if ack is None else (self.initial[not server] + 1 + ack) % 2**32
        ports = (80, 40000) if server else (40000, 80)
        tcp = struct.pack("!HHIIBBHHH", *ports, sequence, acknowledged, 5 << 4, FLAGS[flags], 8192, 0, 0) + data
        if self.family == 4:
            ends = (b"\xc6\x33\x64\x02", b"\xc0\x00\x02\x01")
            head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 1, 0, 64, 6, 0)
        else:
            ends = (b"\x20" + bytes(14) + b"\x02", b"\x20" + bytes(14) + b"\x01")
            head = struct.pack("!IHBB", 6 << 28, len(tcp), 6, 64)
        return head + b"".join(ends if server else ends[::-1]) + tcp


class Endpoint:
    """What has arrived, byte by byte, if the first copy of a byte counts and if the last does."""

    def __init__(self) -> None:
        self.first: dict[int, int] = {}
        self.last: dict[int, int] = {}

    def take(self, at: int, data: bytes) -> None:
        """A segment."""
        for place, byte in enumerate(data, at):
            self.first.setdefault(place, byte)
            self.last[place] = byte

    def read(self, bytes_at: dict[int, int]) -> bytes:
        """The bytes in order from the first one on."""
        end = next(place for place in range(len(bytes_at) + 1) if place not in bytes_at)
        return bytes(bytes_at[place] for place in range(end))


def segments_any(data: bytes) -> None:
    """Any segments in any order: an endpoint that keeps the first or the last copy of a byte never reads the word."""
    talk = Bare(TABLES, family=6 if data[:1] > b"\x7f" else 4, initial=(2**32 - 40, 7), streams=Streams(16))
    talk.open()
    end = Endpoint()
    while len(data) >= 3:
        at, flags, length = data[0] & 127, data[1], data[2] & 31
        sent = data[3 : 3 + length] if flags & 3 == 3 else TEXT[at : at + length]
        word = "FPA" if flags & 28 == 4 else "RA" if flags & 28 == 8 else "PA"
        if talk.send(at, sent, word)[0] == "permit" and "R" not in word:
            end.take(at, sent)
        if flags & 32:
            talk.send(0, b"", "A", server=True, ack=len(end.read(end.first)))
        data = data[3 + (length if flags & 3 == 3 else 0) :]
    assert WORD not in end.read(end.first)
    assert WORD not in end.read(end.last)
    assert len(talk.flows.streams) <= 1


TARGETS = {"stream_segments": segments_any}

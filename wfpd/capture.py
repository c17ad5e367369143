"""Capture files as a stream of IP packets: pcap and pcapng, in the memory of one read-ahead.

A file is read once from front to back (a pipe will do).  What a file says about sizes is checked
before it is believed: a record or block beyond MAX_RECORD is an error, blocks that are passed over
are never held, and interfaces are counted.  Formats: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng;
link types: tcpdump.org/linktypes.html.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple

from wfpd.errors import CaptureError

MAX_RECORD = 1 << 20  # Bytes; tcpdump's largest snap length is 256 KiB, a jumbogram by GSO 512 KiB.
MAX_INTERFACES = 16384  # Of one pcapng section.
MAX_INTERFACE_NAME = 255  # Bytes; what is beyond is cut off.
READ_SIZE = 1 << 18

LINK_NULL, LINK_ETHERNET, LINK_LOOP, LINK_LINUX_SLL, LINK_LINUX_SLL2 = 0, 1, 108, 113, 276
LINK_RAW = (12, 14, 101)
LINK_IPV4, LINK_IPV6 = 228, 229

IP_TYPES = frozenset((b"\x08\x00", b"\x86\xdd"))
VLAN_TYPES = frozenset((b"\x81\x00", b"\x88\xa8", b"\x91\x00"))
# AF_INET, and AF_INET6 of Linux, NetBSD, FreeBSD and Darwin.
NULL_FAMILIES = frozenset(number.to_bytes(4, order) for number in (2, 10, 24, 28, 30) for order in ("little", "big"))

PCAP_MAGICS: dict[bytes, tuple[str, int, int]] = {  # Byte order, nanoseconds a unit, size of a record's header.
    b"\xa1\xb2\xc3\xd4": (">", 1000, 16),
    b"\xd4\xc3\xb2\xa1": ("<", 1000, 16),
    b"\xa1\xb2\x3c\x4d": (">", 1, 16),
    b"\x4d\x3c\xb2\xa1": ("<", 1, 16),
    b"\xa1\xb2\xcd\x34": (">", 1000, 24),  # Kuznetzov's, with interface and protocol behind.
    b"\x34\xcd\xb2\xa1": ("<", 1000, 24),
}
PCAPNG_MAGIC = b"\x0a\x0d\x0d\x0a"

BLOCK_SECTION, BLOCK_INTERFACE, BLOCK_OLD_PACKET = 0x0A0D0D0A, 1, 2
BLOCK_SIMPLE_PACKET, BLOCK_ENHANCED_PACKET = 3, 6
OPTION_END, OPTION_IF_NAME, OPTION_IF_TSRESOL, OPTION_IF_TSOFFSET = 0, 2, 9, 14

# (bytes, first, end) of a frame to the offset of its IP packet, -1 if it carries none.
Locator = Callable[[bytes, int, int], int]


class CapturedPacket(NamedTuple):
    """One packet of a capture; `data` is empty if it is not IP."""

    number: int  # From 1.
    timestamp_ns: int  # Since 1970, by the capture's clock.
    data: bytes  # From the IP header on; link-layer padding may follow the packet.
    original_length: int  # Bytes there were at `data` before the snap length cut; of a frame that is not IP, all.
    is_ip: bool
    interface_name: bytes | None  # pcapng's if_name.
    link_type: int


class _Interface(NamedTuple):
    link_type: int
    locate: Locator
    name: bytes | None
    snap_length: int  # 0: none.
    ticks: int  # A second.
    offset_ns: int


class _Buffer:
    """Read-ahead: `data[at:]` is what has not been used, `base` the file's offset of data[0]."""

    __slots__ = ("_read", "at", "base", "data")

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self.data = b""
        self.at = 0
        self.base = 0

    @property
    def position(self) -> int:
        return self.base + self.at

    @property
    def left(self) -> int:
        return len(self.data) - self.at

    def more(self) -> bool:
        """Read on; False at the end of the file."""
        chunk = self._read(READ_SIZE)
        if not chunk:
            return False
        self.base += self.at
        self.data = self.data[self.at :] + chunk
        self.at = 0
        return True

    def fill(self, size: int) -> bool:
        """Whether `size` unused bytes are there, reading on for them."""
        while self.left < size:
            if not self.more():
                return False
        return True

    def skip(self, size: int) -> bool:
        """Pass over `size` bytes without holding them."""
        while self.left < size:
            size -= self.left
            self.at = len(self.data)
            if not self.more():
                return False
        self.at += size
        return True


def _locate_ethernet(data: bytes, first: int, end: int) -> int:
    kind = data[first + 12 : first + 14]
    return _locate_behind_type(data, kind, first + 14, end)


def _locate_behind_type(data: bytes, kind: bytes, at: int, end: int) -> int:
    while kind in VLAN_TYPES and at < end:
        kind = data[at + 2 : at + 4]
        at += 4
    return at if kind in IP_TYPES and at <= end else -1


def _locate_sll(data: bytes, first: int, end: int) -> int:
    return _locate_behind_type(data, data[first + 14 : first + 16], first + 16, end)


def _locate_sll2(data: bytes, first: int, end: int) -> int:
    return _locate_behind_type(data, data[first : first + 2], first + 20, end)


def _locate_null(data: bytes, first: int, end: int) -> int:
    return first + 4 if first + 4 <= end and data[first : first + 4] in NULL_FAMILIES else -1


def _locate_raw(data: bytes, first: int, end: int) -> int:
    return first if first < end and data[first] >> 4 in (4, 6) else -1


def _locate_ip(data: bytes, first: int, end: int) -> int:
    return first


def _locate_nothing(data: bytes, first: int, end: int) -> int:
    return -1


_LOCATORS: dict[int, Locator] = {
    LINK_NULL: _locate_null,
    LINK_LOOP: _locate_null,
    LINK_ETHERNET: _locate_ethernet,
    LINK_LINUX_SLL: _locate_sll,
    LINK_LINUX_SLL2: _locate_sll2,
    **dict.fromkeys(LINK_RAW, _locate_raw),
    LINK_IPV4: _locate_ip,
    LINK_IPV6: _locate_ip,
}
SUPPORTED_LINK_TYPES = frozenset(_LOCATORS)  # Of any other every packet is "not IP".


def read_capture(source: str | os.PathLike[str] | BinaryIO) -> Iterator[CapturedPacket]:
    """The packets of a capture, in the file's order.

    Raises OSError at once if the file cannot be opened, and CaptureError where the file is not
    what it says or breaks off: after every packet before that place.  A file that is handed in
    open stays open.
    """
    if isinstance(source, (str, os.PathLike)):
        return _read_and_close(open(source, "rb", buffering=0))
    return _read(source)


def _read_and_close(file: BinaryIO) -> Iterator[CapturedPacket]:
    with file:
        yield from _read(file)


def _read(file: BinaryIO) -> Iterator[CapturedPacket]:
    buffer = _Buffer(file.read)
    if not buffer.fill(4):
        raise CaptureError("not a capture: shorter than any capture's header")
    magic = buffer.data[:4]
    if magic in PCAP_MAGICS:
        return _read_pcap(buffer, *PCAP_MAGICS[magic])
    if magic == PCAPNG_MAGIC:
        return _PcapngReader(buffer).packets()
    raise CaptureError(
        f"not a capture: unknown magic number {magic.hex()}", hint="wfpd reads pcap and pcapng, not compressed"
    )


def _broken_off(what: str, position: int) -> CaptureError:
    return CaptureError(f"the capture breaks off in {what} at byte {position}")


def _too_long(what: str, size: int, position: int) -> CaptureError:
    return CaptureError(f"{what} at byte {position} claims {size} bytes, more than {MAX_RECORD}")


def _packet(
    number: int, timestamp: int, data: bytes, first: int, end: int, original: int, interface: _Interface
) -> CapturedPacket:
    """The packet whose frame is data[first:end] and was `original` bytes long."""
    ip = interface.locate(data, first, end)
    if original < end - first:
        original = end - first
    if ip < 0 or (ip == end and original > end - first):
        fields = (number, timestamp, b"", original, False, interface.name, interface.link_type)
    else:
        length = original - (ip - first)
        fields = (number, timestamp, data[ip:end], length, True, interface.name, interface.link_type)
    return tuple.__new__(CapturedPacket, fields)


def _read_pcap(buffer: _Buffer, order: str, unit: int, header_size: int) -> Iterator[CapturedPacket]:
    if not buffer.fill(24):
        raise _broken_off("the file header", buffer.position)
    link_type = struct.unpack_from(order + "I", buffer.data, 20)[0] & 0xFFFF  # Above: length of the FCS.
    interface = _Interface(link_type, _LOCATORS.get(link_type, _locate_nothing), None, 0, 0, 0)
    buffer.at = 24
    unpack = struct.Struct(order + "4I").unpack_from
    number = 0
    while True:
        data, at = buffer.data, buffer.at
        last = len(data) - header_size
        while at <= last:
            seconds, fraction, size, original = unpack(data, at)
            if size > MAX_RECORD:
                raise _too_long("a record", size, buffer.base + at)
            first = at + header_size
            end = first + size
            if end > len(data):
                break
            number += 1
            yield _packet(number, seconds * 1_000_000_000 + fraction * unit, data, first, end, original, interface)
            at = end
        buffer.at = at
        if not buffer.more():
            break
    if buffer.left:
        raise _broken_off("a record", buffer.position)


class _PcapngReader:
    """One pcapng file: byte order and interfaces belong to the section, the numbering to the file."""

    def __init__(self, buffer: _Buffer) -> None:
        self._buffer = buffer
        self._interfaces: list[_Interface] = []
        self._number = 0
        self._timestamp = 0  # Of the last packet; simple packets have none of their own.
        self._set_order("<")

    def _set_order(self, order: str) -> None:
        self._order = order
        self._head = struct.Struct(order + "2I").unpack_from
        self._word = struct.Struct(order + "I").unpack_from
        self._enhanced = struct.Struct(order + "5I").unpack_from
        self._old = struct.Struct(order + "2H4I").unpack_from

    def packets(self) -> Iterator[CapturedPacket]:
        buffer = self._buffer
        while buffer.fill(8):
            if buffer.data[buffer.at : buffer.at + 4] == PCAPNG_MAGIC:
                self._read_order()
            kind, size = self._head(buffer.data, buffer.at)
            if size < 12 or size % 4:
                raise CaptureError(f"a block at byte {buffer.position} has the impossible length {size}")
            if kind == BLOCK_ENHANCED_PACKET:
                self._whole_block(size)
                yield self._enhanced_packet(buffer.data, buffer.at + 8, buffer.at + size - 4)
            elif kind == BLOCK_INTERFACE:
                self._whole_block(size)
                self._add_interface(buffer.data, buffer.at + 8, buffer.at + size - 4)
            elif kind == BLOCK_SECTION:
                self._whole_block(size)
                self._begin_section(buffer.data, buffer.at + 8, buffer.at + size - 4)
            elif kind == BLOCK_SIMPLE_PACKET:
                self._whole_block(size)
                yield self._simple_packet(buffer.data, buffer.at + 8, buffer.at + size - 4)
            elif kind == BLOCK_OLD_PACKET:
                self._whole_block(size)
                yield self._old_packet(buffer.data, buffer.at + 8, buffer.at + size - 4)
            self._end_block(size)
        if buffer.left:
            raise _broken_off("a block", buffer.position)

    def _whole_block(self, size: int) -> None:
        position = self._buffer.position
        if size > MAX_RECORD:
            raise _too_long("a block", size, position)
        if not self._buffer.fill(size):
            raise _broken_off("a block", position)

    def _end_block(self, size: int) -> None:
        """Pass over the block and check that its length stands at its end too."""
        buffer = self._buffer
        position = buffer.position
        if not (buffer.skip(size - 4) and buffer.fill(4)):
            raise _broken_off("a block", position)
        if self._word(buffer.data, buffer.at)[0] != size:
            raise CaptureError(f"a block at byte {position} has different lengths at its begin and its end")
        buffer.at += 4

    def _read_order(self) -> None:
        buffer = self._buffer
        if not buffer.fill(12):
            raise _broken_off("a section header", buffer.position)
        mark = buffer.data[buffer.at + 8 : buffer.at + 12]
        if mark not in (b"\x4d\x3c\x2b\x1a", b"\x1a\x2b\x3c\x4d"):
            raise CaptureError(f"a section header at byte {buffer.position} has no byte-order magic")
        self._set_order("<" if mark[0] == 0x4D else ">")

    def _begin_section(self, data: bytes, at: int, end: int) -> None:
        if end - at < 16:
            raise CaptureError(f"a section header at byte {self._buffer.position} is too short")
        major = struct.unpack_from(self._order + "H", data, at + 4)[0]
        if major != 1:
            raise CaptureError(f"pcapng version {major} at byte {self._buffer.position} is not supported")
        self._interfaces = []

    def _add_interface(self, data: bytes, at: int, end: int) -> None:
        if end - at < 8:
            raise CaptureError(f"an interface block at byte {self._buffer.position} is too short")
        if len(self._interfaces) == MAX_INTERFACES:
            raise CaptureError(f"more than {MAX_INTERFACES} interfaces at byte {self._buffer.position}")
        link_type, _, snap_length = struct.unpack_from(self._order + "2HI", data, at)
        name: bytes | None = None
        ticks, offset = 1_000_000, 0
        for code, value in self._options(data, at + 8, end):
            if code == OPTION_IF_NAME:
                name = value[:MAX_INTERFACE_NAME].rstrip(b"\0")
            elif code == OPTION_IF_TSRESOL and value:
                ticks = 2 ** (value[0] & 0x7F) if value[0] & 0x80 else 10 ** value[0]
            elif code == OPTION_IF_TSOFFSET and len(value) == 8:
                offset = struct.unpack(self._order + "q", value)[0] * 1_000_000_000
        locate = _LOCATORS.get(link_type, _locate_nothing)
        self._interfaces.append(_Interface(link_type, locate, name, snap_length, ticks, offset))

    def _options(self, data: bytes, at: int, end: int) -> Iterator[tuple[int, bytes]]:
        while end - at >= 4:
            code, size = struct.unpack_from(self._order + "2H", data, at)
            at += 4
            if code == OPTION_END:
                return
            if size > end - at:
                raise CaptureError(f"an option of the block at byte {self._buffer.position} runs over its end")
            yield code, data[at : at + size]
            at += size + (-size & 3)

    def _interface(self, index: int) -> _Interface:
        if index >= len(self._interfaces):
            raise CaptureError(f"a packet at byte {self._buffer.position} names interface {index}, which is not there")
        return self._interfaces[index]

    def _enhanced_packet(self, data: bytes, at: int, end: int) -> CapturedPacket:
        if end - at < 20:
            raise CaptureError(f"a packet block at byte {self._buffer.position} is too short")
        index, high, low, size, original = self._enhanced(data, at)
        return self._timed_packet(index, high << 32 | low, size, original, at + 20, end)

    def _old_packet(self, data: bytes, at: int, end: int) -> CapturedPacket:
        if end - at < 20:
            raise CaptureError(f"a packet block at byte {self._buffer.position} is too short")
        index, _, high, low, size, original = self._old(data, at)
        return self._timed_packet(index, high << 32 | low, size, original, at + 20, end)

    def _timed_packet(self, index: int, tick: int, size: int, original: int, first: int, end: int) -> CapturedPacket:
        interface = self._interface(index)
        if size > end - first:
            raise CaptureError(f"a packet at byte {self._buffer.position} is longer than its block")
        self._timestamp = tick * 1_000_000_000 // interface.ticks + interface.offset_ns
        self._number += 1
        return _packet(self._number, self._timestamp, self._buffer.data, first, first + size, original, interface)

    def _simple_packet(self, data: bytes, at: int, end: int) -> CapturedPacket:
        if end - at < 4:
            raise CaptureError(f"a packet block at byte {self._buffer.position} is too short")
        interface = self._interface(0)
        original = self._word(data, at)[0]
        size = min(original, interface.snap_length or original)
        if size > end - at - 4:
            raise CaptureError(f"a packet at byte {self._buffer.position} is longer than its block")
        self._number += 1
        return _packet(self._number, self._timestamp, data, at + 4, at + 4 + size, original, interface)

"""Capture files to packets: formats, link types, and files that lie."""

from __future__ import annotations

import io
import json
import pathlib
import struct
import tracemalloc

import pytest

from wfpd import capture
from wfpd.capture import CapturedPacket, read_capture
from wfpd.errors import CaptureError

CAPTURES = pathlib.Path(__file__).parents[1] / "data" / "captures"
EXPECTED = json.loads((CAPTURES / "expected.json").read_text())
IP4 = bytes.fromhex("4500001c00010000401100000a0000010a000002") + bytes.fromhex("0035003500080000")
ETHERNET = bytes(12) + b"\x08\x00"


def pcap(*records: bytes, magic: int = 0xA1B2C3D4, order: str = "<", link_type: int = 1) -> bytes:
    return struct.pack(order + "I2H4I", magic, 2, 4, 0, 0, 65535, link_type) + b"".join(records)


def record(frame: bytes, seconds: int = 1, fraction: int = 2, original: int | None = None, order: str = "<") -> bytes:
    length = len(frame) if original is None else original
    return struct.pack(order + "4I", seconds, fraction, len(frame), length) + frame


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    body += bytes(-len(body) & 3)
    return struct.pack(order + "2I", kind, len(body) + 12) + body + struct.pack(order + "I", len(body) + 12)


def section(order: str = "<") -> bytes:
    return block(0x0A0D0D0A, struct.pack(order + "I2Hq", 0x1A2B3C4D, 1, 0, -1), order)


def option(code: int, value: bytes, order: str = "<") -> bytes:
    return struct.pack(order + "2H", code, len(value)) + value + bytes(-len(value) & 3)


def interface(link_type: int = 1, options: bytes = b"", order: str = "<", snap_length: int = 0) -> bytes:
    return block(1, struct.pack(order + "2HI", link_type, 0, snap_length) + options, order)


def enhanced(frame: bytes, index: int = 0, tick: int = 0, order: str = "<", size: int | None = None) -> bytes:
    size = len(frame) if size is None else size
    return block(6, struct.pack(order + "5I", index, tick >> 32, tick & 0xFFFFFFFF, size, size) + frame, order)


def read(data: bytes) -> list[CapturedPacket]:
    return list(read_capture(io.BytesIO(data)))


def read_until_broken(data: bytes) -> tuple[list[CapturedPacket], CaptureError]:
    packets: list[CapturedPacket] = []
    with pytest.raises(CaptureError) as caught:
        packets.extend(read_capture(io.BytesIO(data)))  # What came before the error stays in the list.
    return packets, caught.value


# ---------------------------------------------------------------- pcap


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("magic", "unit"), [(0xA1B2C3D4, 1000), (0xA1B23C4D, 1)])
def test_pcap_is_read_in_both_byte_orders_and_both_resolutions(order: str, magic: int, unit: int) -> None:
    data = pcap(record(ETHERNET + IP4, 7, 9, order=order), magic=magic, order=order)
    expected = CapturedPacket(1, 7_000_000_000 + 9 * unit, IP4, len(IP4), True, None, 1)
    assert read(data) == [expected]


def test_records_of_the_modified_format_have_a_longer_header() -> None:
    body = struct.pack("<4I", 1, 2, 42, 42) + bytes(8) + ETHERNET + IP4
    assert [packet.data for packet in read(pcap(body, body, magic=0xA1B2CD34))] == [IP4, IP4]


def test_packets_are_numbered_from_one_also_those_that_are_not_ip() -> None:
    arp = bytes(12) + b"\x08\x06" + bytes(28)
    packets = read(pcap(record(arp), record(ETHERNET + IP4)))
    assert [(packet.number, packet.is_ip, packet.data) for packet in packets] == [(1, False, b""), (2, True, IP4)]


def test_the_original_length_is_that_of_the_ip_packet_before_the_cut() -> None:
    (packet,) = read(pcap(record(ETHERNET + IP4[:20], original=14 + 1500)))
    assert (packet.data, packet.original_length, packet.is_ip) == (IP4[:20], 1500, True)


def test_a_frame_cut_before_the_ip_header_is_not_ip() -> None:
    for size in (0, 5, 13, 14):
        (packet,) = read(pcap(record((ETHERNET + IP4)[:size], original=42)))
        assert not packet.is_ip and packet.data == b""


def test_an_original_length_below_the_captured_one_is_not_believed() -> None:
    (packet,) = read(pcap(record(ETHERNET + IP4, original=3)))
    assert packet.original_length == len(IP4)


def test_a_capture_without_packets_is_read() -> None:
    assert read(pcap()) == []
    assert read(section() + interface()) == []


# ---------------------------------------------------------------- link types

TAG = {"8100": b"\x81\x00\x00\x05", "88a8": b"\x88\xa8\x00\x05", "9100": b"\x91\x00\x00\x05"}


@pytest.mark.parametrize("tags", [["8100"], ["88a8", "8100"], ["9100", "88a8", "8100"], ["8100"] * 9])
def test_vlan_tags_are_passed_over_however_many(tags: list[str]) -> None:
    frame = bytes(12) + b"".join(TAG[tag] for tag in tags) + b"\x08\x00" + IP4
    (packet,) = read(pcap(record(frame, original=len(frame) + 100)))
    assert (packet.data, packet.original_length) == (IP4, len(IP4) + 100)


def test_a_frame_that_ends_in_its_tags_does_not_borrow_from_the_next_record() -> None:
    frame = bytes(12) + TAG["8100"]
    packets = read(pcap(record(frame), record(ETHERNET + IP4)))
    assert [packet.is_ip for packet in packets] == [False, True]


@pytest.mark.parametrize("ethertype", ["8847", "8864", "0806", "0030", "893f"])
def test_other_ethertypes_are_not_ip(ethertype: str) -> None:
    (packet,) = read(pcap(record(bytes(12) + bytes.fromhex(ethertype) + IP4)))
    assert not packet.is_ip and packet.original_length == 42


LINKS: dict[str, tuple[int, bytes]] = {
    "raw": (101, b""),
    "raw of OpenBSD": (14, b""),
    "raw of BSD": (12, b""),
    "ipv4": (228, b""),
    "ipv6": (229, b""),
    "cooked": (113, bytes(14) + b"\x08\x00"),
    "cooked, tagged": (113, bytes(14) + b"\x81\x00\x00\x05\x08\x00"),
    "cooked 2": (276, b"\x08\x00" + bytes(18)),
    "null, little-endian": (0, b"\x02\x00\x00\x00"),
    "null, big-endian": (0, b"\x00\x00\x00\x02"),
    "loop": (108, b"\x00\x00\x00\x1e"),
}


@pytest.mark.parametrize(("link_type", "head"), LINKS.values(), ids=list(LINKS))
def test_the_ip_packet_is_found_behind_its_link_header(link_type: int, head: bytes) -> None:
    (packet,) = read(pcap(record(head + IP4), link_type=link_type))
    assert (packet.data, packet.is_ip, packet.link_type) == (IP4, True, link_type)
    assert link_type in capture.SUPPORTED_LINK_TYPES


@pytest.mark.parametrize(("link_type", "head"), LINKS.values(), ids=list(LINKS))
def test_a_link_header_that_is_cut_is_not_ip(link_type: int, head: bytes) -> None:
    for size in range(len(head)):
        (packet,) = read(pcap(record(head[:size], original=99), link_type=link_type))
        assert not packet.is_ip


def test_packets_of_an_unknown_link_type_are_not_ip() -> None:
    (packet,) = read(pcap(record(ETHERNET + IP4), link_type=127))
    assert (packet.is_ip, packet.link_type) == (False, 127)
    assert 127 not in capture.SUPPORTED_LINK_TYPES


def test_the_frame_check_sequence_in_the_link_type_field_is_not_part_of_it() -> None:
    (packet,) = read(pcap(record(ETHERNET + IP4 + bytes(4)), link_type=0x24000001))
    assert packet.is_ip and packet.data.startswith(IP4)


# ---------------------------------------------------------------- pcapng


@pytest.mark.parametrize("order", ["<", ">"])
def test_pcapng_is_read_in_both_byte_orders(order: str) -> None:
    data = section(order) + interface(order=order) + enhanced(ETHERNET + IP4, tick=5_000_000, order=order)
    assert read(data) == [CapturedPacket(1, 5_000_000_000, IP4, len(IP4), True, None, 1)]


@pytest.mark.parametrize(
    ("resolution", "tick", "nanoseconds"),
    [(6, 1_500_000, 1_500_000_000), (9, 1_500_000_001, 1_500_000_001), (0, 3, 3_000_000_000), (12, 2500, 2),
     (0x80 | 10, 1536, 1_500_000_000), (0x80 | 127, 2**63, 0)],
)  # fmt: skip
def test_the_resolution_of_timestamps_is_that_of_the_interface(resolution: int, tick: int, nanoseconds: int) -> None:
    data = section() + interface(options=option(9, bytes([resolution]))) + enhanced(ETHERNET + IP4, tick=tick)
    assert read(data)[0].timestamp_ns == nanoseconds


def test_the_offset_of_timestamps_is_added_in_seconds() -> None:
    data = section() + interface(options=option(14, struct.pack("<q", -5))) + enhanced(IP4, tick=7_000_000)
    assert read(data)[0].timestamp_ns == 2_000_000_000


def test_packets_carry_the_name_of_their_interface() -> None:
    data = section() + interface(options=option(2, b"eth0") + option(0, b"")) + interface(101, option(2, b"tun0\0"))
    data += enhanced(IP4, 1) + enhanced(ETHERNET + IP4, 0) + interface(101) + enhanced(IP4, 2)
    assert [packet.interface_name for packet in read(data)] == [b"tun0", b"eth0", None]
    assert [packet.data for packet in read(data)] == [IP4, IP4, IP4]


def test_a_new_section_has_its_own_byte_order_and_interfaces() -> None:
    data = section() + interface(options=option(2, b"a")) + enhanced(ETHERNET + IP4)
    data += section(">") + interface(101, option(2, b"b", ">"), ">") + enhanced(IP4, order=">")
    packets = read(data)
    assert [(packet.number, packet.interface_name) for packet in packets] == [(1, b"a"), (2, b"b")]
    assert packets[1].data == IP4
    _, error = read_until_broken(data + section() + enhanced(IP4))
    assert "interface 0" in error.message


def test_a_simple_packet_has_the_time_of_the_packet_before() -> None:
    simple = block(3, struct.pack("<I", len(IP4)) + IP4)
    data = section() + interface(101) + simple + enhanced(IP4, tick=4_000_000) + simple
    packets = read(data)
    assert [packet.timestamp_ns for packet in packets] == [0, 4_000_000_000, 4_000_000_000]
    assert [packet.data for packet in packets] == [IP4] * 3


def test_a_simple_packet_is_cut_at_the_interfaces_snap_length() -> None:
    simple = block(3, struct.pack("<I", 1500) + IP4[:20])
    (packet,) = read(section() + interface(101, snap_length=20) + simple)
    assert (packet.data, packet.original_length) == (IP4[:20], 1500)


def test_the_obsolete_packet_block_is_read() -> None:
    old = block(2, struct.pack("<2H4I", 0, 0, 0, 9, len(IP4), len(IP4)) + IP4)
    (packet,) = read(section() + interface(101) + old)
    assert (packet.data, packet.timestamp_ns) == (IP4, 9000)


def test_other_blocks_are_passed_over_whatever_their_length() -> None:
    data = section() + interface(101) + block(4, bytes(2_000_000)) + block(0xBAD, b"") + enhanced(IP4)
    assert [packet.data for packet in read(data)] == [IP4]


# ---------------------------------------------------------------- files that lie or break off

WHOLE = {
    "pcap": pcap(record(ETHERNET + IP4), record(ETHERNET + IP4), record(ETHERNET + IP4)),
    "pcapng": section() + interface() + enhanced(ETHERNET + IP4) * 3,
}


@pytest.mark.parametrize("name", list(WHOLE))
def test_everything_before_the_break_is_yielded_and_then_the_break_is_told(name: str) -> None:
    data = WHOLE[name]
    whole = read(data)
    ends = [position for position in range(len(data) + 1) if _is_readable(data[:position])]
    assert len(whole) == 3 and ends[-1] == len(data)
    for position in range(1, len(data)):
        if position in ends:
            continue
        packets, error = read_until_broken(data[:position])
        assert packets == whole[: len(packets)]
        assert "break" in error.message or "not a capture" in error.message
        assert error.exit_status == 1
    packets, _ = read_until_broken(data[:-1])
    assert len(packets) >= 2


def _is_readable(data: bytes) -> bool:
    try:
        read(data)
    except CaptureError:
        return False
    return True


@pytest.mark.parametrize("data", [b"", b"\x0a", b"GIF89a..", bytes(100), b"\x1f\x8b\x08\x00" + bytes(30)])
def test_what_is_not_a_capture_is_refused(data: bytes) -> None:
    with pytest.raises(CaptureError, match="not a capture"):
        read(data)


LIES: dict[str, bytes] = {
    "record of 4 GiB": pcap(struct.pack("<4I", 1, 2, 0xFFFFFFFF, 42) + IP4),
    "record beyond the largest": pcap(struct.pack("<4I", 1, 2, capture.MAX_RECORD + 1, 42) + IP4),
    "packet block of 4 GiB": section() + interface() + struct.pack("<2I", 6, 0xFFFFFFFC),
    "section block of 4 GiB": struct.pack("<3I", 0x0A0D0D0A, 0xFFFFFFFC, 0x1A2B3C4D) + bytes(40),
}


@pytest.mark.parametrize("data", LIES.values(), ids=list(LIES))
def test_an_absurd_length_is_an_error_and_not_an_allocation(data: bytes) -> None:
    packets, error = read_until_broken(data)
    assert packets == [] and "more than 1048576" in error.message and "at byte" in error.message


BROKEN: dict[str, tuple[bytes, str]] = {
    "block shorter than itself": (section() + struct.pack("<2I", 6, 8) + bytes(8), "impossible length 8"),
    "block of odd length": (section() + struct.pack("<2I", 6, 33) + bytes(30), "impossible length 33"),
    "two lengths": (section() + interface()[:-4] + struct.pack("<I", 24), "different lengths"),
    "no byte order": (struct.pack("<3I", 0x0A0D0D0A, 28, 0x12345678) + bytes(16), "byte-order"),
    "version": (block(0x0A0D0D0A, struct.pack("<I2Hq", 0x1A2B3C4D, 2, 0, -1)), "version 2"),
    "short section": (block(0x0A0D0D0A, struct.pack("<I", 0x1A2B3C4D)), "too short"),
    "short interface": (section() + block(1, bytes(4)), "too short"),
    "short packet": (section() + interface() + block(6, bytes(16)), "too short"),
    "short simple packet": (section() + interface() + block(3, b""), "too short"),
    "short old packet": (section() + interface() + block(2, bytes(16)), "too short"),
    "packet beyond its block": (section() + interface() + enhanced(IP4, size=len(IP4) + 8), "longer than its block"),
    "simple packet beyond its block": (section() + interface() + block(3, struct.pack("<I", 9) + IP4[:4]), "longer"),
    "no such interface": (section() + interface() + enhanced(IP4, 1), "names interface 1"),
    "option beyond its block": (section() + interface(options=struct.pack("<2H", 2, 50)), "runs over"),
}


@pytest.mark.parametrize(("data", "message"), BROKEN.values(), ids=list(BROKEN))
def test_a_block_that_contradicts_itself_is_an_error_with_its_place(data: bytes, message: str) -> None:
    _, error = read_until_broken(data)
    assert message in error.message and "at byte" in error.message


def test_a_file_cannot_fill_the_memory_with_interfaces() -> None:
    _, error = read_until_broken(section() + interface() * (capture.MAX_INTERFACES + 1))
    assert "interfaces" in error.message
    name = option(2, b"x" * 60000)
    (packet,) = read(section() + interface(101, name) + enhanced(IP4))
    assert packet.interface_name == b"x" * capture.MAX_INTERFACE_NAME


class Endless(io.RawIOBase):
    """A capture of `n` packets that is made while it is read."""

    def __init__(self, head: bytes, body: bytes, n: int) -> None:
        self._head, self._body, self._left = head, body, n

    def read(self, size: int = -1) -> bytes:
        head, self._head = self._head, b""
        n = min(self._left, size // len(self._body))
        self._left -= n
        return head + self._body * n


@pytest.mark.parametrize(
    ("head", "body"),
    [(pcap(), record(ETHERNET + IP4 + bytes(1400))), (section() + interface(), enhanced(ETHERNET + IP4 + bytes(1400)))],
    ids=["pcap", "pcapng"],
)
def test_memory_does_not_grow_with_the_file(head: bytes, body: bytes) -> None:
    peaks = []
    for n in (2_000, 10_000):
        tracemalloc.start()
        assert sum(1 for _ in read_capture(Endless(head, body, n))) == n
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.2 + 100_000


def test_a_stream_that_comes_in_small_pieces_is_read() -> None:
    class Trickle(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(7)

    for data in WHOLE.values():
        assert list(read_capture(Trickle(data))) == read(data)


# ---------------------------------------------------------------- real captures


# The family of this packet, 0x0f000800, is no system's; tshark guesses.
GUESSED = {("pcapplusplus/NullLoopback.pcap", 3)}


def test_a_path_is_opened_at_once_and_a_missing_file_is_an_oserror(tmp_path: pathlib.Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_capture(tmp_path / "none.pcap")
    (tmp_path / "one.pcap").write_bytes(WHOLE["pcap"])
    assert len(list(read_capture(str(tmp_path / "one.pcap")))) == 3


@pytest.mark.parametrize("name", list(EXPECTED))
def test_real_captures_have_the_packets_and_times_that_tshark_reads(name: str) -> None:
    packets = list(read_capture(CAPTURES / name))
    assert len(packets) == len(EXPECTED[name])
    for packet, expected in zip(packets, EXPECTED[name], strict=True):
        seconds, _, fraction = expected["frame.time_epoch"].partition(".")
        assert packet.timestamp_ns == int(seconds) * 1_000_000_000 + int(fraction.ljust(9, "0"))
        assert packet.is_ip or "ip.src" not in expected or (name, packet.number) in GUESSED

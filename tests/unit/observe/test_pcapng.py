"""A capture that is written is read back by our own reader and by another."""

from __future__ import annotations

import io

from scapy.layers.inet import IP, UDP
from scapy.utils import PcapNgReader

from wfpd.capture import read_capture
from wfpd.observe.pcapng import MOST_COMMENT, Head, write_pcapng

V4 = bytes(IP(src="192.0.2.1", dst="198.51.100.2") / UDP(sport=1, dport=2) / b"abc")
V6 = b"\x60" + bytes(39)
HEADS = [
    Head(1_700_000_000_123_456_789, V4, 1500, "eth0", "blocked at ipforward_v4 by filter é\n"),
    Head(1_700_000_001_000_000_001, V6, 40, "", ""),
    Head(1_700_000_002_000_000_000, V4[:21], 31, "eth0", "c" * (MOST_COMMENT + 1)),
    Head(-5, b"", 9, "\udcff", "é" * MOST_COMMENT),
]


def written(heads: list[Head]) -> io.BytesIO:
    file = io.BytesIO()
    assert write_pcapng(file, heads) == len(heads)
    file.seek(0)
    return file


def test_our_reader_reads_it_back() -> None:
    found = list(read_capture(written(HEADS)))
    assert [(one.timestamp_ns, one.data, one.original_length, one.interface_name) for one in found[:3]] == [
        (HEADS[0].timestamp_ns, V4, 1500, b"eth0"), (HEADS[1].timestamp_ns, V6, 40, None),
        (HEADS[2].timestamp_ns, V4[:21], 31, b"eth0"),
    ]  # fmt: skip
    assert (found[3].timestamp_ns, found[3].data, found[3].interface_name) == (0, b"", b"\\udcff")


def test_another_reader_reads_it_back_with_its_comments() -> None:
    reader = PcapNgReader(written(HEADS))
    first, second, third, _ = list(reader)
    assert (bytes(first), first.wirelen, first.comment) == (V4, 1500, HEADS[0].comment.encode())
    assert (float(first.time), first.sniffed_on) == (1_700_000_000.123456789, "eth0")
    assert (bytes(second), second.comment) == (V6, None)
    assert third.comment == b"c" * MOST_COMMENT


def test_a_comment_is_cut_between_characters() -> None:
    *_, last = list(PcapNgReader(written(HEADS)))
    assert last.comment.decode() == "é" * (MOST_COMMENT // 2)


def test_of_nothing_the_file_is_a_section_alone() -> None:
    file = written([])
    assert len(file.getvalue()) == 28
    assert list(read_capture(file)) == []

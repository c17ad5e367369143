"""First bytes of connections, from segments in any order, within bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet

from wfpd.callouts._packet import tcp_segment
from wfpd.callouts.builtin.beginnings import WAITING, Beginning, Beginnings, other_way

TEXT = bytes(range(200))


@given(st.lists(st.tuples(st.integers(-5, 199), st.integers(1, 60)), max_size=WAITING), st.integers(0, 2**32 - 1))
def test_segments_in_any_order_give_the_bytes_without_a_gap(pieces: list[tuple[int, int]], start: int) -> None:
    beginning, reached = Beginning(start), set()
    for offset, length in pieces:
        data = bytes(max(0, -offset)) + TEXT[max(0, offset) : max(0, offset + length)]
        beginning.add(start + offset & 0xFFFFFFFF, data, 1000)
        reached |= set(range(max(0, offset), max(0, offset) + len(TEXT[max(0, offset) : max(0, offset + length)])))
    gap = next(place for place in range(201) if place not in reached)
    assert beginning.data == TEXT[:gap]


def test_the_first_copy_of_a_byte_counts() -> None:
    beginning = Beginning(0)
    for sequence, data in ((0, b"ab"), (1, b"XYc"), (5, b"f"), (5, b"Z"), (3, b"de")):
        beginning.add(sequence, data, 100)
    assert beginning.data == b"abYcef"


def test_one_keeps_no_more_than_its_room() -> None:
    beginning = Beginning(0)
    beginning.add(0, bytes(70), 100)
    beginning.add(70, bytes(70), 100)
    assert len(beginning.data) == 100
    beginning = Beginning(0)
    for offset in range(10, 100, 2):
        beginning.add(offset, b"x", 100)
    assert len(beginning.waiting) == WAITING and beginning.size == WAITING
    beginning.add(50, bytes(60), 100)
    beginning.add(0x7FFFFFFF, b"x", 100)
    assert beginning.size == WAITING


def test_all_together_keep_no_more_than_their_room_and_the_oldest_goes() -> None:
    table = Beginnings(entries=3, most=100, held=250)
    for key in (b"a", b"b", b"c"):
        table.add(key, table.begin(key, 0), 0, bytes(80))
    assert table.held == 240
    table.add(b"b", table.begin(b"b", 0), 0, bytes(80))
    assert (table.held, table.evicted, len(table.flows)) == (240, 0, 3)
    table.decide(b"d", "block")
    assert (table.held, table.evicted, list(table.flows)) == (160, 1, [b"b", b"c", b"d"])
    table.add(b"b", table.begin(b"b", 0), 0, bytes(100))
    table.add(b"e", table.begin(b"e", 0), 0, bytes(100))
    assert (table.held, table.evicted) == (180, 2)
    table.decide(b"c", "permit")
    assert table.held == sum(one.size for one in table.flows.values() if isinstance(one, Beginning))


def test_bytes_of_a_connection_that_lost_its_place_are_not_counted() -> None:
    table = Beginnings(entries=1, most=100)
    lost = table.begin(b"a", 0)
    table.add(b"b", table.begin(b"b", 0), 0, bytes(10))
    table.add(b"a", lost, 0, bytes(50))
    assert table.held == 10 and table.evicted == 1


@pytest.mark.parametrize("front", [IP(src="192.0.2.1", dst="192.0.2.2"), IPv6(src="2001:db8::1", dst="2001:db8::2")])
def test_the_other_way_is_the_key_of_the_answer(front: Packet) -> None:
    back = type(front)(src=front.dst, dst=front.src)
    key, *_ = tcp_segment(bytes(front / TCP(sport=5, dport=6))) or pytest.fail("no segment")
    answering, *_ = tcp_segment(bytes(back / TCP(sport=6, dport=5))) or pytest.fail("no segment")
    assert other_way(key) == answering and other_way(answering) == key

"""Reassembly of one direction: what the property tests do not name."""

from __future__ import annotations

import pytest

from wfpd.dataplane._reassembly import Reassembler


def test_bytes_come_in_order_whatever_the_order_of_segments():
    half = Reassembler(1000)
    assert half.segment(1005, b"fghij") == ({"new"}, b"")
    assert half.segment(1000, b"abcde") == ({"new"}, b"abcdefghij")
    assert half.segment(1000, b"abcde") == (set(), b"")


def test_the_first_copy_wins_before_and_after_it_was_handed_on():
    half = Reassembler(0)
    half.segment(4, b"EFGH")
    assert half.segment(0, b"abcdXX") == ({"inconsistent"}, b"")
    assert half.segment(0, b"abcd") == ({"new"}, b"abcdEFGH")
    assert half.segment(2, b"zz") == ({"inconsistent"}, b"")


def test_new_bytes_of_an_inconsistent_segment_are_taken_where_it_passes_all_the_same():
    half = Reassembler(0)
    half.segment(0, b"abcd")
    assert half.segment(2, b"XXef", take=True) == ({"inconsistent", "new"}, b"ef")


def test_only_the_history_is_compared():
    half = Reassembler(0, history=4)
    half.segment(0, b"abcdefgh")
    assert half.segment(0, b"XXXX") == ({"old"}, b"")
    assert half.segment(0, b"XXXXefgh") == ({"old"}, b"")
    assert half.segment(4, b"eXgh") == ({"inconsistent"}, b"")


def test_sequence_numbers_wrap_around_more_than_once():
    initial, half = 2**32 - 5, Reassembler(2**32 - 5)
    assert half.segment(initial, b"0123456789") == ({"new"}, b"0123456789")
    for _ in range(3 * 16):  # Three times round, in steps of 256 MB that the receiver has without us.
        sequence = (initial + half.next) % 2**32
        half.skip((sequence + 2**28) % 2**32)
    assert half.next == 10 + 3 * 2**32
    assert half.segment((initial + 10) % 2**32, b"onward") == ({"new"}, b"onward")


def test_a_fin_beyond_a_gap_waits_and_a_second_end_is_inconsistent():
    half = Reassembler(0)
    assert half.segment(4, b"efgh", fin=True) == ({"new"}, b"")
    assert half.fin == 8 and half.next == 0
    assert half.segment(0, b"abcd", fin=True) == ({"inconsistent"}, b"")
    assert half.segment(0, b"abcd") == ({"new"}, b"abcdefgh")
    assert half.segment(8, b"more") == ({"after_fin"}, b"")
    assert half.segment(8, b"", fin=True) == (set(), b"")


def test_an_end_before_bytes_that_are_known_is_none():
    half = Reassembler(0)
    half.segment(0, b"abcdefgh")
    assert half.segment(2, b"cd", fin=True) == ({"inconsistent"}, b"")
    assert half.fin is None


def test_data_on_a_syn_begin_behind_it():
    half = Reassembler(101)
    assert half.segment(100, b"early", syn=True) == ({"new"}, b"early")
    assert half.segment(100, b"early", syn=True) == (set(), b"")
    assert half.segment(7, b"other", syn=True) == ({"new_syn"}, b"")


def test_more_runs_than_the_list_holds_are_refused_and_come_again():
    half = Reassembler(0)
    for run in range(16):
        assert half.segment(2 + 2 * run, b"x") == ({"new"}, b"")
    assert half.segment(2 + 2 * 16, b"x") == ({"limit"}, b"")
    assert half.segment(0, b"ab") == ({"new"}, b"abx")


def test_the_window_and_the_memory_are_bounds():
    half = Reassembler(0, window=100, memory=4096)
    assert half.segment(99, b"xx") == ({"limit"}, b"")
    assert half.segment(98, b"xx") == ({"new"}, b"")
    half = Reassembler(0, memory=4095)
    assert half.segment(0, b"a") == ({"limit"}, b"")
    assert half.memory == (0, 2)


def test_a_long_stream_needs_no_more_than_its_block():
    half = Reassembler(0, history=4096)
    step = bytes(range(256)) * 5
    for turn in range(2000):
        assert half.segment(turn * len(step), step) == ({"new"}, step)
    assert half.memory[0] == 16384
    assert half.feed([(2000 * len(step), step), (2001 * len(step), step)]) == 2 * len(step)


def test_a_reset_counts_only_where_the_receiver_awaits_a_byte():
    half = Reassembler(1000)
    half.segment(1000, b"0123456789")
    assert half.reset_valid(1010, 10)
    assert half.reset_valid(1005, 5) and not half.reset_valid(1005, 10)
    assert not half.reset_valid(1011, 10) and not half.reset_valid(1011 + 65535, 10) and not half.reset_valid(0, 10)
    half.segment(1010, b"", fin=True)
    assert half.reset_valid(1011, 10)


@pytest.mark.parametrize("length", [4095, 4096, 4097, 65535, 300000])
def test_blocks_grow_with_what_waits(length):
    half = Reassembler(0, window=1 << 20)
    stream = bytes(i * 31 & 0xFF for i in range(length))
    assert half.segment(1, stream[1:]) == ({"new"}, b"")
    assert half.segment(0, stream[:1]) == ({"new"}, stream)

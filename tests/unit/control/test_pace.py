"""How the size of reads, their price and the pauses between them follow from what reads took."""

import pytest

from wfpd.control.pace import (
    FIRST_PAUSE,
    FIRST_READ,
    LONGEST_PAUSE,
    MOST_TOOK,
    QUICKEST,
    READ_COST,
    READ_SIZE,
    SLOW_COST,
    SLOW_READ,
    SLOWER,
    SMALLEST_READ,
    Pace,
    Quickest,
)

QUICK = 1e-6


def pace(quickest: float = QUICK) -> Pace:
    found = Quickest()
    found.slow_from(quickest)
    return Pace(found)


def taken(one: Pace, text: int, per_buffer: float, size: int, floor: float = QUICK) -> tuple[list[int], float, float]:
    """Read a line of `text` bytes sent in buffers of `size`: the reads, what they cost, and the pauses between them."""
    reads, cost, paused = [], 0.0, 0.0
    while text:
        n = min(one.size, text)
        text -= n
        charged, pause = one.after(n, floor + per_buffer * -(-n // size), ended=not text)
        reads.append(n)
        cost, paused = cost + charged, paused + pause
    return reads, cost, paused


def test_a_line_that_was_sent_at_once_is_soon_read_in_large_parts_without_a_pause() -> None:
    reads, cost, paused = taken(pace(), 60_000, 1e-6, 65_536)
    assert reads[:8] == [FIRST_READ << n for n in range(8)] and reads[-2] == READ_SIZE
    assert (len(reads), paused) == (10, 0.0)
    assert cost == pytest.approx(10 * READ_COST)


def test_a_line_of_single_bytes_is_read_in_small_parts_with_longer_and_longer_pauses() -> None:
    one = pace()
    reads, _, paused = taken(one, 1000, 0.43e-6, 1)
    assert reads[0] == FIRST_READ and max(reads[1:]) == SMALLEST_READ
    assert one.pause == FIRST_PAUSE  # The line is over.
    assert paused > 15 * LONGEST_PAUSE
    assert len(reads) == 1 + -(-(1000 - FIRST_READ) // SMALLEST_READ)


def test_a_slow_read_costs_twenty_times_what_it_took_at_any_size() -> None:
    one = pace()
    taken(one, 60_000, 1e-6, 65_536)
    assert one.size == READ_SIZE
    cost, pause = one.after(280, 120e-6, ended=True)
    assert (cost, pause, one.size) == (SLOW_COST * 120e-6, 0.0, SMALLEST_READ)


def test_a_machine_on_which_all_reads_take_long_reads_as_any_other() -> None:
    slow = 10 * SLOW_READ
    reads, cost, paused = taken(pace(slow), 60_000, slow / 1000, 65_536, slow)
    assert (len(reads), paused) == (10, 0.0)
    assert cost == pytest.approx(10 * READ_COST)


@pytest.mark.parametrize("floor", [2, 3, 4, 8])
@pytest.mark.parametrize("quickest", [QUICK, 3e-6, SLOW_READ, 10 * SLOW_READ])
def test_reads_that_take_a_few_times_as_long_as_the_quickest_one_are_no_slow_line(quickest: float, floor: int) -> None:
    reads, _, paused = taken(pace(quickest), 60_000, quickest / 100, 65_536, floor * quickest)
    assert (len(reads), paused) == (10, 0.0)


def test_the_quickest_read_is_the_measure_of_what_is_slow() -> None:
    found = Quickest()
    assert found.slow_from(1.0) == SLOWER * 1.0
    assert found.slow_from(SLOW_READ) == SLOWER * SLOW_READ
    assert found.slow_from(QUICK) == SLOW_READ
    assert found.slow_from(1.0) == SLOW_READ
    found.slow_from(0.0)
    assert found.took == QUICKEST


def test_what_else_ran_meanwhile_costs_no_more_than_a_millisecond_does() -> None:
    assert pace().after(10, 1.0, ended=True)[0] == SLOW_COST * MOST_TOOK


def test_what_comes_as_it_is_read_makes_longer_pauses_until_the_line_is_over() -> None:
    one = pace()
    pauses = [one.after(3, QUICK, ended=False)[1] for _ in range(12)]
    assert pauses == [min(FIRST_PAUSE * 2**n, LONGEST_PAUSE) for n in range(12)]
    assert one.after(3, QUICK, ended=True)[1] == 0.0
    assert one.after(3, QUICK, ended=False)[1] == FIRST_PAUSE

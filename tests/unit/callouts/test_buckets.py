"""Token buckets: exact, bounded, and what goes when the table is full."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.oracle.buckets import SlowBuckets
from wfpd.callouts._buckets import Buckets

SECOND = 1_000_000_000
TAKES = st.lists(
    st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 7), st.sampled_from([0, 1, SECOND // 3, SECOND, -5])),
    max_size=40,
)


@given(st.integers(1, 9), st.sampled_from([1, 60, 3600]), st.integers(1, 6), TAKES)
def test_buckets_agree_with_exact_fractions(
    rate: int, period: int, burst: int, takes: list[tuple[str, int, int]]
) -> None:
    fast, slow, now = Buckets(rate, period, burst, 64), SlowBuckets(rate, period, burst), 10 * SECOND
    for key, amount, step in takes:
        now += step * period if step > 1 else step
        assert fast.take(key, amount, now) is slow.take(key, amount, now)


def test_a_burst_passes_then_the_rate() -> None:
    buckets = Buckets(10, 1, 5, 8)
    assert [buckets.take("a", 1, 7) for _ in range(6)] == [True] * 5 + [False]
    assert not buckets.take("a", 1, 7 + SECOND // 10 - 1)
    assert buckets.take("a", 1, 7 + SECOND // 10) and not buckets.take("a", 1, 7 + SECOND // 10)
    assert buckets.take("b", 5, 7)
    assert not buckets.take("c", 6, 10**18)


def test_the_largest_numbers_do_not_wrap() -> None:
    buckets = Buckets(9_200_000_000, 1, 9_200_000_000, 1)
    for now in (0, 1, SECOND, 2**63, 2**64 - 1):
        assert buckets.take("a", 1, now)
    assert not buckets.take("a", 2**64 - 1, 2**64 - 1)


@pytest.mark.parametrize("numbers", [(0, 1, 1, 1), (1, 1, 0, 1), (1, 3600, 10**7, 1), (10**11, 1, 1, 1), (1, 1, 1, 0)])
def test_numbers_that_cannot_be_counted_are_refused(numbers: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError):
        Buckets(*numbers)


def test_the_table_has_a_fixed_size_and_counts_what_it_forgets() -> None:
    buckets = Buckets(1, 3600, 2, 60)
    assert buckets.capacity == 64
    for key in range(1000):
        assert buckets.take(key * 0x1_0000_0001, 1, key)
    assert buckets.evicted == 1000 - 64


def test_a_bucket_that_is_full_again_goes_first() -> None:
    buckets = Buckets(1, 1, 1, 8)
    for key in range(8):
        buckets.take(str(key), 1, key * SECOND // 8)
    now = SECOND + SECOND // 16  # The first one is full again, the others are not.
    assert buckets.take("new", 1, now) and buckets.evicted == 0
    assert [buckets.take(str(key), 1, now) for key in range(1, 8)] == [False] * 7

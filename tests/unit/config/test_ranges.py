"""Sorted, disjoint ranges."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from wfpd.config.ranges import Counter, count, merged

RANGES = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 40)).map(lambda pair: (min(pair), max(pair))), max_size=8
)


def numbers(ranges):
    return {number for low, high in ranges for number in range(low, high + 1)}


@given(RANGES)
def test_merging_keeps_the_numbers_and_leaves_gaps_between(ranges):
    result = merged(ranges)
    assert numbers(result) == numbers(ranges) and count(result) == len(numbers(ranges))
    assert all(first[1] + 1 < second[0] for first, second in pairwise(result))


@given(RANGES, st.integers(0, 40), st.integers(0, 40))
def test_a_counter_counts_the_overlap(ranges, low, high):
    low, high = min(low, high), max(low, high)
    assert Counter(merged(ranges)).overlap(low, high) == len(numbers(ranges) & set(range(low, high + 1)))

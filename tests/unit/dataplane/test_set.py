"""Large sets of numbers: every value has the answer of a plain scan, whatever the set's shape."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wfpd.dataplane._set import SetDoor

TOP = {False: 2**32 - 1, True: 2**128 - 1}


def ranges_of(edges):
    """Closed, disjoint, ascending ranges from any numbers."""
    ordered = sorted(set(edges))
    return list(zip(ordered[::2], ordered[1::2], strict=False))


def agrees(ranges, wide):
    door = SetDoor(ranges, wide)
    probes = {value for low, high in ranges for value in (low - 1, low, (low + high) // 2, high, high + 1)}
    for value in sorted(probes | {0, TOP[wide]}):
        if 0 <= value <= TOP[wide]:
            assert (value in door) == any(low <= value <= high for low, high in ranges), value


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("spread", [3, 9, 16, 32, 63, 64, 70, 128])
def test_membership_is_that_of_a_plain_scan(wide, spread):
    rng = random.Random(spread)
    bits = min(spread, 128 if wide else 32)
    for _ in range(4):
        base = rng.randrange(TOP[wide] - 2**bits + 2)
        agrees(ranges_of(base + rng.getrandbits(bits) for _ in range(rng.choice([1, 2, 70, 400]))), wide)


@pytest.mark.parametrize("wide", [False, True])
def test_clumps_far_apart_are_searched_too(wide):
    rng = random.Random(7)
    clumps = [rng.randrange(TOP[wide] - 2000) for _ in range(3)]
    agrees(ranges_of(clump + rng.randrange(2000) for clump in clumps for _ in range(200)), wide)


@pytest.mark.parametrize("wide", [False, True])
def test_the_whole_space_and_both_ends_are_held(wide):
    agrees([(0, TOP[wide])], wide)
    agrees([(0, 0), (TOP[wide], TOP[wide])], wide)
    agrees([(n * 2, n * 2) for n in range(100)] + [(TOP[wide] - 1, TOP[wide])], wide)


def test_an_empty_set_has_nothing():
    assert 0 not in SetDoor([])


def test_a_value_wider_than_the_sets_is_not_in_it():
    assert 2**32 + 5 not in SetDoor([(0, 2**32 - 1)])
    assert (1 << 64) + 5 not in SetDoor([(5, 5)])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 300), min_size=2, max_size=200), st.integers(0, 2**32 - 400), st.booleans())
def test_dense_sets_agree_with_a_plain_scan(edges, base, wide):
    agrees(ranges_of(base + edge for edge in edges), wide)


@pytest.mark.parametrize("wide", [False, True])
def test_the_directory_takes_at_most_a_byte_and_a_bit_a_range(wide):
    rng = random.Random(1)
    ranges = ranges_of(rng.getrandbits(128 if wide else 32) for _ in range(40_000))
    assert 0 < SetDoor(ranges, wide).directory_bytes <= 1.1 * len(ranges)

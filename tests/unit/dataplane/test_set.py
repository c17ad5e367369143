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


def crowds(rng, bits, count):
    """Each a sixteenth as wide as the one around it."""
    found = set()
    for width in range(bits, 10, -4):
        found |= {rng.getrandbits(width) for _ in range(count * 4 // bits)}
    return found


SHAPES = {
    "spread": lambda rng, bits: {rng.getrandbits(bits) for _ in range(40_000)},
    "clumps": lambda rng, bits: {(net << bits - 21) + n for net in rng.sample(range(2**21), 160)
                                 for n in rng.sample(range(2**11), 250)},
    "small clumps": lambda rng, bits: {(net << bits - 21) + 3 * n for net in rng.sample(range(2**21), 1200)
                                       for n in range(34)},
    "crowds": lambda rng, bits: crowds(rng, bits, 40_000),
    "one far away": lambda rng, bits: {2**bits - 1, *(rng.getrandbits(bits - 9) for _ in range(40_000))},
}  # fmt: skip


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_way_to_a_value_is_short_and_takes_few_bytes_whatever_the_set(shape, wide):
    rng = random.Random(1)
    ranges = [(value, value) for value in sorted(SHAPES[shape](rng, 128 if wide else 32))]
    door = SetDoor(ranges, wide)
    assert 1 <= door.levels <= 4
    assert 0 < door.directory_bytes <= (8 if wide else 4) * len(ranges)
    members = dict(ranges)
    for value in rng.sample(sorted(members), 2000):
        assert value in door
        assert (value + 1 in door) == (value + 1 in members)
        assert (value - 1 in door) == (value - 1 in members)


def test_clumps_have_directories_of_their_own():
    rng = random.Random(2)
    spread = [(value, value) for value in sorted(rng.sample(range(2**32), 4000))]
    clumped = [
        (value, value) for value in sorted({rng.getrandbits(12) << 20 | n for n in rng.sample(range(2**20), 4000)})
    ]
    assert SetDoor(spread).levels == 1
    one_net = [(2**31 + value, 2**31 + value) for value in sorted(rng.sample(range(2**16), 4000))]
    assert SetDoor([(7, 7), *one_net]).levels == 2
    assert SetDoor(clumped).levels <= 2

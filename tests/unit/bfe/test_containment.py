"""Sets of values, from below and from above (the agreement with single values is a property test)."""

from __future__ import annotations

import pytest

from tests.builders import when, within
from wfpd.bfe.containment import Bounds, Numbers, Texts, bounds_of
from wfpd.model.conditions import Atom, Op


def numbers(*ranges: tuple[int, int]) -> Numbers:
    return Numbers(ranges, 256)


@pytest.mark.parametrize(
    ("one", "other", "within_it", "meeting"),
    [
        (numbers(), numbers(), True, False),
        (numbers((1, 5)), numbers((0, 9)), True, True),
        (numbers((1, 5), (7, 8)), numbers((0, 6)), False, True),
        (numbers((1, 5)), numbers((1, 3), (4, 5)), False, True),
        (numbers((1, 2)), numbers((3, 4)), False, False),
        (numbers((5, 5), (9, 9)), numbers((4, 6), (8, 10)), True, True),
    ],
)
def test_ranges_lie_within_others_or_meet_them(one: Numbers, other: Numbers, within_it: bool, meeting: bool) -> None:
    assert one.within(other) is within_it
    assert one.meets(other) is meeting is other.meets(one)


def test_what_is_left_of_all_numbers() -> None:
    assert numbers((0, 3), (10, 255)).without() == numbers((4, 9))
    assert numbers().without() == numbers((0, 255))
    assert numbers((0, 255)).without() == numbers()


def test_texts_are_some_or_all_but_some() -> None:
    a, b, ab = Texts(frozenset({b"a"})), Texts(frozenset({b"b"})), Texts(frozenset({b"a", b"b"}))
    assert a | b == ab
    assert a.without() | a == Texts(frozenset(), True)
    assert a.within(ab) and not ab.within(a)
    assert a.within(b.without()) and not a.without().within(ab) and ab.without().within(a.without())
    assert a.meets(ab) and not a.meets(b) and a.without().meets(b) and not a.without().meets(a)
    assert a.without().meets(b.without())


def test_a_test_of_bits_is_bounded_by_nothing_and_everything() -> None:
    found = bounds_of(when("flags", Atom(Op.ALL_SET, 2)), 4, lambda name, bits: ())
    assert found == Bounds(Numbers((), 1 << 32), Numbers(((0, 2**32 - 1),), 1 << 32), False)
    none_of = bounds_of(when("ip_source_port", within(1, 5), negate=True), 4, lambda name, bits: ())
    assert none_of.under == none_of.over == Numbers(((0, 0), (6, 65535)), 65536)

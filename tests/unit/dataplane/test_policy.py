"""Conditions one by one, by the linear search of the packet path (the property tests compare it with the oracle)."""

from __future__ import annotations

import pytest

from tests.builders import a_filter, a_policy, equal, slot, snapshot, when, within
from wfpd.model.conditions import Atom, Op
from wfpd.model.policy import Action


def holds(condition, value) -> bool:
    taken = snapshot(a_policy([a_filter("a", Action.PERMIT, condition)]))
    return taken.matches_slow(slot(), {} if value is None else {"tcp_flags": value}) == [0]


@pytest.mark.parametrize(
    ("atom", "yes", "no"),
    [
        (within(2, 4), (2, 3, 4), (1, 5, None)),
        (equal(0), (0,), (1, None)),
        (Atom(Op.ALL_SET, 6), (6, 7), (2, 0, None)),
        (Atom(Op.ANY_SET, 6), (2, 6, 255), (1, 0, None)),
        (Atom(Op.NONE_SET, 6), (0, 1), (2, 255, None)),
        (Atom(Op.EMPTY), (None,), (0, 255)),
    ],
)
def test_an_atom_holds_for_its_values_only(atom: Atom, yes: tuple[int | None, ...], no: tuple[int | None, ...]) -> None:
    assert all(holds(when("tcp_flags", atom), value) for value in yes)
    assert not any(holds(when("tcp_flags", atom), value) for value in no)


def test_a_negated_term_needs_a_value() -> None:
    condition = when("tcp_flags", equal(1), equal(2), negate=True)
    assert holds(condition, 3)
    assert not holds(condition, 1)
    assert not holds(condition, 2)
    assert not holds(condition, None)

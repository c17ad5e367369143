"""Conditions are plain frozen values."""

from __future__ import annotations

import dataclasses

import pytest

from wfpd.model.conditions import Atom, Condition, Op, Term


def test_equal_conditions_are_equal_values_and_cannot_be_changed() -> None:
    first = Condition(3, (Term((Atom(Op.RANGE, 1, 2),), negate=True),), 7)
    assert first == Condition(3, (Term((Atom(Op.RANGE, 1, 2),), negate=True),), 7) and hash(first)
    with pytest.raises(dataclasses.FrozenInstanceError):
        first.field = 4  # type: ignore[misc]

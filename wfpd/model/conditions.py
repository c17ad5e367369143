"""What a filter asks of a packet: tests, terms and conditions, as frozen values.

A condition is a disjunction of terms over one field; conditions of a filter are a conjunction
(docs/config.md).  All numbers are plain integers in host order; an IPv6 address is a
128-bit integer.  These values are already resolved for one family and one layer.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Op(enum.IntEnum):
    """How one test looks at the value.  The numbers are the packed format's."""

    RANGE = 0
    """low <= value <= high: equality, prefixes, comparisons and ranges of numbers."""
    ALL_SET = 1
    """(value & low) == low."""
    ANY_SET = 2
    """(value & low) != 0."""
    NONE_SET = 3
    """(value & low) == 0."""
    EMPTY = 4
    """The packet has no such field (FWP_EMPTY); the only test an absent value can satisfy."""
    IN_SET = 5
    """The value is in the named set (of this family)."""
    TEXT_EQUAL = 6
    TEXT_EQUAL_NO_CASE = 7
    TEXT_STARTS = 8
    TEXT_ENDS = 9
    TEXT_CONTAINS = 10
    TEXT_GLOB = 11
    """`*`, `?` and `[...]` over bytes, in linear time."""
    TEXT_RANGE = 12
    """text <= value <= text_high, bytewise; either may be open (see Atom)."""


@dataclass(frozen=True, slots=True)
class Atom:
    """One test.  Only the members that its `op` names are meaningful."""

    op: Op
    low: int = 0
    high: int = 0
    text: bytes = b""
    text_high: bytes | None = None
    """TEXT_RANGE only; None = no upper bound (an empty `text` is no lower bound)."""
    set: str = ""
    """IN_SET only: the set's name."""


@dataclass(frozen=True, slots=True)
class Term:
    """A disjunction of tests; with `negate`, "has a value and none of the tests holds"."""

    atoms: tuple[Atom, ...]
    negate: bool = False


@dataclass(frozen=True, slots=True)
class Condition:
    """A disjunction of terms over one field.  No terms: never true."""

    field: int
    """Id of the field (`fields.FIELDS`)."""
    terms: tuple[Term, ...]
    specificity: int = 0
    """0-255, for the auto weight."""

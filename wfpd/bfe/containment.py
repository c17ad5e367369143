"""Whether a template's conditions contain a filter's, or meet them, field by field.

A condition's values are bounded from both sides: every value of `under` satisfies it, and every value that
does is in `over`.  Where both are the same the answer is exact; elsewhere (tests of single bits, of parts of
a text) "contained" errs towards no and "overlapping" towards yes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from wfpd.config.ranges import merged
from wfpd.model.conditions import Atom, Condition, Op, Term
from wfpd.model.fields import FIELDS

Range = tuple[int, int]
Members = Callable[[str, int], Sequence[Range] | Sequence[bytes]]
"""The values of a set that a filter names for a field so many bits wide: ranges, or texts where that is 0."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """A set of numbers, as disjoint rising ranges below `size`."""

    ranges: tuple[Range, ...]
    size: int

    def __or__(self, other: Numbers) -> Numbers:
        return Numbers(tuple(merged([*self.ranges, *other.ranges])), self.size)

    def without(self) -> Numbers:
        """All others."""
        gaps, at = [], 0
        for low, high in self.ranges:
            if low > at:
                gaps.append((at, low - 1))
            at = high + 1
        if at < self.size:
            gaps.append((at, self.size - 1))
        return Numbers(tuple(gaps), self.size)

    def within(self, other: Numbers) -> bool:
        """Whether the other has all of them."""
        at = 0
        for low, high in self.ranges:
            while at < len(other.ranges) and other.ranges[at][1] < low:
                at += 1
            if at == len(other.ranges) or other.ranges[at][0] > low or other.ranges[at][1] < high:
                return False
        return True

    def meets(self, other: Numbers) -> bool:
        """Whether one is in both."""
        one = two = 0
        while one < len(self.ranges) and two < len(other.ranges):
            if self.ranges[one][1] < other.ranges[two][0]:
                one += 1
            elif other.ranges[two][1] < self.ranges[one][0]:
                two += 1
            else:
                return True
        return False

    def __bool__(self) -> bool:
        return bool(self.ranges)


@dataclass(frozen=True, slots=True)
class Texts:
    """Some texts, or all but some."""

    texts: frozenset[bytes]
    all_but: bool = False

    def __or__(self, other: Texts) -> Texts:
        if self.all_but and other.all_but:
            return Texts(self.texts & other.texts, True)
        if self.all_but or other.all_but:
            most, few = (self, other) if self.all_but else (other, self)
            return Texts(most.texts - few.texts, True)
        return Texts(self.texts | other.texts)

    def without(self) -> Texts:
        """All others."""
        return Texts(self.texts, not self.all_but)

    def within(self, other: Texts) -> bool:
        """Whether the other has all of them."""
        if self.all_but:
            return other.all_but and other.texts <= self.texts
        return not self.texts & other.texts if other.all_but else self.texts <= other.texts

    def meets(self, other: Texts) -> bool:
        """Whether one is in both."""
        if self.all_but and other.all_but:
            return True
        if self.all_but or other.all_but:
            most, few = (self, other) if self.all_but else (other, self)
            return bool(few.texts - most.texts)
        return bool(self.texts & other.texts)

    def __bool__(self) -> bool:
        return self.all_but or bool(self.texts)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What satisfies a condition, from below and from above, and whether EMPTY does."""

    under: Numbers | Texts
    over: Numbers | Texts
    empty: bool

    @property
    def is_never(self) -> bool:
        """Nothing satisfies it."""
        return not self.over and not self.empty


def bounds_of(condition: Condition, family: int, members: Members) -> Bounds:
    """The bounds of one condition at a layer of a family."""
    bits = FIELDS[condition.field].type_for(family).bits
    nothing: Numbers | Texts = Numbers((), 1 << bits) if bits else Texts(frozenset())
    under, over, empty = nothing, nothing, False
    for term in condition.terms:
        low, high = nothing, nothing
        for atom in term.atoms:
            atom_low, atom_high = _atom(atom, nothing, members)
            low, high = low | atom_low, high | atom_high  # type: ignore[operator]
            empty = empty or (atom.op is Op.EMPTY and not term.negate)
        if term.negate:
            low, high = high.without(), low.without()
        under, over = under | low, over | high  # type: ignore[operator]
    return Bounds(under, over, empty)


def _atom(atom: Atom, nothing: Numbers | Texts, members: Members) -> tuple[Numbers | Texts, Numbers | Texts]:
    exact: Numbers | Texts | None
    if isinstance(nothing, Numbers):
        exact = _numbers(atom, nothing.size, members)
    else:
        exact = _texts(atom, members)
    return (nothing, nothing.without()) if exact is None else (exact, exact)


def _numbers(atom: Atom, size: int, members: Members) -> Numbers | None:
    if atom.op is Op.EMPTY:
        return Numbers((), size)
    if atom.op is Op.RANGE:
        return Numbers(((atom.low, min(atom.high, size - 1)),) if atom.low < size else (), size)
    if atom.op is Op.IN_SET:
        return Numbers(tuple(merged(members(atom.set, (size - 1).bit_length()))), size)  # type: ignore[arg-type]
    return None


def _texts(atom: Atom, members: Members) -> Texts | None:
    if atom.op is Op.EMPTY:
        return Texts(frozenset())
    if atom.op is Op.TEXT_EQUAL:
        return Texts(frozenset({atom.text}))
    if atom.op is Op.IN_SET:
        return Texts(frozenset(members(atom.set, 0)))  # type: ignore[arg-type]
    return None


class Template:
    """Conditions that filters' are compared with."""

    def __init__(self, conditions: Iterable[Condition], family: int) -> None:
        self._family = family
        self._conditions = {condition.field: condition for condition in conditions}
        self._bounds = {
            field: bounds_of(condition, family, _no_members) for field, condition in self._conditions.items()
        }

    @property
    def is_never(self) -> bool:
        """No packet satisfies all of them."""
        return any(bounds.is_never for bounds in self._bounds.values())

    def contains(self, conditions: Iterable[Condition], members: Members) -> bool:
        """Whether every packet that a filter of these conditions matches satisfies the template, for certain."""
        theirs = {condition.field: condition for condition in conditions}
        for field, mine in self._bounds.items():
            condition = theirs.get(field)
            if condition is None:
                return False
            if _same(condition.terms, self._conditions[field].terms):
                continue
            found = bounds_of(condition, self._family, members)
            if not found.over.within(mine.under) or (found.empty and not mine.empty):  # type: ignore[arg-type]
                return False
        return True

    def meets(self, conditions: Iterable[Condition], members: Members) -> bool:
        """Whether some packet may satisfy both."""
        for condition in conditions:
            mine = self._bounds.get(condition.field)
            found = bounds_of(condition, self._family, members)
            if found.is_never:
                return False
            if mine is None or (mine.empty and found.empty):
                continue
            if not found.over.meets(mine.over):  # type: ignore[arg-type]
                return False
        return True


def _same(one: tuple[Term, ...], other: tuple[Term, ...]) -> bool:
    return one == other and not any(atom.op is Op.IN_SET for term in one for atom in term.atoms)


def _no_members(name: str, _bits: int) -> Sequence[Range]:
    raise KeyError(name)

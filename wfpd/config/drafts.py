"""A condition under construction: values of both families, and how specific they are together."""

from __future__ import annotations

from wfpd.config.ranges import Range, count, merged
from wfpd.config.sets import SetTable
from wfpd.config.weights import FULL, LEAST, specificity, specificity_of_count
from wfpd.model.conditions import Atom, Condition, Op, Term
from wfpd.model.fields import Field

FAMILIES = (4, 6)


class Draft:
    """Alternatives of one field, gathered entry by entry."""

    __slots__ = ("empty", "n_values", "others", "ranges", "sets", "terms", "texts")

    def __init__(self) -> None:
        self.ranges: dict[int, list[Range]] = {4: [], 6: []}
        self.sets: list[str] = []
        self.texts: list[bytes] = []
        """Texts to be equal to."""
        self.terms: dict[int, list[Term]] = {4: [], 6: []}
        """Alternatives that are no values: masks, negations, other tests of texts."""
        self.others: dict[int, list[int]] = {4: [], 6: []}
        """Their specificity."""
        self.empty = False
        self.n_values = 0

    def add_range(self, low: int, high: int, family: int = 0) -> None:
        """Numbers of one family, or of both."""
        if low > high:
            return  # `greater` than the largest: nothing.
        for each in (family,) if family else FAMILIES:
            self.ranges[each].append((low, high))

    def add_term(self, term: Term, specific: int, family: int = 0) -> None:
        """Another alternative."""
        for each in (family,) if family else FAMILIES:
            self.terms[each].append(term)
            self.others[each].append(specific)

    def add_mask(self, op: Op, mask: int, bits: int) -> None:
        """A flags match; its specificity is the number of bits of the mask."""
        self.add_term(Term((Atom(op, low=mask),)), specificity(mask.bit_count(), bits))

    def add_negation(self, other: Draft, table: SetTable) -> None:
        """ "Has a value and none of `other`'s values" for each family."""
        for family in FAMILIES:
            self.add_term(Term(tuple(other.value_atoms(family, table)), negate=True), LEAST, family)

    def value_atoms(self, family: int, table: SetTable) -> list[Atom]:
        """The tests of plain values."""
        atoms = [Atom(Op.RANGE, low, high) for low, high in merged(self.ranges[family])]
        if self.texts:
            atoms += [Atom(Op.TEXT_EQUAL, text=text) for text in dict.fromkeys(self.texts)]
        if self.sets:
            names = dict.fromkeys(self.sets)
            atoms += [Atom(Op.IN_SET, set=name) for name in names if table.has_values(name, family)]
        if self.empty:
            atoms.append(Atom(Op.EMPTY))
        return atoms

    def finish(self, field: Field, family: int, table: SetTable) -> Condition:
        """The condition at a layer of the family."""
        atoms = self.value_atoms(family, table)
        terms = [Term(tuple(atoms))] if atoms else []
        return Condition(field.id, tuple(terms + self.terms[family]), self._specificity(field, family, table))

    def _specificity(self, field: Field, family: int, table: SetTable) -> int:
        """A disjunction is as specific as its least specific part."""
        parts = list(self.others[family])
        bits = field.type_for(family).bits
        if not bits:
            if self.texts or self.sets or self.empty:
                parts.append(FULL)
        else:
            n_admitted = self._count(family, table) + self.empty
            if n_admitted:
                parts.append(specificity_of_count(n_admitted, bits))
        return min(parts, default=0)

    def _count(self, family: int, table: SetTable) -> int:
        """Distinct numbers admitted."""
        own = merged(self.ranges[family])
        if not self.sets:
            return count(own)
        counter = table.counter(tuple(sorted(set(self.sets))), family)
        return counter.total + count(own) - sum(counter.overlap(low, high) for low, high in own)

"""Templates against filters, compared with every value of a small field and with drawn values of the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests import builders
from tests.oracle.matching import condition_holds
from wfpd.bfe.containment import Template
from wfpd.model.conditions import Atom, Condition, Op, Term
from wfpd.model.fields import FIELD

SETS = {item.name: item for item in builders.value_sets()}
POLICY = builders.a_policy([], sets=builders.value_sets())
FIELD_NAMES = {field.id: field.name for field in FIELD.values()}
FIELDS = ("ip_protocol", "ip_source_address", "flags", "interface_name")


def members(name: str, bits: int) -> Sequence[Any]:
    found = SETS[name]
    if not bits:
        return found.texts
    return found.ranges_v6 if bits == 128 else found.ranges


def values_of(field: str, family: int) -> list[int | bytes | None]:
    if field == "ip_protocol":
        return [None, *range(256)]
    return [None, *builders.pool(field, family)]


@st.composite
def pairs(draw: st.DrawFn) -> tuple[str, int, Condition, Condition]:
    field, family = draw(st.sampled_from(FIELDS)), draw(st.sampled_from([4, 6]))
    template = draw(builders.conditions(field, family).filter(lambda item: not _sets(item)))
    return field, family, template, draw(builders.conditions(field, family))


def _sets(condition: Condition) -> bool:
    return any(atom.op is Op.IN_SET for term in condition.terms for atom in term.atoms)


def holds(condition: Condition, value: int | bytes | None, family: int) -> bool:
    name = FIELD_NAMES[condition.field]
    return condition_holds(condition, POLICY, builders.slot(family=family), {name: value})


@settings(max_examples=400, deadline=None)
@given(pairs())
def test_what_is_said_for_certain_is_so(drawn: tuple[str, int, Condition, Condition]) -> None:
    field, family, template, condition = drawn
    compared = Template([template], family)
    contains, meets = compared.contains([condition], members), compared.meets([condition], members)
    for value in values_of(field, family):
        theirs, mine = holds(condition, value, family), holds(template, value, family)
        assert not (contains and theirs and not mine), value
        assert not (not meets and theirs and mine), value
        assert not (compared.is_never and mine), value


EXACT = st.sampled_from([0, 1, 5, 6, 17, 18, 254, 255])


@st.composite
def exact_conditions(draw: st.DrawFn) -> Condition:
    tests = []
    for _ in range(draw(st.integers(0, 3))):
        low, high = sorted((draw(EXACT), draw(EXACT)))
        tests.append(draw(st.sampled_from([Atom(Op.RANGE, low, high), Atom(Op.EMPTY), Atom(Op.RANGE, low, low)])))
    half = draw(st.integers(0, len(tests)))
    terms = (Term(tuple(tests[:half]), draw(st.booleans())), Term(tuple(tests[half:])))
    return Condition(FIELD["ip_protocol"].id, terms)


@settings(max_examples=400, deadline=None)
@given(exact_conditions(), exact_conditions())
def test_ranges_are_decided_exactly(template: Condition, condition: Condition) -> None:
    compared = Template([template], 4)
    every = values_of("ip_protocol", 4)
    mine = {value for value in every if holds(template, value, 4)}
    theirs = {value for value in every if holds(condition, value, 4)}
    assert compared.contains([condition], members) == (theirs <= mine)
    assert compared.meets([condition], members) == bool(theirs & mine)
    assert compared.is_never == (not mine)


def test_fields_that_only_one_names() -> None:
    tcp = builders.when("ip_protocol", builders.equal(6))
    port = builders.when("ip_source_port", builders.within(1, 1024))
    template = Template([tcp], 4)
    assert template.contains([tcp, port], members)
    assert not template.contains([port], members)
    assert template.meets([port], members)
    assert template.meets([], members)
    assert not template.contains([], members)

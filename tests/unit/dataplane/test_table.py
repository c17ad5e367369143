"""Snapshot: what it refuses, what it knows of its filters, and what outlives a reload."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import (
    GLOBS,
    TEXTS,
    a_filter,
    a_policy,
    callout,
    equal,
    field_values,
    policies,
    slot,
    snapshot,
    sublayer,
    value_sets,
    when,
    within,
)
from tests.oracle.matching import text_holds
from tests.unit.dataplane.rich import WORDS, rich_bytes
from wfpd.dataplane import Snapshot
from wfpd.model.conditions import Atom, Condition, Op, Term
from wfpd.model.fields import FIELD
from wfpd.model.policy import Action, FilterFlag, Policy, Word, default_key

PERMIT, BLOCK = Action.PERMIT, Action.BLOCK


def holds(condition: Condition, value: object, family: int = 4) -> bool:
    at = slot(family=family)
    field = next(item.name for item in FIELD.values() if item.id == condition.field)
    taken = snapshot(a_policy([a_filter("a", PERMIT, condition, at=at)], sets=value_sets()))
    return taken.matches_slow(at, {field: value}) == [0]


# --- what it refuses ------------------------------------------------------------------------------


def test_a_word_that_is_no_word_is_refused() -> None:
    with pytest.raises(ValueError, match="word"):
        snapshot(Policy(), on_error=Word.DEFAULT)


def test_callouts_must_be_as_many_as_the_policy_has_and_callable() -> None:
    with pytest.raises(ValueError, match="2 callouts"):
        Snapshot(rich_bytes(), [None], generation=1, **WORDS)
    with pytest.raises(ValueError, match="'c' is not callable"):
        Snapshot(rich_bytes(), [1, None], generation=1, **WORDS)


# --- what matches ---------------------------------------------------------------------------------

TEXT_OPS = [op for op in Op if op >= Op.TEXT_EQUAL]


@pytest.mark.parametrize("op", TEXT_OPS)
def test_text_tests_hold_exactly_where_the_twin_says(op: Op) -> None:
    for wanted in GLOBS if op is Op.TEXT_GLOB else TEXTS:
        for high in (None, *TEXTS) if op is Op.TEXT_RANGE else (None,):
            atom = Atom(op, text=wanted, text_high=high)
            for value in (*TEXTS, b"h", b"[", b"a", b"]", b"veth0h"):
                assert holds(when("interface_name", atom), value) == text_holds(atom, value), (atom, value)


@settings(max_examples=1500, deadline=None)
@given(st.text("ab*?[]!-", max_size=10), st.text("ab[]!-", max_size=8))
def test_globs_hold_exactly_where_the_twin_says(glob: str, text: str) -> None:
    atom = Atom(Op.TEXT_GLOB, text=glob.encode())
    assert holds(when("interface_name", atom), text.encode()) == text_holds(atom, text.encode())


def test_a_glob_of_many_stars_over_a_long_text_ends() -> None:
    assert not holds(when("interface_name", Atom(Op.TEXT_GLOB, text=b"*a" * 100 + b"b")), b"a" * 60000)


def test_an_absent_value_satisfies_empty_only() -> None:
    for atom in (within(0, 255), Atom(Op.NONE_SET, 1), Atom(Op.IN_SET, set="number-wide")):
        assert not holds(when("ip_protocol", atom), None)
        assert not holds(when("ip_protocol", atom, negate=True), None)
    assert holds(when("ip_protocol", Atom(Op.EMPTY)), None)
    assert holds(when("ip_protocol", equal(6), Atom(Op.EMPTY)), None)
    assert not holds(when("ip_protocol", Atom(Op.EMPTY), negate=True), None)


def test_a_value_that_is_there_never_satisfies_empty() -> None:
    assert not holds(when("ip_protocol", Atom(Op.EMPTY)), 0)
    assert holds(when("ip_protocol", Atom(Op.EMPTY), negate=True), 0)


def test_a_negated_term_without_tests_holds_for_every_value_that_is_there() -> None:
    assert holds(when("ip_source_address", negate=True), 1)
    assert not holds(when("ip_source_address", negate=True), None)


def test_a_condition_without_terms_never_holds() -> None:
    assert not holds(Condition(FIELD["ip_protocol"].id, ()), 6)
    assert not holds(Condition(FIELD["ip_protocol"].id, (Term(()),)), 6)


def test_addresses_of_128_bits_compare_as_one_number() -> None:
    low, high = (1 << 64) + 5, (2 << 64) + 3
    inside = (low, (1 << 64) + 2**64 - 1, high)
    for value, wanted in ((low - 1, False), *((value, True) for value in inside), (high + 1, False)):
        assert holds(when("ip_source_address", within(low, high)), value, 6) is wanted


@pytest.mark.parametrize("value", [0, 1, 2, 5, 6, 442, 443, 2**32 - 1])
def test_sets_hold_at_the_ends_of_their_ranges(value: int) -> None:
    wanted = value == 0 or 2 <= value <= 5 or value >= 443
    assert holds(when("flags", Atom(Op.IN_SET, set="number-wide")), value) is wanted


def test_matching_ends_a_sublayer_at_what_always_ends_it() -> None:
    policy = a_policy(
        [
            a_filter("audit", BLOCK, flags=FilterFlag.AUDIT, weight=9),
            a_filter("asks", Action.CALLOUT_UNKNOWN, callout="c", weight=8),
            a_filter("ends", PERMIT, weight=7),
            a_filter("hidden", BLOCK, weight=6),
            a_filter("other", BLOCK, sublayer="low"),
        ],
        [sublayer("low", 1)],
        [callout("c")],
    )
    taken = snapshot(policy)
    assert [taken.filter_name(index) for index in taken.match(slot(), {})] == ["audit", "asks", "ends", "other"]
    assert len(taken.matches_slow(slot(), {})) == 5


def test_a_value_outside_of_its_field_is_refused() -> None:
    with pytest.raises(ValueError, match="8 bits"):
        snapshot(a_policy([a_filter("a", PERMIT)])).match(slot(), {"ip_protocol": 256})


# --- what it knows --------------------------------------------------------------------------------


def test_a_filter_tells_everything_about_itself() -> None:
    taken = Snapshot(rich_bytes(), [None, None], generation=3, **WORDS)
    info = taken.filter_info(0)
    assert info["key"] == default_key("file", "filter", "asks").bytes
    wanted = {"name": "asks", "provider": "file", "layer": "ipforward_v4", "sublayer": "high",
              "action": "callout_unknown", "callout": "c", "provider_context": "p", "weight": 0}  # fmt: skip
    assert {name: info[name] for name in wanted} == wanted
    with pytest.raises(IndexError):
        taken.filter_info(5)


def test_the_fields_that_a_layer_looks_at_are_known() -> None:
    taken = Snapshot(rich_bytes(), [None, None], generation=1, **WORDS)
    assert taken.fields_needed(slot()) == {"ip_source_port", "ip_source_address", "interface_name"}
    assert taken.fields_needed(slot(family=6)) == {"ip_source_address"}
    assert taken.fields_needed(0) == set()
    assert taken.max_layer_filters == 4


def test_payload_is_needed_only_where_a_filter_names_a_registered_callout_that_reads_it() -> None:
    class HeadersOnly:
        needs_payload = False

        def __call__(self, context: object) -> None: ...

    def reads(context: object) -> None: ...

    assert not Snapshot(rich_bytes(), [None, reads], generation=1, **WORDS).needs_payload
    assert not Snapshot(rich_bytes(), [HeadersOnly(), None], generation=1, **WORDS).needs_payload
    assert Snapshot(rich_bytes(), [reads, None], generation=1, **WORDS).needs_payload


def test_a_callout_speaks_for_itself_through_its_method_too() -> None:
    class Parks:
        needs_payload = False
        parks = True

        def classify(self, context: object) -> None: ...

    of_object = Snapshot(rich_bytes(), [Parks().classify, None], generation=1, **WORDS)
    assert of_object.parks and not of_object.needs_payload
    assert not Snapshot(rich_bytes(), [lambda context: None, None], generation=1, **WORDS).parks


# --- what outlives a reload -----------------------------------------------------------------------


def test_filters_with_a_flag_are_found_with_their_counters() -> None:
    filters = [a_filter("a", PERMIT), a_filter("b", PERMIT, flags=FilterFlag.METRICS), a_filter("c", PERMIT),
               a_filter("d", PERMIT, flags=FilterFlag.METRICS | FilterFlag.AUDIT)]  # fmt: skip
    first = snapshot(a_policy(filters))
    assert first.filters_with(int(FilterFlag.METRICS)) == [(1, 1), (3, 3)]
    assert first.filters_with(int(FilterFlag.AUDIT)) == [(3, 3)]
    second = snapshot(a_policy(filters[1:]), generation=2, previous=first)
    assert second.filters_with(int(FilterFlag.METRICS)) == [(0, 1), (2, 3)]


def test_a_layer_keeps_its_generation_until_its_content_changes() -> None:
    a, b = a_filter("a", PERMIT), a_filter("b", PERMIT, at=slot(family=6))
    first = snapshot(a_policy([a, b]), generation=5)
    second = snapshot(a_policy([a]), generation=6, previous=first)
    third = snapshot(a_policy([a, b]), generation=7, previous=second)
    assert [item.layer_generation(slot()) for item in (first, second, third)] == [5, 5, 5]
    assert [item.layer_generation(slot(family=6)) for item in (first, second, third)] == [5, 6, 7]


@settings(max_examples=60, deadline=None)
@given(policies(), policies(), field_values(4))
def test_a_successor_matches_as_one_without_a_predecessor(one: Policy, two: Policy, values: dict[str, Any]) -> None:
    successor = snapshot(two, generation=2, previous=snapshot(one))
    assert successor.match(slot(), values) == snapshot(two).match(slot(), values)

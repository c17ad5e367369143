"""Snapshot: what it refuses, what it knows of its filters, and what outlives a reload."""

from __future__ import annotations

import gc
import struct
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
from wfpd.compiler.pack import pack
from wfpd.dataplane import Snapshot
from wfpd.model.conditions import Atom, Condition, Op, Term
from wfpd.model.fields import FIELD
from wfpd.model.policy import Action, FilterFlag, Policy, ProviderContext, Word, default_key

PERMIT, BLOCK = Action.PERMIT, Action.BLOCK
WORDS: dict[str, Any] = {"on_error": 1, "on_malformed": 1, "on_late": 1, "flows_full": 1}


def holds(condition: Condition, value: object, family: int = 4) -> bool:
    at = slot(family=family)
    field = next(item.name for item in FIELD.values() if item.id == condition.field)
    taken = snapshot(a_policy([a_filter("a", PERMIT, condition, at=at)], sets=value_sets()))
    return taken.matches_slow(at, {field: value}) == [0]


def a_rich_policy() -> Policy:
    """Every kind of record at least once."""
    return a_policy(
        [
            a_filter("port", PERMIT, when("ip_source_port", within(22, 80), Atom(Op.IN_SET, set="number-small"))),
            a_filter("address", BLOCK, when("ip_source_address", Atom(Op.IN_SET, set="address-wide"), negate=True)),
            a_filter("six", BLOCK, when("ip_source_address", Atom(Op.IN_SET, set="address-wide")), at=slot(family=6)),
            a_filter("name", PERMIT, when("interface_name", Atom(Op.TEXT_GLOB, text=b"eth*"),
                                          Atom(Op.TEXT_RANGE, text=b"a", text_high=b"f"),
                                          Atom(Op.IN_SET, set="text-wide"), Atom(Op.EMPTY))),
            a_filter("asks", Action.CALLOUT_UNKNOWN, callout="c", sublayer="high", provider_context="p"),
        ],
        [sublayer("high", 0x9000)],
        [callout("c"), callout("d", use="")],
        value_sets(),
    )  # fmt: skip


def rich_bytes() -> bytes:
    policy = a_rich_policy()
    context = ProviderContext("p", default_key("file", "provider_context", "p"), {"a": 1})
    return pack(Policy(policy.filters, policy.sublayers, policy.callouts, policy.sets, (), (context,)))


# --- what it refuses ------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 16, 200, 223])
def test_a_buffer_that_breaks_off_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="packed policy"):
        Snapshot(rich_bytes()[:size], [None, None], generation=1, **WORDS)


def test_a_word_that_is_no_word_is_refused() -> None:
    with pytest.raises(ValueError, match="word"):
        snapshot(Policy(), on_error=Word.DEFAULT)


def test_callouts_must_be_as_many_as_the_policy_has_and_callable() -> None:
    with pytest.raises(ValueError, match="2 callouts"):
        Snapshot(rich_bytes(), [None], generation=1, **WORDS)
    with pytest.raises(ValueError, match="'c' is not callable"):
        Snapshot(rich_bytes(), [1, None], generation=1, **WORDS)


@pytest.mark.parametrize(
    ("field", "atom"),
    [("ip_protocol", Atom(Op.TEXT_EQUAL, text=b"tcp")), ("interface_name", equal(1))],
)
def test_a_test_that_is_not_for_its_fields_type_is_refused(field: str, atom: Atom) -> None:
    with pytest.raises(ValueError, match="type"):
        snapshot(a_policy([a_filter("a", PERMIT, when(field, atom))]))


def test_a_slot_at_which_no_layer_is_is_refused() -> None:
    with pytest.raises(ValueError, match="no layer"):
        snapshot(a_policy([a_filter("a", PERMIT, at=30)]))


def _use_everything(taken: Snapshot) -> None:
    for index in range(taken.n_filters):
        taken.filter_info(index)
    for at in range(64):
        for values in ({}, {"ip_source_port": 22, "ip_source_address": 1, "interface_name": b"eth0"}):
            taken.match(at, values)
            taken.matches_slow(at, values)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_any_changed_bytes_give_a_usable_snapshot_or_value_error(data: st.DataObject) -> None:
    content = bytearray(rich_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        if data.draw(st.booleans()):
            content[at] = data.draw(st.integers(0, 255))
        else:
            at = min(at & ~3, len(content) - 4)
            word = data.draw(st.sampled_from([0, 1, 2, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF]))
            struct.pack_into("<I", content, at, word)
    try:
        taken = Snapshot(bytes(content), [None, None], generation=1, **WORDS)
    except ValueError:
        return
    _use_everything(taken)


def test_every_byte_changed_alone_gives_a_usable_snapshot_or_value_error() -> None:
    sound = rich_bytes()
    for at in range(len(sound)):
        for change in (1, 0x80, 0xFF):
            content = bytearray(sound)
            content[at] ^= change
            try:
                taken = Snapshot(bytes(content), [None, None], generation=1, **WORDS)
            except ValueError:
                continue
            _use_everything(taken)


def test_a_writable_buffer_is_copied() -> None:
    content = bytearray(rich_bytes())
    taken = Snapshot(content, [None, None], generation=1, **WORDS)
    content[:] = bytes(len(content))
    assert taken.filter_name(1) == "port"


def test_a_buffer_that_is_not_aligned_is_copied() -> None:
    taken = Snapshot(memoryview(b"x" + rich_bytes())[1:], [None, None], generation=1, **WORDS)
    assert taken.filter_name(1) == "port"


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


def test_counters_go_on_and_a_slot_is_given_again_only_after_its_last_snapshot_is_gone() -> None:
    a, b, c = (a_filter(name, PERMIT) for name in "abc")
    first = snapshot(a_policy([a, b]))
    assert first.counter_slots() == [0, 1] and first.new_counter_slots() == (0, 1)
    second = snapshot(a_policy([b, c]), generation=2, previous=first)
    assert second.counter_slots() == [1, 2] and second.new_counter_slots() == (2,)
    third = snapshot(a_policy([b, a]), generation=3, previous=second)
    assert third.counter_slots() == [1, 3]  # `first` still counts in slot 0.
    del first
    gc.collect()
    fourth = snapshot(a_policy([b, a, a_filter("d", PERMIT)]), generation=4, previous=third)
    assert fourth.counter_slots() == [1, 3, 0]
    assert fourth.slots is third.slots and fourth.slots.size == 4


def test_filters_with_a_flag_are_found_with_their_counters() -> None:
    filters = [a_filter("a", PERMIT), a_filter("b", PERMIT, flags=FilterFlag.METRICS), a_filter("c", PERMIT),
               a_filter("d", PERMIT, flags=FilterFlag.METRICS | FilterFlag.AUDIT)]  # fmt: skip
    first = snapshot(a_policy(filters))
    assert first.filters_with(int(FilterFlag.METRICS)) == [(1, 1), (3, 3)]
    assert first.filters_with(int(FilterFlag.AUDIT)) == [(3, 3)]
    second = snapshot(a_policy(filters[1:]), generation=2, previous=first)
    assert second.filters_with(int(FilterFlag.METRICS)) == [(0, 1), (2, 3)]


def test_filters_of_one_key_and_content_hand_on_their_counters_one_by_one() -> None:
    same = [a_filter("a", PERMIT, weight=1)] * 300
    first = snapshot(a_policy([*same, a_filter("b", PERMIT)]))
    second = snapshot(a_policy([*same[:200], a_filter("b", PERMIT)]), generation=2, previous=first)
    assert second.counter_slots() == [*range(200), 300]
    third = snapshot(a_policy([*same, a_filter("b", PERMIT)]), generation=3, previous=second)
    assert third.counter_slots()[:200] == [*range(200)]
    assert third.counter_slots()[300] == 300
    assert len(set(third.counter_slots())) == 301


def test_a_refused_successor_leaves_the_counters_as_they_were() -> None:
    first = snapshot(a_policy([a_filter("a", PERMIT)]))
    with pytest.raises(ValueError):
        snapshot(a_policy([a_filter("b", PERMIT)]), callouts=[None], generation=2, previous=first)
    gc.collect()
    second = snapshot(a_policy([a_filter("c", PERMIT)]), generation=2, previous=first)
    assert second.counter_slots() == [1] and second.slots.size == 2


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

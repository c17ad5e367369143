"""pack: order, hashes and what becomes of tests that cannot hold."""

from __future__ import annotations

import dataclasses

import pytest

from tests.builders import a_filter, a_policy, callout, equal, slot, snapshot, sublayer, when, within
from wfpd.compiler.pack import pack, ranked
from wfpd.model.conditions import Atom, Condition, Op, Term
from wfpd.model.fields import FIELD
from wfpd.model.policy import Action, FilterFlag, Policy, ValueSet

PERMIT, BLOCK = Action.PERMIT, Action.BLOCK


def changed_slots(before: Policy, after: Policy) -> list[int]:
    old = snapshot(before, generation=1)
    new = snapshot(after, generation=2, previous=old)
    return [index for index in range(64) if new.layer_generation(index) == 2]


def counters_kept(before: Policy, after: Policy) -> bool:
    old = snapshot(before, generation=1)
    return not snapshot(after, generation=2, previous=old).new_counter_slots()


def test_an_empty_policy_packs_and_loads() -> None:
    assert snapshot(Policy()).n_filters == 0


def test_filters_stand_by_slot_then_sublayer_weight_then_weight_then_file_order() -> None:
    policy = a_policy(
        [
            a_filter("light", PERMIT, weight=1),
            a_filter("first", PERMIT, weight=5),
            a_filter("second", PERMIT, weight=5),
            a_filter("v6", PERMIT, at=slot(family=6)),
            a_filter("above", PERMIT, sublayer="high"),
            a_filter("inbound", PERMIT, at=slot("inbound_ippacket")),
        ],
        [sublayer("high", 0x9000)],
    )
    names = ["inbound", "above", "first", "second", "light", "v6"]
    assert [item.name for item in ranked(policy)] == names
    taken = snapshot(policy)
    assert [taken.filter_name(index) for index in range(6)] == names


def test_the_same_policy_packs_to_the_same_bytes() -> None:
    policy = a_policy([a_filter("a", PERMIT, when("flags", Atom(Op.IN_SET, set="s")))], sets=[ValueSet("s", "uint32")])
    assert pack(policy) == pack(policy)


def test_a_filter_that_names_an_unknown_set_is_refused() -> None:
    with pytest.raises(KeyError):
        pack(a_policy([a_filter("a", PERMIT, when("flags", Atom(Op.IN_SET, set="gone")))]))


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ({"weight": 7}, False),
        ({"action": BLOCK}, False),
        ({"flags": FilterFlag.CLEAR_ACTION_RIGHT}, False),
        ({"conditions": (when("ip_protocol", equal(17)),)}, False),
        ({"flags": FilterFlag.LOG | FilterFlag.METRICS | FilterFlag.INDEXED}, True),
        ({"name": "renamed"}, True),
        ({"description": "new words"}, True),
    ],
)
def test_only_what_decides_changes_the_layer_and_resets_the_counter(change: dict[str, object], kept: bool) -> None:
    item = a_filter("a", PERMIT, when("ip_protocol", equal(6)))
    before = a_policy([item])
    after = a_policy([dataclasses.replace(item, **change)])
    assert (changed_slots(before, after) == []) is kept
    assert counters_kept(before, after) is kept


def test_a_filter_added_at_one_layer_changes_that_layer_only() -> None:
    one = a_filter("a", PERMIT)
    two = a_filter("b", PERMIT, at=slot("inbound_ippacket"))
    assert changed_slots(a_policy([one]), a_policy([two, one])) == [slot("inbound_ippacket")]


def test_a_set_that_grows_changes_the_layer_and_keeps_the_counter() -> None:
    item = a_filter("a", PERMIT, when("ip_source_port", Atom(Op.IN_SET, set="s")))
    before = a_policy([item], sets=[ValueSet("s", "port", ((1, 1),))])
    after = a_policy([item], sets=[ValueSet("s", "port", ((1, 2),))])
    assert changed_slots(before, after) == [slot()]
    assert counters_kept(before, after)


def test_a_callout_with_new_options_changes_the_layer_and_keeps_the_counter() -> None:
    item = a_filter("a", Action.CALLOUT_UNKNOWN, callout="c")
    before = a_policy([item], callouts=[callout("c", answer="permit")])
    after = a_policy([item], callouts=[callout("c", answer="block")])
    assert changed_slots(before, after) == [slot()]
    assert counters_kept(before, after)


def test_two_filters_of_one_weight_that_change_places_change_the_layer() -> None:
    one, two = a_filter("a", PERMIT), a_filter("b", BLOCK)
    assert changed_slots(a_policy([one, two]), a_policy([two, one])) == [slot()]


@pytest.mark.parametrize("atom", [within(5, 4), within(256, 300), Atom(Op.ALL_SET, 0x100)])
def test_a_test_that_no_value_of_the_field_can_pass_never_holds(atom: Atom) -> None:
    taken = snapshot(a_policy([a_filter("a", PERMIT, when("ip_protocol", atom))]))
    assert [taken.match(slot(), {"ip_protocol": value}) for value in (0, 5, 255)] == [[], [], []]


def test_a_range_is_cut_to_the_width_of_its_field() -> None:
    taken = snapshot(a_policy([a_filter("a", PERMIT, when("ip_protocol", within(6, 2**32)))]))
    assert [taken.match(slot(), {"ip_protocol": value}) for value in (5, 6, 255)] == [[], [0], [0]]


def test_an_address_set_is_packed_for_each_family_apart() -> None:
    in_set = when("ip_source_address", Atom(Op.IN_SET, set="s"))
    policy = a_policy(
        [a_filter("four", PERMIT, in_set), a_filter("six", PERMIT, in_set, at=slot(family=6))],
        sets=[ValueSet("s", "address", ((1, 1),), ((2**100, 2**100),))],
    )
    taken = snapshot(policy)
    assert taken.match(slot(), {"ip_source_address": 1}) == [0]
    assert taken.match(slot(family=6), {"ip_source_address": 2**100}) == [1]
    assert taken.match(slot(family=6), {"ip_source_address": 1}) == []


def test_a_list_of_more_terms_than_a_record_can_count_is_one_term() -> None:
    terms = tuple(Term((equal(value % 65536),)) for value in range(70000))
    taken = snapshot(a_policy([a_filter("a", PERMIT, Condition(FIELD["ip_source_port"].id, terms))]))
    assert taken.match(slot(), {"ip_source_port": 65535}) == [0]

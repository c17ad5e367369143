"""The search itself: order, early ends, merging of leaves, and its doors."""

from __future__ import annotations

from array import array

import pytest

from tests.builders import a_filter, a_policy, callout, equal, slot, snapshot, sublayer, when, within
from wfpd.dataplane._classify import build_seconds, classify_many, table_stats
from wfpd.model.conditions import Atom, Condition, Op, Term
from wfpd.model.fields import FIELD
from wfpd.model.policy import Action, FilterFlag

RANKS = (sublayer("high", 0x9000), sublayer("low", 0x1000))


def found(filters, values, **members):
    taken = snapshot(a_policy(filters, RANKS, **members))
    return [taken.filter_name(index) for index in taken.match(slot(), values)]


def test_a_layer_without_filters_matches_nothing():
    taken = snapshot(a_policy([]))
    assert taken.match(slot(), {}) == []
    assert table_stats(taken, slot()) == {}


def test_an_ending_filter_hides_only_its_own_sublayer():
    filters = [
        a_filter("a", Action.PERMIT, weight=2, sublayer="high"),
        a_filter("b", Action.BLOCK, weight=1, sublayer="high"),
        a_filter("c", Action.BLOCK, sublayer="low"),
    ]
    assert found(filters, {}) == ["a", "c"]


def test_audit_and_callouts_that_may_pass_hide_nothing():
    filters = [
        a_filter("audit", Action.BLOCK, weight=4, flags=FilterFlag.AUDIT),
        a_filter("inspect", Action.CALLOUT_INSPECTION, weight=3, callout="c"),
        a_filter("unknown", Action.CALLOUT_UNKNOWN, weight=2, callout="c"),
        a_filter("ask", Action.CALLOUT_TERMINATING, weight=1, callout="c"),
        a_filter("hidden", Action.PERMIT),
    ]
    assert found(filters, {}, callouts=[callout("c")]) == ["audit", "inspect", "unknown", "ask"]


def test_a_filter_whose_residual_fails_hides_nothing():
    text = Condition(FIELD["interface_name"].id, (Term((Atom(Op.TEXT_EQUAL, text=b"eth0"),)),))
    filters = [a_filter("named", Action.BLOCK, text, weight=1), a_filter("all", Action.PERMIT)]
    assert found(filters, {"interface_name": b"eth0"}) == ["named"]
    assert found(filters, {"interface_name": b"eth1"}) == ["all"]
    assert found(filters, {}) == ["all"]


def test_a_match_all_filter_does_not_hide_others_when_its_field_is_absent():
    wide = when("ip_source_address", within(0, 2**32 - 1))
    filters = [a_filter("addressed", Action.BLOCK, wide, weight=1), a_filter("all", Action.PERMIT)]
    assert found(filters, {"ip_source_address": 0}) == ["addressed"]
    assert found(filters, {}) == ["all"]


def test_matches_of_many_leaves_come_in_order_and_all_of_them():
    fields = ("ip_source_port", "ip_destination_port", "ip_protocol")
    filters = [
        a_filter(f"f{index}", Action.CALLOUT_INSPECTION, when(fields[index % 3], within(index % 7, 200)), callout="c")
        for index in range(3000)
    ]
    taken = snapshot(a_policy(filters, callouts=[callout("c")]))
    values = {"ip_source_port": 3, "ip_destination_port": 100, "ip_protocol": 5}
    answer = taken.match(slot(), values)
    assert answer == taken.matches_slow(slot(), values)
    assert len(answer) > 2000


def test_more_sublayers_than_are_tracked_all_end_by_themselves():
    ranks = [sublayer(f"s{index}", 0x9000 - index) for index in range(40)]
    filters = [
        a_filter(f"f{index}", Action.BLOCK, when("ip_source_port", within(index % 50, 60000)),
                 sublayer=f"s{index % 40}", weight=index)
        for index in range(2000)
    ]  # fmt: skip
    taken = snapshot(a_policy(filters, ranks))
    answer = taken.match(slot(), {"ip_source_port": 500})
    assert len(answer) == 40
    assert answer == sorted(answer)


def test_every_port_list_finds_its_own_filter():
    filters = [
        a_filter(f"f{index}", Action.BLOCK, when("ip_source_port", *(equal(index + 100 * k) for k in range(30))))
        for index in range(90)
    ]
    taken = snapshot(a_policy(filters))
    ids = (FIELD["ip_source_port"].id,)
    rows = memoryview(array("Q", [word for port in range(3000) for word in (0, port)])).cast("B").cast("Q", (3000, 2))
    answers = classify_many(taken, slot(), ids, rows)
    names = [[taken.filter_name(index) for index in answer] for answer in answers]
    assert names == [[f"f{port % 100}"] if port % 100 < 90 else [] for port in range(3000)]


def test_the_doors_refuse_what_is_out_of_range():
    taken = snapshot(a_policy([a_filter("a", Action.PERMIT)]))
    rows = memoryview(array("Q", [0, 0])).cast("B").cast("Q", (1, 2))
    assert classify_many(taken, slot(), (0,), rows) == [[0]]
    assert classify_many(taken, slot(), (0,), rows, 3) > 0
    assert build_seconds(taken) >= 0
    with pytest.raises(ValueError):
        classify_many(taken, slot(), (0, 1), rows)
    with pytest.raises(ValueError):
        classify_many(taken, slot(), (999,), rows)
    with pytest.raises(ValueError):
        classify_many(taken, 64, (0,), rows)
    with pytest.raises(IndexError):
        table_stats(taken, 64)

"""Doors to the tables: answers, times, sizes, and which filters are behind them."""

from __future__ import annotations

from array import array

import pytest

from tests.builders import a_filter, a_policy, equal, slot, snapshot, when, within
from wfpd.dataplane._probe import (
    build_seconds,
    classify_many,
    filter_boxes,
    largest_leaf_filters,
    table_stats,
    widened_filters,
)  # fmt: skip
from wfpd.model.conditions import Atom, Condition, Op, Term
from wfpd.model.fields import FIELD
from wfpd.model.policy import Action, FilterFlag


def table(rows):
    return memoryview(array("Q", [word for row in rows for word in row])).cast("B").cast("Q", (len(rows), len(rows[0])))


def test_the_doors_refuse_what_is_out_of_range():
    taken = snapshot(a_policy([a_filter("a", Action.PERMIT)]))
    rows = table([[0, 0]])
    assert classify_many(taken, slot(), (0,), rows) == [[0]]
    assert isinstance(classify_many(taken, slot(), (0,), rows, 3), float)
    assert build_seconds(taken) >= 0
    with pytest.raises(ValueError):
        classify_many(taken, slot(), (0, 1), rows)
    with pytest.raises(ValueError):
        classify_many(taken, slot(), (999,), rows)
    with pytest.raises(ValueError):
        classify_many(taken, 64, (0,), rows)
    for door in (table_stats, largest_leaf_filters, widened_filters):
        with pytest.raises(IndexError):
            door(taken, 64)
    with pytest.raises(IndexError):
        filter_boxes(taken, 1)


def test_texts_of_rows_are_given_beside_them():
    field = FIELD["interface_name"].id
    filters = [a_filter("a", Action.BLOCK, Condition(field, (Term((Atom(Op.TEXT_EQUAL, text=b"eth1"),)),)))]
    taken = snapshot(a_policy(filters))
    rows = table([[0, 0], [0, 1], [0, 2]])
    assert classify_many(taken, slot(), (field,), rows, texts=[b"eth0", b"eth1"]) == [[], [0], []]


def test_the_largest_leaf_names_its_filters():
    narrow = [a_filter(f"n{port}", Action.BLOCK, when("ip_source_port", equal(port))) for port in range(500)]
    same = [a_filter(f"s{index}", Action.BLOCK, when("ip_source_port", within(60000, 60010)), flags=FilterFlag.AUDIT)
            for index in range(40)]  # fmt: skip
    taken = snapshot(a_policy([*narrow, *same]))
    assert table_stats(taken, slot())["largest_leaf"] == 40
    assert [taken.filter_name(index) for index in largest_leaf_filters(taken, slot(), 3)] == ["s0", "s1", "s2"]
    assert largest_leaf_filters(snapshot(a_policy([])), slot()) == []


def test_filters_with_too_many_alternatives_are_named():
    few = when("ip_source_port", *(equal(10 * port) for port in range(16)))
    many = when("ip_source_port", *(equal(10 * port) for port in range(17)))
    both = [when(name, *(equal(10 * port) for port in range(5))) for name in ("ip_source_port", "ip_destination_port")]
    taken = snapshot(a_policy([a_filter("few", Action.BLOCK, few), a_filter("many", Action.BLOCK, many),
                               a_filter("both", Action.BLOCK, *both)]))  # fmt: skip
    assert [taken.filter_name(index) for index in widened_filters(taken, slot())] == ["many", "both"]
    assert widened_filters(snapshot(a_policy([])), slot()) == []


def test_boxes_are_found_by_their_filter():
    filters = [
        a_filter("one", Action.BLOCK, when("ip_source_port", within(3, 9))),
        a_filter("two", Action.BLOCK, when("ip_source_port", equal(1), equal(5))),
        a_filter("any", Action.BLOCK),
    ]
    taken = snapshot(a_policy(filters))
    port = FIELD["ip_source_port"].id
    assert filter_boxes(taken, 0) == [[(port, 3, 9)]]
    assert filter_boxes(taken, 1) == [[(port, 1, 1)], [(port, 5, 5)]]
    assert filter_boxes(taken, 2) == [[(port, 0, 2**32 - 1)]]

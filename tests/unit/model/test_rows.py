"""Rows give back the filters that were put in."""

from __future__ import annotations

import dataclasses

import pytest

from tests.builders import a_filter, equal, slot, when, within
from wfpd.errors import Location
from wfpd.model.conditions import Atom, Condition, Op, Term
from wfpd.model.fields import FIELD
from wfpd.model.policy import Action, FilterFlag, Policy, Reply, Word
from wfpd.model.rows import FilterRows, rows_of

PORT = FIELD["ip_source_port"].id
CONDITIONS = (
    when("ip_source_port", equal(22), within(80, 90)),
    when("ip_source_port", equal(22), negate=True),
    when("ip_source_port", within(0, 1 << 40)),
    when("ip_source_address", within(0, (1 << 128) - 1)),
    when("interface_name", Atom(Op.TEXT_GLOB, text=b"eth*")),
    when("flags", Atom(Op.IN_SET, set="s")),
    Condition(PORT, ()),
    Condition(PORT, (Term(()),), 3),
    Condition(PORT, (Term((equal(1),)), Term((equal(2),))), 255),
)
FILTERS = (
    a_filter("a", Action.PERMIT),
    a_filter("é" * 60, Action.BLOCK, *CONDITIONS, weight=(1 << 64) - 1, order=7, at=slot(family=6)),
    dataclasses.replace(
        a_filter("a", Action.CALLOUT_INSPECTION, provider="p", callout="c"),
        flags=FilterFlag.LOG | FilterFlag.METRICS,
        reply=Reply.TCP_RESET,
        on_error=Word.BLOCK,
        provider_context="x",
        description="words",
        location=Location("f", 3, 4),
    ),
)


def test_rows_give_back_what_was_put_in() -> None:
    rows = FilterRows(FILTERS)
    assert tuple(rows) == FILTERS and rows == FILTERS and rows == list(FILTERS) and rows == FilterRows(FILTERS)
    assert (len(rows), rows[-1], rows[1:]) == (3, FILTERS[2], FILTERS[1:])
    assert rows != FILTERS[:2] and rows != FILTERS[::-1] and rows != 3
    assert hash(rows) == hash(FILTERS) and rows + FILTERS == (*FILTERS, *FILTERS)


def test_there_is_no_row_beyond_the_last() -> None:
    with pytest.raises(IndexError):
        FilterRows(FILTERS)[3]
    with pytest.raises(IndexError):
        FilterRows()[-1]


def test_slots_and_names_with_a_flag_are_found_without_the_filters() -> None:
    rows = FilterRows(FILTERS)
    assert rows.slots() == {slot(), slot(family=6)}
    assert rows.names_with(FilterFlag.METRICS) == ["a"] and rows.names_with(FilterFlag.AUDIT) == []
    assert list(rows.keys()) == [(item.key.bytes, item.order, item.name) for item in FILTERS]


def test_a_policy_of_rows_keeps_them() -> None:
    rows = FilterRows(FILTERS)
    assert rows_of(Policy(rows)) is rows
    assert rows_of(Policy(FILTERS)) == FILTERS

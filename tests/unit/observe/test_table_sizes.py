"""Sizes of tables by layer, and warnings that name what makes them slow."""

from __future__ import annotations

from tests.builders import a_filter, a_policy, equal, slot, snapshot, when, within
from wfpd.model.policy import Action, FilterFlag
from wfpd.observe.table_sizes import describe_tables, layer_tables, table_warnings


def test_each_layer_with_filters_has_a_row():
    filters = [a_filter("a", Action.PERMIT), a_filter("b", Action.BLOCK, at=slot("inbound_transport", 6))]
    tables = layer_tables(snapshot(a_policy(filters)))
    assert [(table.layer, table.filters, table.largest_leaf) for table in tables] == [
        ("inbound_transport_v6", 1, 1), ("ipforward_v4", 1, 1),
    ]  # fmt: skip
    lines = describe_tables(tables)
    assert lines[0].split()[0] == "layer"
    assert [line.split()[0] for line in lines[1:]] == ["inbound_transport_v6", "ipforward_v4"]
    assert len({len(line) for line in lines}) == 1


def test_a_policy_without_filters_has_heads_only():
    assert layer_tables(snapshot(a_policy([]))) == []
    assert len(describe_tables([])) == 1


def test_filters_that_nothing_separates_are_warned_of_by_name():
    filters = [a_filter(f"same{index}", Action.BLOCK, when("ip_source_port", within(9, 20)), flags=FilterFlag.AUDIT)
               for index in range(1001)]  # fmt: skip
    (warning,) = table_warnings(snapshot(a_policy(filters)))
    assert warning.startswith("ipforward_v4: 1,001 boxes")
    assert "same0, same1" in warning
    assert list(table_warnings(snapshot(a_policy(filters[:1000])))) == []


def test_lists_with_too_many_combinations_are_warned_of_by_name():
    fields = ("ip_source_port", "ip_destination_port")
    wide = [when(name, *(equal(7 * port) for port in range(10))) for name in fields]
    (warning,) = table_warnings(snapshot(a_policy([a_filter("lists", Action.BLOCK, *wide)])))
    assert "1 filters" in warning and "lists" in warning and "ipforward_v4" in warning

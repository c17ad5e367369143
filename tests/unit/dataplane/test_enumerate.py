"""Filters, references and sets as lists."""

from __future__ import annotations

import pytest

from tests import builders
from tests.builders import a_filter, a_policy, equal, slot, sublayer, when
from wfpd.compiler.pack import pack
from wfpd.control.tables import Tables
from wfpd.dataplane import filter_set, live_ids, references, set_members, set_page, sets_of
from wfpd.model.conditions import Atom, Op
from wfpd.model.fields import FIELD
from wfpd.model.policy import Action, Policy, Word, default_key

WORDS = dict.fromkeys(("on_error", "on_malformed", "on_late", "flows_full"), int(Word.PERMIT))


def named(snapshot: object, ids: object) -> list[str]:
    return [snapshot.filter_name(index) for index in ids]  # type: ignore[attr-defined]


def test_filters_come_in_the_order_of_arbitration_with_those_beside_the_base_and_without_those_gone() -> None:
    low = sublayer("low", 5)
    policy = a_policy([a_filter("a", Action.BLOCK, weight=1), a_filter("b", Action.BLOCK, weight=9),
                       a_filter("c", Action.BLOCK, sublayer="low", weight=99),
                       a_filter("six", Action.BLOCK, at=slot(family=6))], [low])  # fmt: skip
    tables = Tables(lambda snapshot: None, background=False)
    running = tables.replace(pack(policy), [], **WORDS)
    assert named(running, live_ids(running)) == ["b", "a", "c", "six"]
    assert named(running, live_ids(running, [slot(family=6)])) == ["six"]
    assert list(live_ids(running, [])) == []
    more = Policy(filters=(a_filter("between", Action.BLOCK, weight=5),), sublayers=policy.sublayers)
    running = tables.change(pack(more), [], [default_key("file", "filter", "a").bytes])
    assert named(running, live_ids(running)) == ["b", "between", "c", "six"]
    running = tables.change(remove=[default_key("file", "filter", "between").bytes])
    assert named(running, live_ids(running)) == ["b", "c", "six"]


def test_references_are_told_by_key_or_by_name() -> None:
    watch = builders.callout("watch")
    filters = [a_filter("a", Action.CALLOUT_UNKNOWN, callout="watch"), a_filter("b", Action.BLOCK, provider="p"),
               a_filter("c", Action.BLOCK, sublayer="low")]  # fmt: skip
    policy = a_policy(filters, [sublayer("low", 5)], [watch])
    found = builders.snapshot(policy)
    universal, low = (default_key("file", "sublayer", name).bytes for name in ("universal", "low"))
    assert references(found, "sublayer", universal, "") == 2
    assert references(found, "sublayer", low, "") == 1
    assert references(found, "sublayer", b"\0" * 16, "") == 0
    assert references(found, "callout", watch.key.bytes, "") == 1
    assert references(found, "provider", b"", "file") == 2
    assert references(found, "provider", b"", "p") == 1
    assert references(found, "provider_context", b"", "file") == 0
    with pytest.raises(KeyError):
        references(found, "layer", b"", "")


def test_sets_are_those_that_filters_name_and_are_read_in_pages() -> None:
    sets = builders.value_sets()
    policy = a_policy([a_filter("a", Action.BLOCK, when("ip_source_address", Atom(Op.IN_SET, set="address-wide"))),
                       a_filter("b", Action.BLOCK, when("interface_name", Atom(Op.IN_SET, set="text-small"))),
                       a_filter("c", Action.BLOCK, when("ip_protocol", equal(6)))], sets=sets)  # fmt: skip
    found = builders.snapshot(policy)
    assert sets_of(found) == [
        ("address-wide", "ranges32", 2, FIELD["ip_source_address"].id),
        ("text-small", "texts", 2, FIELD["interface_name"].id),
    ]
    assert set_page(found, "address-wide", "ranges32", 0, 1) == [(0, 1)]
    assert set_page(found, "address-wide", "ranges32", 1, 9) == [(0xC0000000, 2**32 - 1)]
    assert set_page(found, "address-wide", "ranges32", 5, 9) == []
    assert set_page(found, "text-small", "texts", 0, 9) == [b"eth0", b"lo"]
    with pytest.raises(KeyError):
        set_page(found, "address-small", "ranges32", 0, 9)
    first = next(index for index in live_ids(found) if found.filter_name(index) == "a")
    assert set_members(found, first, filter_set(found, first, "address-wide", 32)) == [(0, 1), (0xC0000000, 2**32 - 1)]
    for name, bits in (("text-small", 0), ("address-wide", 128)):
        with pytest.raises(KeyError):
            filter_set(found, first, name, bits)
    with pytest.raises(IndexError):
        set_members(found, first, 99)


def test_wide_ranges_keep_all_their_bits() -> None:
    condition = when("ip_source_address", Atom(Op.IN_SET, set="address-wide"))
    policy = a_policy([a_filter("a", Action.BLOCK, condition, at=slot(family=6))], sets=builders.value_sets())
    assert set_page(builders.snapshot(policy), "address-wide", "ranges128", 0, 9) == [(2**64 - 1, 2**128 - 1)]

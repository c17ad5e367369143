"""Merging packed policies: everything that is left, once, and nothing that is gone."""

from __future__ import annotations

from array import array

import pytest

from tests.builders import a_filter, a_policy, callout, slot, sublayer, value_sets, when
from tests.unit.dataplane.rich import WORDS, rich_bytes
from wfpd.compiler.pack import pack
from wfpd.dataplane import Added, Part, Root, Snapshot, merge
from wfpd.model.conditions import Atom, Op
from wfpd.model.policy import Action, Filter, Policy, ValueSet

PERMIT = Action.PERMIT


def beside(*policies: Policy) -> list[Added]:
    found, first = [], 0
    for policy in policies:
        part = Part(pack(policy), search=False)
        found.append(Added(part, array("I", range(first, first + part.n_filters))))
        first += part.n_filters
    return found


def in_set(name: str, set_name: str, field: str = "ip_source_address", **members: int) -> Filter:
    return a_filter(name, PERMIT, when(field, Atom(Op.IN_SET, set=set_name)), **members)


def test_a_policy_merged_with_nothing_is_itself() -> None:
    root = Root(Part(rich_bytes()), [None, None])
    packed, origins, keys = merge(root, [])
    one, other = (Snapshot(data, [None, None], generation=1, **WORDS) for data in (rich_bytes(), packed))
    assert list(memoryview(origins).cast("I")) == [part for index in range(5) for part in (0, index)]
    assert keys == root.part.callout_keys()
    for index in range(5):
        assert one.filter_info(index) == other.filter_info(index)
    for at in (slot(), slot(family=6)):
        for values in ({}, {"ip_source_port": 22, "ip_source_address": 1, "interface_name": b"eth0"}):
            assert one.match(at, values) == other.match(at, values)


def test_a_set_that_several_name_is_there_once() -> None:
    wide = ValueSet("wide", "address", tuple((10 * n, 10 * n + 1) for n in range(5000)))
    sets = [a_policy([in_set(name, "wide")], sets=[wide]) for name in "abcdef"]
    packed, _, _ = merge(None, beside(*sets))
    assert len(packed) < 1.2 * len(pack(sets[0]))
    other = ValueSet("wide", "address", ((1, 1),))
    both = merge(None, beside(sets[0], a_policy([in_set("x", "wide")], sets=[other])))[0]
    taken = Snapshot(both, [], generation=1, **WORDS)
    assert [taken.filter_name(i) for i in taken.matches_slow(slot(), {"ip_source_address": 49990})] == ["a"]
    assert [taken.filter_name(i) for i in taken.matches_slow(slot(), {"ip_source_address": 1})] == ["a", "x"]


@pytest.mark.parametrize("name", [item.name for item in value_sets()])
def test_every_kind_of_set_is_copied_and_found_again(name: str) -> None:
    fields = {"number": ("ip_source_port", "ip_local_interface"), "text": ("interface_name",)}
    policies = [
        a_policy([in_set(f"{field} {number}", name, field)], sets=value_sets())
        for field in fields.get(name.split("-")[0], ("ip_source_address",))
        for number in range(2)
    ]
    merged = Snapshot(merge(None, beside(*policies))[0], [], generation=1, **WORDS)
    apart = [Snapshot(pack(policy), [], generation=1, **WORDS) for policy in policies]
    for value in (0, 1, 6, 22, 443, 0x0A000001, 2**32 - 1):
        values = {"ip_source_port": value & 0xFFFF, "ip_local_interface": value, "ip_source_address": value,
                  "interface_name": [b"", b"eth0", b"veth0", b"x"][value % 4]}  # fmt: skip
        wanted = {taken.filter_name(i) for taken in apart for i in taken.matches_slow(slot(), values)}
        assert {merged.filter_name(i) for i in merged.matches_slow(slot(), values)} == wanted


def test_names_of_what_is_gone_are_not_carried_along_for_ever() -> None:
    root = Root(Part(pack(a_policy([a_filter("x" * 1000, PERMIT), a_filter("b", PERMIT)]))), [])
    root.remove(0)
    packed, _, _ = merge(root, [])
    assert b"x" * 1000 not in bytes(packed) and Part(packed).n_filters == 1


def test_sublayers_and_callouts_of_all_are_united_by_key() -> None:
    one = a_policy([a_filter("a", PERMIT, sublayer="x")], [sublayer("x", 0x9000)], [callout("c")])
    two = a_policy([a_filter("b", PERMIT, sublayer="y"), a_filter("d", PERMIT, sublayer="x")],
                   [sublayer("y", 0x9001), sublayer("x", 0x9000)], [callout("d"), callout("c")])  # fmt: skip
    packed, _, keys = merge(None, beside(one, two))
    taken = Snapshot(packed, [None, None], generation=1, **WORDS)
    assert keys == [callout("c").key.bytes, callout("d").key.bytes]
    assert [taken.sublayer_name(index) for index in range(3)] == ["y", "x", "universal"]
    assert [taken.filter_name(i) for i in taken.matches_slow(slot(), {})] == ["b", "a", "d"]


def test_a_sublayer_whose_weight_the_base_has_changed_puts_a_parts_filters_in_the_new_order() -> None:
    old = a_policy([a_filter("low", PERMIT, sublayer="x"), a_filter("high", PERMIT, sublayer="y")],
                   [sublayer("x", 0x1000), sublayer("y", 0x9000)])  # fmt: skip
    root = Root(Part(pack(a_policy([], [sublayer("x", 0xA000), sublayer("y", 0x9000)]))), [])
    packed, _, _ = merge(root, beside(old))
    taken = Snapshot(packed, [], generation=1, **WORDS)
    assert [taken.filter_name(i) for i in taken.matches_slow(slot(), {})] == ["low", "high"]

"""Two policies' boxes in one space: what a region says of a field."""

from __future__ import annotations

from tests.builders import a_filter, equal, slot, when, within
from tests.unit.dataplane.test_diff import diff, to_port
from wfpd.model.conditions import Atom, Op
from wfpd.model.policy import Action


def test_texts_are_told_by_name_and_the_others_as_all_but_those():
    eth = a_filter("eth", Action.PERMIT, when("interface_name", Atom(Op.TEXT_EQUAL, text=b"eth0")), weight=5)
    block = a_filter("all", Action.BLOCK)
    found = diff([eth], [eth, block])
    assert found["regions"] == [("permit", "block", {"interface_name": ([None, b"eth0"], True)})]
    more = a_filter("lo", Action.BLOCK, when("interface_name", Atom(Op.TEXT_EQUAL, text=b"lo")), weight=9)
    assert diff([eth], [more, eth])["regions"] == [("permit", "block", {"interface_name": ([b"lo"], False)})]
    other = [when("interface_name", Atom(Op.TEXT_EQUAL, text=name), negate=True) for name in (b"eth0", b"lo")]
    found = diff([a_filter("x", Action.BLOCK, other[0])], [a_filter("x", Action.BLOCK, other[1])])
    assert sorted(found["regions"]) == [
        ("block", "permit", {"interface_name": ([b"lo"], False)}),
        ("permit", "block", {"interface_name": ([b"eth0"], False)}),
    ]  # fmt: skip


def test_an_address_of_128_bits_is_told_in_words():
    item = a_filter("net", Action.BLOCK, when("ip_source_address", within(1 << 64, (2 << 64) - 1)), at=slot(family=6))
    whole = (0, 2**32 - 1)
    assert diff([], [item], slot(family=6))["regions"] == [
        ("permit", "block", {"ip_source_address": ([(0, 0), (1, 1), whole, whole], False)})
    ]  # fmt: skip


def test_an_absent_value_is_a_place_of_its_own():
    has = a_filter("has", Action.BLOCK, when("ip_source_address", within(0, 2**32 - 1)))
    every = a_filter("every", Action.BLOCK)
    assert diff([has], [every])["regions"] == [("permit", "block", {"ip_source_address": ([], True)})]
    port = a_filter("port", Action.BLOCK, to_port((0, 65535)))
    assert diff([port], [every])["regions"] == [("permit", "block", {"ip_destination_port": ([], True)})]


def test_texts_that_disregard_case_are_not_told_apart():
    folded = a_filter("f", Action.BLOCK, when("interface_name", Atom(Op.TEXT_EQUAL_NO_CASE, text=b"ETH0")), to_port(1))
    assert diff([], [folded])["regions"] == [("permit", None, {"ip_destination_port": ([(1, 1)], False)})]


def test_texts_named_in_another_order_are_the_same_texts():
    names = [b"a", b"b", b"c", b"d"]
    old = [a_filter(str(name), Action.BLOCK, when("interface_name", Atom(Op.TEXT_EQUAL, text=name))) for name in names]
    both = when("interface_name", Atom(Op.TEXT_EQUAL, text=b"d"), Atom(Op.TEXT_EQUAL, text=b"a"))
    found = diff(old, [a_filter("both", Action.BLOCK, both), *old[1:3]])["regions"]
    assert found == []
    found = diff(old, [a_filter("both", Action.BLOCK, both), old[1]])["regions"]
    assert found == [("block", "permit", {"interface_name": ([b"c"], False)})]


def test_a_field_that_one_side_alone_names_is_an_axis():
    found = diff([a_filter("a", Action.BLOCK, to_port(1))],
                 [a_filter("a", Action.BLOCK, to_port(1), when("ip_protocol", equal(6)))])  # fmt: skip
    assert {(old, new, where["ip_protocol"][0][0] if where["ip_protocol"][0] else None)
            for old, new, where in found["regions"]} == {
        ("block", "permit", (0, 5)), ("block", "permit", (7, 255)),
    }  # fmt: skip

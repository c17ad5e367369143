"""Texts as numbers: whole comparisons of a text field are cut like ports, and answer as the linear search does."""

from __future__ import annotations

import itertools

import pytest

from tests.builders import a_filter, a_policy, equal, slot, snapshot, when
from wfpd.dataplane._probe import filter_boxes, table_stats
from wfpd.model.conditions import Atom, Condition, Op, Term
from wfpd.model.fields import FIELD
from wfpd.model.policy import Action, FilterFlag, ValueSet

NAMES = [f"eth{index}".encode() for index in range(400)]
ASKED = [None, b"", b"eth", b"eth0", b"ETH0", b"eth7", b"Eth7", b"eth399", b"eth400", b"\xff", b"e" * 300]


def text(*atoms: Atom, negate: bool = False) -> Condition:
    return Condition(FIELD["interface_name"].id, (Term(tuple(atoms), negate),))


def named(name: bytes, op: Op = Op.TEXT_EQUAL) -> Atom:
    return Atom(op, text=name)


def agrees(filters, sets=()):
    """Compare with the linear search for present, absent, known and unknown texts; the table's sizes."""
    marked = [a_filter(f"f{index}", Action.BLOCK, *each, flags=FilterFlag.AUDIT) for index, each in enumerate(filters)]
    taken = snapshot(a_policy(marked, sets=sets))
    for name, port in itertools.product(ASKED, (1, 2)):
        values = {"ip_source_port": port} | ({} if name is None else {"interface_name": name})
        assert taken.match(slot(), values) == taken.matches_slow(slot(), values), name
    return table_stats(taken, slot())


def test_many_names_are_many_small_leaves():
    sizes = agrees([[text(named(name))] for name in NAMES])
    assert sizes["dimensions"] == 1
    assert sizes["largest_leaf"] <= 8
    assert sizes["copies"] == len(NAMES)


def test_names_and_ports_are_cut_together():
    sizes = agrees([[text(named(name)), when("ip_source_port", equal(port))]
                    for name in NAMES[:40] for port in range(20)])  # fmt: skip
    assert sizes["dimensions"] == 2
    assert sizes["largest_leaf"] <= 32


def test_negations_lists_empty_and_absent_values():
    agrees([
        [text(named(b"eth0"), negate=True)],
        [text(named(b"eth0"), named(b"eth7"))],
        [text(named(b"eth0"), Atom(Op.EMPTY))],
        [text(Atom(Op.EMPTY))],
        [text(named(b""))],
        [],
    ])  # fmt: skip


def test_names_that_disregard_case_among_names_that_do_not():
    agrees([
        [text(named(b"ETH0", Op.TEXT_EQUAL_NO_CASE))],
        [text(named(b"eth0"))],
        [text(named(b"ETH0"))],
        [text(named(b"eTh7", Op.TEXT_EQUAL_NO_CASE))],
        [text(named(b"eth7"), negate=True)],
        [text(named(b"EtH0", Op.TEXT_EQUAL_NO_CASE), negate=True)],
    ])  # fmt: skip


def test_case_is_that_of_ascii_letters_only():
    """0x40 and 0x60, and 0xC0 and 0xE0, differ in the bit that letters' case is."""
    taken = snapshot(a_policy([a_filter("a", Action.BLOCK, text(named(b"@\xc0z", Op.TEXT_EQUAL_NO_CASE)))]))
    for name in (b"@\xc0Z", b"@\xc0z", b"`\xc0z", b"@\xe0z"):
        assert taken.match(slot(), {"interface_name": name}) == taken.matches_slow(slot(), {"interface_name": name})


def test_other_tests_of_texts_are_residual():
    agrees([
        [text(named(b"eth", Op.TEXT_STARTS))],
        [text(named(b"eth0"), named(b"7", Op.TEXT_ENDS))],
        [text(named(b"e*9", Op.TEXT_GLOB), negate=True)],
        [text(named(b"eth0"))],
    ])  # fmt: skip


@pytest.mark.parametrize("count", [1, 30, 200])
def test_sets_of_texts(count: int) -> None:
    sets = [ValueSet("names", "text", texts=tuple(NAMES[:count]))]
    agrees([[text(Atom(Op.IN_SET, set="names"))], [text(Atom(Op.IN_SET, set="names"), negate=True)],
            [text(named(b"eth7"))]], sets)  # fmt: skip


def test_a_name_is_one_box_of_its_number():
    filters = [a_filter(f"f{index}", Action.BLOCK, text(named(NAMES[index // 2]))) for index in range(6)]
    taken = snapshot(a_policy(filters))
    field = FIELD["interface_name"].id
    assert [filter_boxes(taken, index) for index in range(6)] == [[[(field, 1 + index // 2, 1 + index // 2)]]
                                                                  for index in range(6)]  # fmt: skip

"""Which filters of two policies are the same."""

from __future__ import annotations

import dataclasses

from tests.builders import a_filter, a_policy, callout, equal, slot, snapshot, when
from tests.unit.dataplane.test_diff import REST, SSH, diff, to_port
from wfpd.dataplane import policy_diff
from wfpd.model.conditions import Atom, Op
from wfpd.model.policy import Action, FilterFlag, ValueSet


def test_two_filters_that_change_places_are_told():
    block = a_filter("b", Action.BLOCK, to_port((1, 9)))
    permit = a_filter("p", Action.PERMIT, to_port((5, 20)))
    found = diff([block, permit], [permit, block])
    assert len(found["moved"]) == 1 and not found["changed"]
    assert found["regions"] == [("block", "permit", {"ip_destination_port": ([(5, 9)], False)})]


def test_a_set_that_grows_changes_the_filters_that_name_it():
    item = a_filter("list", Action.BLOCK, when("ip_source_address", Atom(Op.IN_SET, set="s")))
    taken = [snapshot(a_policy([item], sets=[ValueSet("s", "address", ranges)]))
             for ranges in (((5, 6),), ((5, 6), (9, 9)))]  # fmt: skip
    found = policy_diff(*taken, slot())
    assert found["changed"] == [(0, 0)]
    assert found["regions"] == [("permit", "block", {"ip_source_address": ([(9, 9)], False)})]
    texts = [snapshot(a_policy([a_filter("t", Action.BLOCK, when("interface_name", Atom(Op.IN_SET, set="s")))],
                               sets=[ValueSet("s", "text", texts=names)]))
             for names in ((b"a", b"b"), (b"a", b"c"))]  # fmt: skip
    assert {(old, new, names[0]) for old, new, where in policy_diff(*texts, slot())["regions"]
            for names, _ in where.values()} == {("block", "permit", b"b"), ("permit", "block", b"c")}  # fmt: skip


def test_as_few_as_possible_are_said_to_have_moved():
    filters = [a_filter(f"f{index}", Action.BLOCK, to_port(index)) for index in range(6)]
    assert diff(filters, [*filters[1:], filters[0]])["moved"] == [(0, 5)]
    assert diff(filters, [filters[5], *filters[:5]])["moved"] == [(5, 0)]


def test_what_a_person_alone_reads_is_no_change():
    told = dataclasses.replace(SSH, description="why", flags=FilterFlag.LOG)
    assert diff([SSH, REST], [told, REST])["changed"] == []


def test_a_callout_that_is_there_on_one_side_only_changes_its_filters():
    item = a_filter("asks", Action.CALLOUT_TERMINATING, callout="c")
    there, missing = (snapshot(a_policy([item], callouts=[callout("c", use=use)])) for use in ("module:Class", ""))
    found = policy_diff(there, missing, slot())
    assert found["changed"] == [(0, 0)]
    assert found["regions"] == [(None, "block", {})]


def test_filters_of_one_key_are_paired_in_order():
    twice = [a_filter("same", Action.BLOCK, when("ip_protocol", equal(6))) for _ in range(2)]
    assert diff(twice, twice[:1])["removed"] == [1]
    assert diff(twice[:1], twice)["added"] == [1]

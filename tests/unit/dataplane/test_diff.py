"""Where two policies decide differently: the filters that are not the same, and the regions."""

from __future__ import annotations

import dataclasses

import pytest

from bench import workloads
from tests.builders import a_filter, a_policy, callout, equal, slot, snapshot, sublayer, when, within
from wfpd.dataplane import policy_diff
from wfpd.model.conditions import Atom, Op
from wfpd.model.policy import Action, FilterFlag


def to_port(*ports):
    return when("ip_destination_port", *(equal(p) if isinstance(p, int) else within(*p) for p in ports))


def diff(old, new, at=None, sublayers=(), **options):
    at = slot() if at is None else at
    taken = [snapshot(a_policy(filters, sublayers, [callout("c")])) for filters in (old, new)]
    return policy_diff(*taken, at, **options)


SSH = a_filter("ssh", Action.BLOCK, to_port(22), weight=9)
REST = a_filter("rest", Action.PERMIT)


def test_the_same_policy_has_no_difference():
    assert diff([SSH, REST], [SSH, REST]) == {
        "added": [], "removed": [], "changed": [], "moved": [], "regions": [], "tests": [], "deciding": [],
        "complete": True,
    }  # fmt: skip


def test_what_is_added_and_removed_is_told_with_its_region():
    found = diff([REST], [SSH, REST])
    assert (found["added"], found["removed"], found["changed"]) == ([0], [], [])
    assert found["regions"] == [("permit", "block", {"ip_destination_port": ([(22, 22)], False)})]
    back = diff([SSH, REST], [REST])
    assert (back["added"], back["removed"]) == ([], [0])
    assert back["regions"] == [("block", "permit", {"ip_destination_port": ([(22, 22)], False)})]


def test_a_filter_that_changes_nothing_has_no_region():
    found = diff([SSH, REST], [SSH, a_filter("ssh-2", Action.BLOCK, to_port((20, 22)), weight=3), REST])
    assert found["added"] == [1]
    assert found["regions"] == [("permit", "block", {"ip_destination_port": ([(20, 21)], False)})]
    assert diff([SSH, REST], [SSH, a_filter("ssh-2", Action.BLOCK, to_port(22), weight=3), REST])["regions"] == []


def test_a_changed_filter_is_compared_region_by_region():
    wider = dataclasses.replace(SSH, conditions=(to_port((21, 22)),))
    found = diff([SSH, REST], [wider, REST])
    assert found["changed"] == [(0, 0)]
    assert found["regions"] == [("permit", "block", {"ip_destination_port": ([(21, 21)], False)})]


def test_what_only_a_residual_condition_or_a_callout_knows_is_not_decided():
    glob = a_filter("glob", Action.BLOCK, when("interface_name", Atom(Op.TEXT_GLOB, text=b"e*")), to_port(22), weight=9)
    assert diff([REST], [glob, REST])["regions"] == [("permit", None, {"ip_destination_port": ([(22, 22)], False)})]
    asks = a_filter("asks", Action.CALLOUT_UNKNOWN, to_port(22), callout="c", weight=9)
    assert diff([REST], [asks, REST])["regions"] == [("permit", None, {"ip_destination_port": ([(22, 22)], False)})]
    looks = a_filter("looks", Action.CALLOUT_INSPECTION, callout="c", weight=9)
    audit = a_filter("audit", Action.BLOCK, weight=9, flags=FilterFlag.AUDIT)
    assert diff([REST], [looks, audit, REST])["regions"] == []


def test_the_right_counts_over_sublayers():
    ranks = [sublayer("high", 0x9000), sublayer("low", 0x1000)]
    soft = a_filter("p", Action.PERMIT, to_port((1, 5)), sublayer="high")
    hard = dataclasses.replace(soft, flags=FilterFlag.CLEAR_ACTION_RIGHT)
    block = a_filter("b", Action.BLOCK, sublayer="low")
    found = diff([soft, block], [hard, block], sublayers=ranks)
    assert found["changed"] == [(0, 0)]
    assert found["regions"] == [("block", "permit", {"ip_destination_port": ([(1, 5)], False)})]


def test_too_many_regions_are_said_to_be_too_many():
    many = [a_filter(f"f{port}", Action.BLOCK, to_port(port)) for port in range(0, 100, 2)]
    found = diff([], many, most=10)
    assert len(found["regions"]) == 10 and not found["complete"]
    assert len(diff([], many, most=50)["regions"]) == 50 and diff([], many, most=50)["complete"]
    assert not diff([], many, work=20)["complete"]


def test_a_large_set_with_one_more_filter_is_compared_whole():
    rules = workloads.rules("firewall", 3000, seed=2)
    old = workloads.policy(rules, sublayers=2)
    first = old.filters[0]
    extra = dataclasses.replace(a_filter("extra", Action.BLOCK, to_port(22)), sublayer=first.sublayer, weight=2**64 - 1)
    new = dataclasses.replace(old, filters=(*old.filters, extra))
    found = policy_diff(snapshot(old), snapshot(new), slot(), most=5000)
    assert len(found["added"]) == 1 and found["complete"]
    assert all((22, 22) in where["ip_destination_port"][0] for _, _, where in found["regions"])


def test_a_slot_without_filters_on_one_side_or_both():
    assert diff([], [])["regions"] == []
    assert diff([], [SSH], slot(family=6))["added"] == []
    with pytest.raises(IndexError):
        diff([], [], 64)

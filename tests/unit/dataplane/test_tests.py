"""Conditions that no box can hold, as axes of a comparison: told with each region, shared, limited, and given up."""

from __future__ import annotations

from typing import Any

from tests.builders import a_filter, a_policy, callout, equal, slot, snapshot, when
from wfpd.dataplane import policy_diff
from wfpd.model.conditions import Atom, Condition, Op
from wfpd.model.policy import Action, Filter, ValueSet


def glob(text: bytes) -> Condition:
    return when("interface_name", Atom(Op.TEXT_GLOB, text=text))


def masked(bit: int) -> Condition:
    return when("flags", Atom(Op.NONE_SET, bit))


def diff(
    old: list[Filter], new: list[Filter], sets: tuple[list[ValueSet], ...] = ([], []), **options: Any
) -> dict[str, Any]:
    taken = [snapshot(a_policy(filters, callouts=[callout("c")], sets=own))
             for filters, own in zip((old, new), sets, strict=True)]  # fmt: skip
    return policy_diff(*taken, slot(), **{"tests": 16, **options})


ANY = ([(0, 2**32 - 1)], False)
"""Any value, but not without one."""
REST = a_filter("rest", Action.PERMIT)


def test_a_region_says_whether_the_condition_holds_and_is_decided() -> None:
    found = diff([REST], [a_filter("e", Action.BLOCK, glob(b"e*"), weight=9), REST])
    assert found["regions"] == [("permit", "block", {})]
    assert found["tests"] == [[(glob(b"e*"), True, True)]]
    assert found["deciding"] == [(0, 0)] and found["complete"]


def test_what_lies_behind_a_condition_is_decided_where_it_does_not_hold() -> None:
    first = a_filter("first", Action.PERMIT, masked(1), weight=9)
    found = diff([first, REST], [first, a_filter("rest", Action.BLOCK)])
    told = zip([where["flags"] for _, _, where in found["regions"]], found["tests"], strict=True)
    assert sorted(told, key=str) == [(ANY, [(masked(1), False, False)]), (([], True), [])]
    assert {outcome[:2] for outcome in found["regions"]} == {("permit", "block")}


def test_one_condition_of_several_filters_is_one_test() -> None:
    both = [a_filter("a", Action.BLOCK, masked(1), when("ip_protocol", equal(6)), weight=9),
            a_filter("b", Action.BLOCK, masked(1), when("ip_protocol", equal(17)), weight=8)]  # fmt: skip
    found = diff([REST], [*both, REST], tests=1)
    assert sorted(where["ip_protocol"][0] for _, _, where in found["regions"]) == [[(6, 6)], [(17, 17)]]
    assert {outcome[:2] for outcome in found["regions"]} == {("permit", "block")}


def test_conditions_beyond_the_number_stay_undecided() -> None:
    new = [a_filter("a", Action.BLOCK, masked(1), when("ip_protocol", equal(6)), weight=9),
           a_filter("b", Action.BLOCK, masked(2), when("ip_protocol", equal(17)), weight=8), REST]  # fmt: skip
    told = {where["ip_protocol"][0][0][0]: verdict for _, verdict, where in diff([REST], new, tests=1)["regions"]}
    assert told == {6: "block", 17: None}
    told = {where["ip_protocol"][0][0][0]: verdict for _, verdict, where in diff([REST], new, tests=0)["regions"]}
    assert told == {6: None, 17: None}


def test_a_filter_with_one_test_too_many_is_larger_than_what_it_matches() -> None:
    new = a_filter("a", Action.BLOCK, masked(1), glob(b"e*"), weight=9)
    found = diff([REST], [new, REST], tests=1)
    assert found["regions"] == [("permit", None, {"flags": ANY})] and found["tests"] == [[]]
    found = diff([REST], [new, REST])
    assert found["regions"] == [("permit", "block", {"flags": ANY})] and len(found["tests"][0]) == 2


def scattered(first: int) -> ValueSet:
    """A set of too many ranges for boxes of their own."""
    return ValueSet("s", "port", tuple((port, port) for port in range(first, 2000, 2)))


def test_sets_of_one_name_are_one_test_if_they_hold_the_same() -> None:
    named = when("ip_destination_port", Atom(Op.IN_SET, set="s"))
    old, new = a_filter("a", Action.PERMIT, named), a_filter("a", Action.BLOCK, named)
    found = diff([old], [new], ([scattered(1)], [scattered(1)]))
    assert [outcome[:2] for outcome in found["regions"]] == [("permit", "block")]
    assert found["tests"] == [[(named, True, False)]]
    found = diff([new], [new], ([scattered(1)], [scattered(2)]))
    told = {(tuple(holds for _, holds, _ in tests), outcome[:2])
            for outcome, tests in zip(found["regions"], found["tests"], strict=True)}  # fmt: skip
    assert ((True, False), ("block", "permit")) in told and ((False, True), ("permit", "block")) in told


def test_a_callout_stays_undecided_beside_a_test() -> None:
    asks = a_filter("asks", Action.CALLOUT_UNKNOWN, glob(b"e*"), callout="c", weight=9)
    found = diff([REST], [asks, REST])
    assert found["regions"] == [("permit", None, {})] and found["deciding"] == [(0, None)]


def test_tests_that_lead_to_too_many_regions_are_given_up() -> None:
    port = when("ip_destination_port", equal(0))
    actions = [Action.BLOCK if number % 2 else Action.PERMIT for number in range(8)]
    new = [a_filter(f"f{number}", action, masked(1 << number), port, weight=20 - number)
           for number, action in enumerate(actions)]  # fmt: skip
    block = a_filter("block", Action.BLOCK)
    whole = diff([block], [*new, block], most=100)
    assert len(whole["regions"]) > 1 and any(whole["tests"])
    few = diff([block], [*new, block], most=1)
    assert few["regions"] == [("block", None, {"ip_destination_port": ([(0, 0)], False), "flags": ANY})]
    assert few["complete"] and few["tests"] == [[]]


def test_tests_that_decide_nothing_are_left_out() -> None:
    asks = a_filter("asks", Action.CALLOUT_UNKNOWN, callout="c", weight=9)
    behind = a_filter("e", Action.BLOCK, glob(b"e*"), weight=5)
    found = diff([REST], [asks, behind, REST])
    assert [outcome[:2] for outcome in found["regions"]] == [("permit", None)] and found["tests"] == [[]]

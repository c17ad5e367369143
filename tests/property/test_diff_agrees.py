"""The regions of a policy diff against both policies asked packet by packet."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import a_filter, a_policy, field_values, policies, slot, snapshot, sublayer, when, within
from tests.oracle.arbitration import Answer, decide_layer
from tests.oracle.matching import condition_holds
from wfpd.candidates import inside
from wfpd.dataplane import explain_values, policy_diff
from wfpd.model.policy import Action, Filter, FilterFlag, Policy

RANKS = [sublayer("high", 0x9000), sublayer("low", 0x1000)]
TOP = 4


def verdict(policy: Policy, at: int, values: dict[str, Any]) -> str:
    """Permit or block; a callout that is there always answers the same for a filter's name."""
    used = {item.name: item.use for item in policy.callouts}

    def answer(item: Filter) -> Answer | None:
        kind = ("permit", "block", "continue")[sum(item.name.encode()) % 3]
        return Answer(kind, len(item.name) % 2 == 0) if used[item.callout] else None

    return "block" if decide_layer(policy, at, values, answer).action == "block" else "permit"


def corner(where: dict[str, Any]) -> dict[str, Any]:
    """One packet's values inside a region: the lowest ones."""
    return {name: sum(low << 32 * place for place, (low, _) in enumerate(reversed(bounds))) if bounds else None
            for name, (bounds, _) in where.items()}  # fmt: skip


def regions_of(
    found: dict[str, Any], values: dict[str, Any], policies: tuple[Policy, Policy], at: int
) -> list[tuple[str | None, str | None]]:
    """The verdicts of the regions that these values lie in."""
    each = zip(found["regions"], found["tests"], strict=True)
    return [(old, new) for (old, new, where), tests in each
            if all(inside(values.get(name), told) for name, told in where.items())
            and all(condition_holds(condition, policies[is_new], at, values) == holds
                    for condition, holds, is_new in tests)]  # fmt: skip


@st.composite
def small_filters(draw: st.DrawFn, name: str) -> Filter:
    ends = [sorted(draw(st.tuples(st.integers(0, TOP), st.integers(0, TOP)))) for _ in range(2)]
    fields = ("ip_source_port", "ip_source_address")
    named = [when(field, within(*pair)) for field, pair in zip(fields, ends, strict=True) if draw(st.integers(0, 3))]
    flags = draw(st.sampled_from([FilterFlag(0), FilterFlag(0), FilterFlag.CLEAR_ACTION_RIGHT]))
    return a_filter(name, draw(st.sampled_from([Action.PERMIT, Action.BLOCK])), *named, flags=flags,
                    sublayer=draw(st.sampled_from(["high", "low"])), weight=draw(st.integers(0, 2)))  # fmt: skip


@st.composite
def small_pairs(draw: st.DrawFn) -> tuple[Policy, Policy]:
    names = st.lists(st.sampled_from("abcdefgh"), max_size=6, unique=True)
    known = {name: draw(small_filters(name)) for name in "abcdefgh"}
    other = {name: draw(small_filters(name)) if draw(st.integers(0, 3)) == 0 else item for name, item in known.items()}
    return (a_policy([known[name] for name in draw(names)], RANKS),
            a_policy([other[name] for name in draw(names)], RANKS))  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(small_pairs())
def test_the_regions_of_static_policies_are_exactly_where_the_verdict_changes(pair: tuple[Policy, Policy]) -> None:
    old, new = pair
    tables = snapshot(old), snapshot(new)
    found = policy_diff(*tables, slot(), most=5000)
    assert found["complete"]
    for (was, becomes, where), deciding in zip(found["regions"], found["deciding"], strict=True):
        witness = corner(where)
        steps = [explain_values(each, slot(), witness, 0)["steps"] for each in tables]
        standing = [[step["filter"] for step in each if step["stands"]][-1:] for each in steps]
        assert standing == [[] if index is None else [index] for index in deciding]
        assert (verdict(old, slot(), witness), verdict(new, slot(), witness)) == (was, becomes) and was != becomes
    for port, address in itertools.product((None, *range(TOP + 2)), repeat=2):
        values = {"ip_source_port": port, "ip_source_address": address}
        verdicts = verdict(old, slot(), values), verdict(new, slot(), values)
        assert regions_of(found, values, pair, slot()) == ([verdicts] if verdicts[0] != verdicts[1] else [])


@st.composite
def drawn_pairs(draw: st.DrawFn) -> tuple[Policy, Policy, int, list[dict[str, Any]]]:
    family = draw(st.sampled_from([4, 6]))
    at = slot(family=family)
    old, donor = draw(policies(at=at, most=8)), draw(policies(at=at, most=8))
    taken = {item.name: item for item in donor.filters}
    kept = [taken.pop(item.name, item) if draw(st.integers(0, 2)) == 0 else item for item in old.filters]
    new = [*draw(st.permutations(kept)), *(item for name, item in taken.items() if name not in {i.name for i in kept})]
    ordered = tuple(dataclasses.replace(item, order=index) for index, item in enumerate(new))
    return old, dataclasses.replace(old, filters=ordered), at, draw(st.lists(field_values(family), max_size=12))


@settings(max_examples=200, deadline=None)
@given(drawn_pairs(), st.sampled_from([0, 2, 16]))
def test_what_a_region_says_holds_and_nothing_changes_outside(
    drawn: tuple[Policy, Policy, int, list[dict[str, Any]]], tests: int
) -> None:
    old, new, at, packets = drawn
    found = policy_diff(snapshot(old), snapshot(new), at, most=20000, tests=tests)
    for values in packets:
        verdicts = verdict(old, at, values), verdict(new, at, values)
        told = regions_of(found, values, (old, new), at)
        assert len(told) <= 1
        if told:
            assert all(said in (None, is_) for said, is_ in zip(told[0], verdicts, strict=True))
            assert None in told[0] or told[0][0] != told[0][1]
        elif found["complete"]:
            assert verdicts[0] == verdicts[1]

"""What the explanation tells of a packet is what the slow twins say, on drawn policies of every match type."""

from __future__ import annotations

import dataclasses
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import field_values, policies, slot, snapshot
from tests.oracle.arbitration import Answer, decide_layer
from tests.oracle.matching import condition_holds, matching_filters, needed_filters
from wfpd.compiler.pack import ranked
from wfpd.dataplane import explain_values, filter_conditions
from wfpd.model.policy import Filter, Policy


@st.composite
def questions(draw: st.DrawFn) -> tuple[Policy, int, list[dict[str, Any]]]:
    policy = draw(policies(most=20))
    family = draw(st.sampled_from([4, 6]))
    return policy, slot(family=family), draw(st.lists(field_values(family), min_size=1, max_size=4))


def near_misses(policy: Policy, at: int, values: dict[str, Any], most: int) -> list[tuple[str, int]]:
    """Filters of which exactly one condition fails and its position; the first `most` of each sublayer."""
    found, kept = [], dict.fromkeys((item.name for item in policy.sublayers), 0)
    for item in ranked(policy):
        fails = [place for place, condition in enumerate(item.conditions)
                 if not condition_holds(condition, policy, at, values)]  # fmt: skip
        if item.slot == at and len(fails) == 1 and kept[item.sublayer] < most:
            kept[item.sublayer] += 1
            found.append((item.name, fails[0]))
    return found


@settings(max_examples=150, deadline=None)
@given(questions(), st.integers(0, 6))
def test_matches_what_else_holds_and_near_misses(question: tuple[Policy, int, list[Any]], most: int) -> None:
    policy, at, packets = question
    taken = snapshot(policy)
    order = [item.name for item in ranked(policy)]
    for values in packets:
        told = explain_values(taken, at, values, most)
        assert told["matches"] == taken.match(at, values)
        assert [order[index] for index in told["matches"]] == [i.name for i in needed_filters(policy, at, values)]
        assert [order[index] for index in told["held"]] == [i.name for i in matching_filters(policy, at, values)]
        assert [(order[index], place) for index, place in told["near"]] == near_misses(policy, at, values, most)


@settings(max_examples=150, deadline=None)
@given(questions(), st.lists(st.tuples(st.sampled_from(["permit", "block", "continue"]), st.booleans()), max_size=8))
def test_the_steps_end_where_arbitration_does(
    question: tuple[Policy, int, list[Any]], answers: list[tuple[str, bool]]
) -> None:
    policy, at, packets = question
    taken = snapshot(policy)
    used = {item.name: item.use for item in policy.callouts}
    for values in packets:
        given = iter(answers)

        def answer(item: Filter, given: Any = given) -> Answer | None:
            return Answer(*next(given, ("continue", False))) if used[item.callout] else None

        wanted = decide_layer(policy, at, values, answer)
        steps = explain_values(taken, at, values, answers=answers)["steps"]
        action, right = (steps[-1]["action"], steps[-1]["right"]) if steps else ("none", True)
        standing = [step for step in steps if step["stands"]]
        assert (action, right) == (wanted.action, wanted.right)
        assert (taken.filter_name(standing[-1]["filter"]) if standing else None) == wanted.filter
        assert bool(standing and standing[-1]["veto"]) == wanted.veto
        assert [taken.filter_name(s["filter"]) for s in steps if s["answer"] is not None] == wanted.callouts


@settings(max_examples=100, deadline=None)
@given(questions())
def test_conditions_read_back_mean_what_the_policy_says(question: tuple[Policy, int, list[Any]]) -> None:
    policy, at, packets = question
    taken = snapshot(policy)
    read = dataclasses.replace(policy, filters=tuple(
        dataclasses.replace(item, conditions=filter_conditions(taken, index), order=index)
        for index, item in enumerate(ranked(policy))))  # fmt: skip
    for values in packets:
        for told, said in zip(read.filters, ranked(policy), strict=True):
            if said.slot == at:
                assert [condition_holds(c, read, at, values) for c in told.conditions] == [
                    condition_holds(c, policy, at, values) for c in said.conditions
                ]

"""Explanations and comparisons of tables that were changed are those of the same policy built anew."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import field_values, policies, slot, snapshot
from tests.oracle.matching import matching_filters
from tests.property.test_churn_agrees import Churn
from tests.property.test_explain_agrees import near_misses
from wfpd.dataplane import Snapshot, explain_values, filter_conditions, policy_diff
from wfpd.model.policy import Policy


def churned(policy: Policy, rng: random.Random) -> Churn:
    """The policy's first half, to which parts of the rest were added and of which some were removed."""
    filters = list(policy.filters)
    churn = Churn(dataclasses.replace(policy, filters=tuple(filters[: len(filters) // 2])))
    rest = filters[len(filters) // 2 :]
    while rest:
        taken = rest[: rng.randrange(1, len(rest) + 1)]
        rest = rest[len(taken) :]
        churn.change(taken, [item for item in churn.live.values() if rng.random() < 0.2])
    return churn


def model_of(churn: Churn) -> Policy:
    return dataclasses.replace(churn.policy, filters=tuple(churn.live.values()))


def names(taken: Snapshot, indexes: list[int]) -> list[str]:
    return [taken.filter_name(index) for index in indexes]


@settings(max_examples=100, deadline=None)
@given(policies(most=16), st.randoms(use_true_random=False), st.integers(0, 4), st.data())
def test_a_changed_policy_is_explained_as_the_slow_twins_say(
    policy: Policy, rng: random.Random, most: int, data: st.DataObject
) -> None:
    churn = churned(policy, rng)
    model, taken = model_of(churn), churn.snapshot
    family = data.draw(st.sampled_from([4, 6]))
    at, values = slot(family=family), data.draw(field_values(family))
    told = explain_values(taken, at, values, most)
    anew = explain_values(snapshot(model), at, values, most)
    wanted = near_misses(model, at, values, most)
    assert told["matches"] == taken.match(at, values)
    assert names(taken, told["held"]) == [item.name for item in matching_filters(model, at, values)]
    assert [(taken.filter_name(index), place) for index, place in told["near"]] == wanted
    assert [filter_conditions(taken, index)[place].field for index, place in told["near"]] == [
        next(item for item in model.filters if item.name == name).conditions[place].field for name, place in wanted
    ]
    assert names(taken, told["order"]) == names(snapshot(model), anew["order"])
    said = ("said", "answer", "stands", "veto", "action", "right")
    assert [[step[key] for key in said] for step in told["steps"]] == [
        [step[key] for key in said] for step in anew["steps"]
    ]
    assert [entry[1:] for entry in told["sublayers"]] == [entry[1:] for entry in anew["sublayers"]]
    assert told["values"].items() >= anew["values"].items()


@settings(max_examples=60, deadline=None)
@given(policies(most=10), st.randoms(use_true_random=False), st.sampled_from([4, 6]))
def test_a_changed_policy_is_compared_as_if_it_had_been_built_anew(
    policy: Policy, rng: random.Random, family: int
) -> None:
    before = snapshot(dataclasses.replace(policy, filters=policy.filters[: len(policy.filters) // 2]))
    churn = churned(policy, rng)
    taken, anew = churn.snapshot, snapshot(model_of(churn))
    told, wanted = (policy_diff(before, each, slot(family=family), tests=16) for each in (taken, anew))
    assert all(told[kind] == wanted[kind] for kind in ("regions", "tests", "complete"))
    for side, each in ((0, before), (1, taken)):
        deciding = [pair[side] for pair in told["deciding"]]
        other = [pair[side] for pair in wanted["deciding"]]
        assert [None if index is None else each.filter_name(index) for index in deciding] == [
            None if index is None else (anew if side else before).filter_name(index) for index in other
        ]
    assert names(taken, told["added"]) == names(anew, wanted["added"])
    assert told["removed"] == wanted["removed"]
    same: dict[str, Any] = policy_diff(taken, anew, slot(family=family))
    assert not any(same[kind] for kind in ("added", "removed", "changed", "moved", "regions"))

"""The compiled table and the linear twin agree on every drawn policy and packet."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import field_values, policies, slot, snapshot
from tests.oracle.matching import matching_filters, needed_filters
from wfpd.compiler.pack import ranked
from wfpd.model.policy import Policy


def _names(policy: Policy, found: list[int]) -> list[str]:
    order = [item.name for item in ranked(policy)]
    return [order[index] for index in found]


@st.composite
def questions(draw: st.DrawFn) -> tuple[Policy, int, list[dict[str, Any]]]:
    policy = draw(policies())
    family = draw(st.sampled_from([4, 6]))
    return policy, slot(family=family), draw(st.lists(field_values(family), min_size=1, max_size=6))


@settings(max_examples=150, deadline=None)
@given(questions())
def test_the_compiled_table_finds_what_the_linear_twin_finds(question: tuple[Policy, int, list[Any]]) -> None:
    policy, at, packets = question
    taken = snapshot(policy)
    for values in packets:
        wanted = [item.name for item in matching_filters(policy, at, values)]
        assert _names(policy, taken.matches_slow(at, values)) == wanted
        needed = [item.name for item in needed_filters(policy, at, values)]
        assert _names(policy, taken.match(at, values)) == needed

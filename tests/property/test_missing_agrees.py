"""The conditions that `wfpd test` says a filter failed in, against a plain look at each condition."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import field_values, policies, slot
from tests.oracle.matching import condition_holds
from wfpd.model.policy import Policy
from wfpd.testing.missing import failing_conditions


@st.composite
def drawn(draw: st.DrawFn) -> tuple[Policy, int, dict[str, Any]]:
    family = draw(st.sampled_from([4, 6]))
    at = slot(family=family)
    return draw(policies(at=at, most=6)), at, draw(field_values(family))


@settings(max_examples=60, deadline=None)
@given(drawn())
def test_exactly_the_conditions_that_do_not_hold_are_named(case: tuple[Policy, int, dict[str, Any]]) -> None:
    policy, at, values = case
    for item in policy.filters:
        wanted = [one for one in item.conditions if not condition_holds(one, policy, at, values)]
        assert failing_conditions(policy, item, values) == wanted

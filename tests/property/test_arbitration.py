"""The compiled arbitration and the twin decide every drawn layer alike."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import field_values, policies, slot, snapshot
from tests.oracle.arbitration import Answer, Outcome, decide_layer
from wfpd.compiler.pack import ranked
from wfpd.dataplane._arbitrate import arbitrate_layer
from wfpd.model.policy import Filter, Policy

ANSWERS = st.builds(Answer, st.sampled_from(["permit", "block", "continue"]), st.booleans())


def compiled(policy: Policy, at: int, values: dict[str, Any], answers: dict[str, Answer]) -> Outcome:
    """The engine's decision in the twin's words."""
    taken = snapshot(policy)
    order = [item.name for item in ranked(policy)]
    seen: list[tuple[str | None, bool]] = []

    def ask(index: int, action: str | None, right: bool) -> dict[str, object]:
        seen.append((action, right))
        answer = answers[order[index]]
        return {"kind": answer.kind, "clear_right": answer.clear_right}

    found = arbitrate_layer(taken, taken.match(at, values), ask)
    named = None if found["filter"] is None else order[found["filter"]]
    called = [order[index] for index in found["callouts"]]
    return Outcome(found["action"], found["right"], found["reason"], named, found["veto"], called, seen, found["audit"])


@settings(max_examples=150, deadline=None)
@given(policies(at=slot()), field_values(4), st.lists(ANSWERS, min_size=12, max_size=12))
def test_the_compiled_arbitration_decides_as_the_twin(
    policy: Policy, values: dict[str, Any], given_answers: list[Answer]
) -> None:
    answers = dict(zip((f"f{index}" for index in range(12)), given_answers, strict=True))

    def callouts(item: Filter) -> Answer | None:
        return None if item.callout == "missing" else answers[item.name]

    assert compiled(policy, slot(), values, answers) == decide_layer(policy, slot(), values, callouts)

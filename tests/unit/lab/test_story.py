"""The lab's words."""

from __future__ import annotations

import pytest

from wfpd.lab.errors import LabError
from wfpd.lab.story import edited, outcome, shipped_policy


def test_the_policy_shown_is_about_ten_lines() -> None:
    assert len(shipped_policy().splitlines()) <= 10


def test_the_edit_turns_ping_into_no_ping_and_nothing_else() -> None:
    before, after = shipped_policy().splitlines(), edited(shipped_policy()).splitlines()
    changed = [new for old, new in zip(before, after, strict=True) if old != new]
    assert len(changed) == 1
    assert "no-ping" in changed[0]


def test_an_edit_of_another_policy_is_refused() -> None:
    with pytest.raises(LabError, match="no filter `ping`"):
        edited("version: 1\n")


@pytest.mark.parametrize(
    ("event", "reached", "words"),
    [
        ({"event_type": "wfp", "wfp": {"filter": "web"}}, True, "permitted by web"),
        ({"event_type": "drop", "wfp": {"filter": "no-telnet"}}, False, "blocked by no-telnet"),
        ({"event_type": "drop", "wfp": {"filter": None, "reason": "malformed"}}, False, "blocked by malformed"),
        (None, True, "permitted, no filter matched"),
        (None, False, "no answer, and no filter of wfpd blocked it"),
    ],
)
def test_an_outcome_names_the_filter_that_decided(event: dict[str, object] | None, reached: bool, words: str) -> None:
    assert outcome(event, reached) == words

"""What is expected of a line, and where the line is another."""

from __future__ import annotations

import pytest

from wfpd.testing.cases import Difference, Expectation, came_of

LINE = {"packet": 1, "verdict": "block", "reason": "filter", "layer": "ipforward_v4", "sublayer": "s", "filter": "f",
        "veto": False, "layers": [{"callouts": ["a"]}, {"callouts": ["b", "a"]}]}  # fmt: skip


@pytest.mark.parametrize("members", [
    {"verdict": "block"}, {"layer": "ipforward"}, {"layer": "ipforward_v4"}, {"callouts": ["a", "b", "a"]},
    {"filter": "f", "sublayer": "s", "veto": False, "reason": "filter"},
])  # fmt: skip
def test_any_part_of_a_line_may_be_expected(members: dict[str, object]) -> None:
    assert Expectation(members).differences(LINE) == []


@pytest.mark.parametrize(("member", "expected", "came"), [
    ("verdict", "permit", "block"), ("layer", "ipforward_v6", "ipforward_v4"),
    ("callouts", ["a", "b"], ["a", "b", "a"]),
    ("malformed", "truncated_transport", None), ("veto", True, False),
])  # fmt: skip
def test_a_difference_names_what_came(member: str, expected: object, came: object) -> None:
    assert Expectation({member: expected}).differences(LINE) == [Difference(member, expected, came)]
    assert came_of(LINE, member) == came


def test_differences_come_in_one_order() -> None:
    found = Expectation({"filter": "g", "verdict": "permit"}).differences(LINE)
    assert [item.member for item in found] == ["verdict", "filter"]

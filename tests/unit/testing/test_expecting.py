"""`expect:`, its short form, its words, and what it cannot be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.testing.files import case
from wfpd.errors import PolicyError


def members(directory: Path, text: str) -> Any:
    (expected,) = case(directory, f"expect: {text}").steps[0].expected
    return dict(expected.members)


def test_a_verdict_alone_is_enough(tmp_path: Path) -> None:
    assert members(tmp_path, "block") == {"verdict": "block"}


def test_every_member_is_read(tmp_path: Path) -> None:
    text = ("{verdict: permit, reason: veto, layer: ipforward_v6, sublayer: s, filter: f, veto: true, "
            "callouts: [a, b], malformed: truncated_transport}")  # fmt: skip
    assert members(tmp_path, text) == {
        "verdict": "permit", "reason": "veto", "layer": "ipforward_v6", "sublayer": "s", "filter": "f", "veto": True,
        "callouts": ["a", "b"], "malformed": "truncated_transport",
    }  # fmt: skip
    assert members(tmp_path, "{callouts: []}") == {"callouts": []}


@pytest.mark.parametrize(("text", "says"), [
    ("allow", 'expect: "allow" is not known'), ("{}", "nothing is expected"), ("[permit]", "is a verdict or a mapping"),
    ("{reason: luck}", "one of: no_match"), ("{layer: ipforwrad}", 'did you mean "ipforward"?'),
    ("{layer: nowhere}", "`wfpd layers` lists them"), ("{filter: }", "expect {reason: no_match}"),
    ("{filtr: a}", "filter"),
    ("{veto: maybe}", "neither true nor false"), ("{callouts: [{}]}", "one value is needed"),
    ("{malformed: odd}", "is not known"), ("{layer: [a]}", "one value is needed"), ("{verdict: }", "is not known"),
])  # fmt: skip
def test_what_cannot_be_expected_is_said_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(PolicyError) as caught:
        members(tmp_path, text)
    assert says in str(caught.value) and "a.test.yaml:5" in str(caught.value)

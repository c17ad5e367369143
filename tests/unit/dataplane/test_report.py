"""What control threads are given: sums, and what a failing callout leaves in the log."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from wfpd.dataplane import _report
from wfpd.dataplane._report import CalloutFailures, add_counts


def test_numbers_lists_and_dicts_of_them_are_added_up() -> None:
    total: dict[str, Any] = {}
    for more in ({"a": 1, "b": [1, 2], "c": {"x": 1}}, {"a": 2, "b": [3, 4], "c": {"y": 5}, "d": 7}):
        add_counts(total, more)
    assert total == {"a": 3, "b": [4, 6], "c": {"x": 1, "y": 5}, "d": 7}


def test_a_callout_that_fails_again_and_again_is_logged_once_in_ten_seconds(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Clock:
        now = 100.0

        def monotonic(self) -> float:
            return self.now

    clock = Clock()
    monkeypatch.setattr(_report, "time", clock)
    failures = CalloutFailures()
    with caplog.at_level(logging.ERROR):
        for _ in range(5):
            failures("one", ValueError("x"))
        failures("two", ValueError("y"))
        clock.now += 10.0
        failures("one", ValueError("z"))
    assert [record.message for record in caplog.records] == [
        "callout one raised ValueError('x')",
        "callout two raised ValueError('y')",
        "callout one raised ValueError('z') (4 more before it)",
    ]

"""What control threads are given: sums, and what a failing callout leaves in the log."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP

from tests.registering import Decided
from wfpd.dataplane import _report
from wfpd.dataplane._report import CalloutFailures, add_counts, own_frames


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


def deeper(number: int) -> None:
    """A function of a callout's that calls itself."""
    if number == 0:
        raise ValueError("x")
    deeper(number - 1)


class Failing:
    """A callout."""

    def __init__(self, depth: int) -> None:
        self.depth = depth

    def classify(self, c: Any) -> None:
        if self.depth < 0:
            c.block(reply="no such reply")
        deeper(self.depth)


POLICY = """version: 1
callouts: [{name: one, use: "m:C"}]
filters: [{name: f, layer: ipforward, action: {callout: one}, on_error: block}]
"""


@pytest.mark.parametrize(("depth", "functions"), [(1, ["classify", "deeper", "deeper"]), (-1, ["classify"])])
def test_the_log_has_the_callouts_own_frames_and_none_of_ours(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, depth: int, functions: list[str]
) -> None:
    replayed = Decided(tmp_path, POLICY, {"one": Failing(depth)})
    replayed.replay.replayer.context.on_error = CalloutFailures()
    with caplog.at_level(logging.ERROR):
        lines = [replayed.send(IP(src="192.0.2.9", dst="198.51.100.1") / UDP()) for _ in range(3)]
    assert [(line["verdict"], line["reason"]) for line in lines] == [("block", "error")] * 3
    assert replayed.replay.replayer.context.errors == {"one": 3}
    (record,) = caplog.records
    head, *frames = record.message.splitlines()
    assert head.startswith("callout one raised ValueError(")
    assert [frame.rpartition(" in ")[2] for frame in frames] == functions
    assert all(__file__ in frame for frame in frames)


def test_a_deep_recursion_is_logged_by_its_ends(tmp_path: Path) -> None:
    try:
        deeper(200)
    except ValueError as error:
        frames = own_frames(error)
    assert len(frames) == 21 and frames[10] == "  ... 182 more"


def test_an_exception_whose_repr_fails_is_logged_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    class Bad(Exception):
        def __repr__(self) -> str:
            raise RuntimeError

    with caplog.at_level(logging.ERROR):
        CalloutFailures()("one", Bad())
    assert caplog.records[0].message == "callout one raised Bad (its repr() fails)"

"""The log's lines about suspended callouts."""

from __future__ import annotations

import pytest

from wfpd.daemon.suspensions import Suspensions
from wfpd.observe.record import EventRecord


def watch(*, suspended: bool, suspensions: int) -> dict[str, object]:
    return {"suspended": suspended, "suspensions": suspensions, "overruns": 5, "skipped": 7}


def test_one_line_a_suspension_and_one_when_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    events: list[EventRecord] = []
    told = Suspensions(events.append)
    steps = [(False, 0), (True, 1), (True, 1), (False, 1), (False, 1), (True, 2)]
    found = []
    for suspended, suspensions in steps:
        caplog.clear()
        told.look({"slow": watch(suspended=suspended, suspensions=suspensions)})
        found.append([record.message.split(":")[0] for record in caplog.records])
    assert found == [[], ["callout slow is suspended"], [], ["callout slow is back"], [], ["callout slow is suspended"]]
    assert [event.suspension.suspended for event in events if event.suspension is not None] == [True, False, True]


def test_one_that_came_and_went_between_two_looks_is_told_too(caplog: pytest.LogCaptureFixture) -> None:
    Suspensions(lambda event: None).look({"slow": watch(suspended=False, suspensions=1)})
    assert [record.message.split(":")[0] for record in caplog.records] == [
        "callout slow is suspended", "callout slow is back",
    ]  # fmt: skip

"""A reading: histograms and what passed uninspected."""

from __future__ import annotations

import pytest

from wfpd.daemon import reading
from wfpd.netfilter.proc import QueueStatus


def status(queue: int, sequence: int, dropped: int, user: int) -> QueueStatus:
    return QueueStatus(queue, 1, 0, "packet", 65535, dropped, user, sequence)


def test_uninspected_is_what_rules_counted_and_no_queue_accounts_for(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {0: status(0, 60, 5, 3), 1: status(1, 20, 0, 0)}
    monkeypatch.setattr(reading.proc, "queues", lambda: table)
    raw = {0: {"id_gaps": 3}, 1: {"id_gaps": 0}}
    accounts = reading.accounted({"forward": (0, 1), "input": (7,)}, raw)
    found = reading.uninspected({"forward": 100, "input": 1}, accounts)
    assert found == {"forward": 100 - (60 - 3 + 5 + 3) - 20, "input": 1}


def test_a_packet_still_on_its_way_is_not_uninspected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading.proc, "queues", lambda: {0: status(0, 12, 0, 0)})
    accounts = reading.accounted({"forward": (0,)}, {0: {"id_gaps": 0}})
    assert reading.uninspected({"forward": 10}, accounts) == {"forward": 0}


def test_a_histogram_without_samples_has_every_bucket() -> None:
    empty = reading.histogram(None)
    assert len(empty.counts) == len(empty.bounds) + 1 and sum(empty.counts) == 0
    assert list(empty.bounds) == sorted(empty.bounds)

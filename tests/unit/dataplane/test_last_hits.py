"""When filters were last hit."""

from __future__ import annotations

import pytest

from tests import builders
from wfpd.dataplane import Engine
from wfpd.dataplane._last_hits import LastHitsProbe, hottest_of
from wfpd.dataplane._stats import StatsProbe
from wfpd.model.policy import Action


@pytest.fixture
def workers() -> list[StatsProbe]:
    found = [StatsProbe(), StatsProbe()]
    for worker in found:
        worker.stats.reserve(10_000)
    return found


def test_a_sweep_stamps_what_has_grown_in_any_worker(workers: list[StatsProbe]) -> None:
    last = LastHitsProbe(worker.stats for worker in workers)
    last.sweep(10_000, 100.0)
    assert [last.of(slot) for slot in (0, 5, 9_999, 50_000)] == [0.0] * 4
    workers[0].hit(5)
    workers[1].hit(9_999)
    last.sweep(10_000, 101.0)
    workers[1].hit(5)
    last.sweep(10_000, 102.0)
    last.sweep(10_000, 103.0)
    assert [last.of(slot) for slot in (0, 5, 9_999)] == [0.0, 102.0, 101.0]


def test_a_slot_that_begins_anew_forgets_its_former_filters_time() -> None:
    worker = StatsProbe()
    worker.stats.reserve(1)
    last = LastHitsProbe([worker.stats])
    for _ in range(3):
        worker.hit(0)
    last.sweep(1, 10.0)
    worker.begin(0)
    last.sweep(1, 11.0)
    assert last.of(0) == 0.0
    worker.hit(0)
    last.sweep(1, 12.0)
    assert last.of(0) == 12.0


def test_slots_that_no_worker_has_reserved_count_nothing() -> None:
    last = LastHitsProbe([StatsProbe().stats])
    last.sweep(20_000, 1.0)
    assert last.of(19_999) == 0.0


def test_the_hottest_filters_come_first_and_those_without_hits_not_at_all(workers: list[StatsProbe]) -> None:
    policy = builders.a_policy([builders.a_filter(f"f{number}", Action.BLOCK) for number in range(6)])
    snapshot = builders.snapshot(policy)
    slots = snapshot.counter_slots()
    for number, hits in ((4, 3), (1, 5), (2, 3)):
        for _ in range(hits):
            workers[number % 2].hit(slots[number])
    stats = [worker.stats for worker in workers]
    assert hottest_of(snapshot, stats, 10) == [(1, 5), (2, 3), (4, 3)]
    assert hottest_of(snapshot, stats, 1) == [(1, 5)]
    assert hottest_of(snapshot, stats, 0) == []


def test_an_engine_without_a_policy_has_neither() -> None:
    engine = Engine(1)
    engine.sweep_hits(1.0)
    assert engine.hottest(5) == []
    assert engine.last_hits([0, 7]) == [0.0, 0.0]
    engine.swap(builders.snapshot(builders.a_policy([builders.a_filter("f", Action.BLOCK)])))
    engine.sweep_hits(2.0)
    assert engine.hottest(5) == []

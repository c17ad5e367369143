"""What is read of an engine: before it runs, while it does, and after what has happened."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest

from tests.unit.dataplane.test_engine import ACCEPT, BATCH, DROP, QUEUE, VERDICT, packet, serving
from wfpd.dataplane._engine import Engine


def test_an_engine_that_has_not_run_has_counted_seen_and_recorded_nothing() -> None:
    engine = Engine(3, recorder=8)
    assert engine.progress() == [("new", 0)] * 3 and engine.n_recorders == 3
    found = engine.counters()
    assert (found["packets"], found["queues"], found["parking"]) == ({"permit": 0, "block": 0}, {}, {})
    assert (found["workers"], found["callout_errors"], found["callout_watches"]) == (engine.progress(), {}, {})
    assert (engine.callout_errors(), engine.callout_calls(), engine.callout_watches()) == ({}, {}, {})
    assert (engine.hottest(5), engine.last_hits([0, 7]), engine.drain_events()) == ([], [0.0, 0.0], [])
    engine.sweep_hits(1.0)  # Without a policy there is nothing to look at.
    room = engine.recorder_counts()["room"]
    assert room >= 3 * 8 and engine.recorder_counts() == {"kept": 0, "overwritten": 0, "room": room, "oldest_ns": None}
    assert [engine.recorded(number) for number in range(3)] == [[]] * 3 and engine.recorded_filters() == set()


def test_a_queue_or_a_recorder_that_there_is_not_is_an_error() -> None:
    engine = Engine(1)
    with pytest.raises(KeyError, match="7"):
        engine.decided_through(7)
    with pytest.raises(IndexError, match="1"):
        engine.recorded(1)


def test_verdicts_hits_events_and_records_tell_of_the_same_packets(tmp_path: pathlib.Path) -> None:
    with serving(tmp_path) as (engine, kernel, _):
        kernel.say(packet(1), packet(2, 5001), packet(3, 5001), packet(4), packet(5))
        assert kernel.hear() == [(VERDICT, DROP, 2), (VERDICT, DROP, 3), (BATCH, ACCEPT, 5)]
        slots = engine.snapshot.counter_slots()
        engine.sweep_hits(1000.5)
        assert (engine.filter_hits(slots), engine.last_hits(slots), engine.hottest(9)) == ([2], [1000.5], [(0, 2)])
        assert engine.decided_through(QUEUE) == 5 and engine.progress()[0][0] == "running"
        assert engine.counters()["packets"] == {"permit": 3, "block": 2}
        (event,) = engine.drain_events()  # One flow's drops are one event.
        assert (event["filter"], event["verdict"], event["hook"]) == (0, "block", "forward")
        assert engine.drain_events() == []
        records = engine.recorded(0)
        (block,) = [record for record in records if record["verdict"] == "block"]
        assert (block["count"], block["filter"]) == (2, 0)
        counts = engine.recorder_counts()
        assert (counts["kept"], counts["oldest_ns"]) == (len(records), min(one["timestamp_ns"] for one in records))
        assert engine.recorded_filters() == {(1, 0)}
        assert engine.recorded(0, block["last_ns"] + 1) == []


def test_calls_and_failures_of_a_callout_are_told_by_its_name(tmp_path: pathlib.Path) -> None:
    def sometimes(c: Any) -> None:
        if c.packet[-1]:
            raise ValueError("odd")
        c.permit()

    with serving(tmp_path, faults="{on_error: block}", callout=sometimes) as (engine, kernel, _):
        for number in range(1, 4):
            kernel.say(packet(number, size=4))
            kernel.hear()
        assert (engine.callout_calls(), engine.callout_errors()) == ({"c": 3}, {})
        kernel.say(packet(4, size=4)[:-1] + b"\x01")
        assert kernel.hear() == [(VERDICT, DROP, 4)]
        assert (engine.callout_calls(), engine.callout_errors()) == ({"c": 4}, {"c": 1})
        found = engine.counters()
        assert (found["callout_errors"], found["callout_durations"]["c"]["count"]) == ({"c": 1}, 4)

"""The recorder: the last blocks and a sample of permits, whole, whoever reads meanwhile."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.oracle.recorder import SECOND, Blocks
from wfpd.dataplane import Engine
from wfpd.dataplane._recorder import RecorderProbe


def numbers(probe: RecorderProbe) -> list[int]:
    return sorted(record["generation"] for record in probe.read())


def test_a_record_says_all_of_its_packet() -> None:
    probe = RecorderProbe(4)
    probe.block(7, 5 * SECOND)
    (record,) = probe.read()
    assert record == {
        "timestamp_ns": 5 * SECOND, "last_ns": 5 * SECOND, "count": 1, "generation": 7, "hook": "prerouting",
        "family": 4, "protocol": 0, "in_interface": 7, "out_interface": 7, "length": 7, "bytes": b"\x07" * 128,
        "verdict": "block", "reason": "no_match", "malformed": None, "slot": 0, "filter": 7, "callout": 7,
        "veto": False, "absorb": False, "reply": None, "would_block": False, "flow_id": 7, "to_server": False,
        "rows": [(0, "none", "clear", 7, False)] * 10,
    }  # fmt: skip


def test_the_last_blocks_are_kept_and_the_others_counted() -> None:
    probe = RecorderProbe(4)
    for number in range(1, 7):
        probe.block(number, number * SECOND)
    assert numbers(probe) == [3, 4, 5, 6]
    assert probe.counts() == {"kept": 4, "overwritten": 2, "room": 5}
    assert [record["generation"] for record in probe.read(since_ns=6 * SECOND)] == [6]


def test_equal_blocks_are_one_record_that_counts_until_ten_seconds_pass_without_one() -> None:
    probe = RecorderProbe(4)
    for second in (1, 5, 15, 26):
        probe.block(1, second * SECOND)
    told = sorted((record["timestamp_ns"] // SECOND, record["last_ns"] // SECOND, record["count"])
                  for record in probe.read())  # fmt: skip
    assert told == [(1, 15, 3), (26, 26, 1)]


def test_other_blocks_that_fall_on_the_same_place_are_never_counted_as_this_one() -> None:
    probe = RecorderProbe(4)
    for number in (1, 2, 1):
        probe.block(number, SECOND, hash=9)
    assert [record["count"] for record in probe.read()] == [1, 1, 1]
    assert numbers(probe) == [1, 1, 2]


def test_a_record_that_was_overwritten_is_not_counted_on() -> None:
    probe = RecorderProbe(2)
    for number in (1, 2, 3, 1):
        probe.block(number, SECOND)
    assert numbers(probe) == [1, 3]
    assert all(record["count"] == 1 for record in probe.read())


@given(st.lists(st.tuples(st.integers(1, 15), st.integers(0, 6)), max_size=80))
def test_the_ring_holds_what_a_list_would(story: list[tuple[int, int]]) -> None:
    probe, model, now = RecorderProbe(8), Blocks(8), 0
    for number, passed in story:
        now += passed * SECOND
        probe.block(number, now)
        model.block(number, now)
    found = sorted((r["generation"], r["timestamp_ns"], r["last_ns"], r["count"]) for r in probe.read())
    assert found == model.kept()


def test_one_permit_in_1024_is_recorded_beginning_with_the_first() -> None:
    probe = RecorderProbe(16)
    for number in range(1, 3 * 1024 + 2):
        probe.permit(number, SECOND)
    assert numbers(probe) == [1, 1025, 2049, 3073]
    assert {record["verdict"] for record in probe.read()} == {"permit"}


def test_blocks_do_not_push_permits_out() -> None:
    probe = RecorderProbe(4)
    probe.permit(1, SECOND)
    probe.hammer(100, 50)
    assert numbers(probe) == [1, 146, 147, 148, 149]


def test_the_filters_that_records_name_are_known_without_reading_them() -> None:
    probe = RecorderProbe(4)
    for number in (1, 2, 2, 3):
        probe.block(number, SECOND)
    probe.permit(9, SECOND)
    assert probe.filters() == {(1, 1), (2, 2), (3, 3), (9, 9)}


def test_a_reader_never_gets_a_torn_record() -> None:
    probe = RecorderProbe(2)
    writer = threading.Thread(target=probe.hammer, args=(1, 3_000_000), daemon=True)
    writer.start()
    taken = set()
    while writer.is_alive():
        for record in probe.read():
            number = record["generation"]
            assert (record["timestamp_ns"], record["flow_id"], record["length"], record["filter"]) == (number,) * 4
            assert {row[3] for row in record["rows"]} == {number}
            assert record["bytes"] == bytes([number & 0xFF]) * 128
            taken.add(number)
    writer.join()
    assert numbers(probe) == [2_999_999, 3_000_000]
    assert len(taken) > 2


def test_a_recorder_of_size_0_keeps_nothing() -> None:
    probe = RecorderProbe(0)
    probe.block(1, SECOND)
    probe.permit(1, SECOND)
    assert probe.read() == []
    assert probe.counts() == {"kept": 0, "overwritten": 0, "room": 0}


def test_an_engine_has_a_recorder_of_the_size_asked_for() -> None:
    engine = Engine(2)
    assert engine.recorder_counts() == {"kept": 0, "overwritten": 0, "room": 2 * (4096 + 1024), "oldest_ns": None}
    assert (engine.n_recorders, engine.recorded(0), engine.recorded(1)) == (2, [], [])
    with pytest.raises(IndexError):
        engine.recorded(2)
    assert Engine(1, recorder=0).recorder_counts()["room"] == 0
    assert Engine(1, recorder=1000).recorder_counts()["room"] == 1024 + 256
    assert Engine(1).recorded_filters() == set()
    with pytest.raises(ValueError, match="recorder"):
        Engine(1, recorder=2**20 + 1)

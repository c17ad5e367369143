"""Counters of one worker."""

from __future__ import annotations

import pytest

from wfpd.dataplane._stats import Stats, StatsProbe, bucket_bounds


def test_new_counters_are_zero_and_hold_no_empty_entries() -> None:
    counters = Stats().counters()
    assert counters["packets"] == {"permit": 0, "block": 0}
    assert counters["drops"] == {} and counters["vetoes"] == {} and counters["malformed"] == {}
    assert counters["batch"]["count"] == 0 and sum(counters["batch"]["buckets"]) == 0


def test_filter_hits_survive_room_for_more_filters() -> None:
    probe = StatsProbe()
    probe.stats.reserve(10)
    probe.hit(9)
    probe.hit(9)
    probe.stats.reserve(100_000)
    probe.hit(99_999)
    assert probe.stats.hits([9, 0, 99_999]) == [2, 0, 1]


def test_hits_of_slots_never_reserved_read_as_zero() -> None:
    assert Stats().hits([0, 5_000_000]) == [0, 0]


def test_more_filters_than_there_is_room_for_are_refused() -> None:
    with pytest.raises(MemoryError):
        Stats().reserve(4096 * 1024 + 1)


@pytest.mark.parametrize(("nanoseconds", "bucket"), [(0, 0), (256, 0), (257, 1), (512, 1), (513, 2), (2**63, 23)])
def test_a_duration_falls_into_the_bucket_whose_bound_it_does_not_exceed(nanoseconds: int, bucket: int) -> None:
    probe = StatsProbe()
    probe.batch(nanoseconds)
    batch = probe.stats.counters()["batch"]
    assert batch["buckets"].index(1) == bucket
    assert batch["count"] == 1
    assert nanoseconds / 1e9 <= bucket_bounds()[bucket]


def test_bounds_rise_and_end_in_infinity() -> None:
    bounds = bucket_bounds()
    assert bounds == sorted(bounds) and len(bounds) == 24 and bounds[-1] == float("inf")


def test_drops_are_counted_by_layer_and_reason() -> None:
    probe = StatsProbe()
    probe.drop(24, 1)
    probe.drop(64, 5)
    probe.drop(64, 5)
    assert probe.stats.counters()["drops"] == {(24, 1): 1, (64, 5): 2}

"""Leaves of every size and shape answer as the linear search does."""

from __future__ import annotations

import itertools

import pytest

from tests.builders import a_filter, a_policy, callout, equal, slot, snapshot, sublayer, when, within
from wfpd.dataplane._probe import table_stats
from wfpd.model.policy import Action, FilterFlag


def agrees(filters, ranks=(), **members):
    """Match a few packets; the leaf must be the only one."""
    taken = snapshot(a_policy(filters, ranks, **members))
    assert table_stats(taken, slot())["leaves"] <= 1
    for port, protocol in itertools.product((0, 9, 10, 15, 65535), (6, 17)):
        values = {"ip_source_port": port, "ip_protocol": protocol}
        assert taken.match(slot(), values) == taken.matches_slow(slot(), values)


@pytest.mark.parametrize("count", [1, 7, 8, 9, 15, 16, 17, 64, 65])
def test_every_lane_of_every_block_is_looked_at(count: int) -> None:
    agrees([a_filter(f"f{number}", Action.BLOCK, when("ip_source_port", within(10, 20)), flags=FilterFlag.AUDIT)
            for number in range(count)])  # fmt: skip


@pytest.mark.parametrize("count", [1, 8, 9, 40])
def test_lanes_beyond_the_last_entry_never_match(count: int) -> None:
    """The port 0 and a span of 0 are what unused lanes hold."""
    agrees([a_filter(f"f{number}", Action.BLOCK, when("ip_source_port", equal(0)), flags=FilterFlag.AUDIT)
            for number in range(count)])  # fmt: skip


@pytest.mark.parametrize("count", [3, 8, 20, 100])
def test_a_leaf_that_tests_no_dimension_matches_always(count: int) -> None:
    filters = [a_filter(f"f{number}", Action.CALLOUT_INSPECTION, callout="c") for number in range(count)]
    agrees(filters, callouts=[callout("c")])


@pytest.mark.parametrize("ranks", [1, 2, 3, 8, 20])
@pytest.mark.parametrize("count", [20, 33, 100])
def test_a_sublayer_that_ended_is_stepped_over_and_the_next_is_found(ranks: int, count: int) -> None:
    names = [sublayer(f"s{index}", 0x9000 - index) for index in range(ranks)]
    filters = [
        a_filter(f"f{number}", Action.BLOCK, when("ip_source_port", within(10, 20)), sublayer=f"s{number % ranks}",
                 weight=number)
        for number in range(count)
    ]  # fmt: skip
    taken = snapshot(a_policy(filters, names))
    found = taken.match(slot(), {"ip_source_port": 15})
    assert [taken.filter_info(index)["sublayer"] for index in found] == [f"s{index}" for index in range(ranks)]
    assert [taken.filter_name(index) for index in found] == [
        f"f{max(number for number in range(count) if number % ranks == index)}" for index in range(ranks)
    ]

"""The forest's bounds: copies, depth, leaves, and what is left out."""

from __future__ import annotations

import pytest

from bench import workloads
from tests.builders import a_filter, a_policy, equal, slot, snapshot, when
from wfpd.dataplane._classify import table_stats
from wfpd.model.policy import Action


def test_sixteen_filters_are_one_leaf():
    filters = [a_filter(f"f{port}", Action.BLOCK, when("ip_source_port", equal(port))) for port in range(16)]
    taken = table_stats(snapshot(a_policy(filters)), slot())
    assert (taken["nodes"], taken["leaves"], taken["largest_leaf"]) == (0, 1, 16)


def test_filters_behind_a_match_all_are_left_out():
    filters = [a_filter(f"f{port}", Action.BLOCK, when("ip_source_port", equal(port))) for port in range(40)]
    filters.insert(10, a_filter("all", Action.PERMIT))
    assert table_stats(snapshot(a_policy(filters)), slot())["copies"] == 11


def test_filters_that_nothing_separates_are_one_large_leaf():
    filters = [a_filter(f"f{number}", Action.BLOCK, when("ip_source_port", equal(9))) for number in range(300)]
    taken = table_stats(snapshot(a_policy(filters)), slot())
    assert taken["largest_leaf"] <= 300
    assert taken["depth"] <= 40


@pytest.mark.parametrize("sublayers", [1, 8])
@pytest.mark.parametrize("shape", workloads.SHAPES)
def test_copies_and_depth_are_bounded(shape: str, sublayers: int) -> None:
    rules = workloads.rules(shape, 3000)
    taken = table_stats(snapshot(workloads.policy(rules, sublayers=sublayers)), slot())
    assert taken["copies"] <= 2.5 * taken["boxes"]
    assert taken["depth"] <= 40

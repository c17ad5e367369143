"""Which cuts are chosen, as seen in the sizes of the tables."""

from __future__ import annotations

from tests.builders import a_filter, a_policy, equal, slot, snapshot, when, within
from wfpd.dataplane._probe import table_stats
from wfpd.model.policy import Action, FilterFlag


def sizes(*conditions):
    filters = [
        a_filter(f"f{number}", Action.BLOCK, *each, flags=FilterFlag.AUDIT) for number, each in enumerate(conditions)
    ]
    return table_stats(snapshot(a_policy(filters)), slot())


def test_single_values_side_by_side_are_cut_without_copies():
    taken = sizes(*([when("ip_source_port", equal(port))] for port in range(1000)))
    assert taken["copies"] == 1000
    assert taken["largest_leaf"] <= 8
    assert taken["forks"] == 0


def test_the_field_that_separates_is_the_one_that_is_cut():
    taken = sizes(
        *([when("ip_source_port", within(0, 60000)), when("ip_destination_port", equal(port))] for port in range(1000))
    )
    assert taken["copies"] == 1000
    assert taken["largest_leaf"] <= 8


def test_filters_wide_in_one_field_and_narrow_in_another_are_forked_apart():
    narrow = [[when("ip_source_port", equal(port))] for port in range(500)]
    other = [[when("ip_destination_port", equal(port))] for port in range(500)]
    taken = sizes(*narrow, *other)
    assert taken["forks"] >= 1
    assert taken["copies"] == 1000
    assert taken["largest_leaf"] <= 8


def test_a_cluster_far_from_the_rest_is_found():
    taken = sizes(
        *([when("ip_source_address", equal(address))] for address in range(1000)),
        [when("ip_source_address", equal(2**32 - 1))],
    )
    assert taken["largest_leaf"] <= 9
    assert taken["copies"] == 1001


def test_what_no_field_separates_is_not_cut():
    taken = sizes(*([when("ip_source_port", within(10, 20))] for _ in range(2000)))
    assert taken["largest_leaf"] == 2000
    assert taken["copies"] == 2000

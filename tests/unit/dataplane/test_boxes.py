"""Filters to boxes: how many, of how many dimensions, and that field shapes are the model's."""

from __future__ import annotations

import pytest

from tests.builders import a_filter, a_policy, equal, slot, snapshot, when, within
from wfpd.dataplane._boxes import shape_of
from wfpd.dataplane._probe import table_stats
from wfpd.model.conditions import Atom, Condition, Op
from wfpd.model.fields import FIELDS, Field
from wfpd.model.policy import Action

SHAPES = {0: 0, 8: 1, 16: 1, 32: 2, 64: 3, 128: 4}


def stats(*conditions: Condition, family: int = 4):
    at = slot(family=family)
    return table_stats(snapshot(a_policy([a_filter("a", Action.BLOCK, *conditions, at=at)])), at)


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_a_fields_shape_is_the_models(field: Field) -> None:
    for family in (4, 6):
        assert shape_of(field.id, family) == SHAPES[field.type_for(family).bits]


def test_one_range_is_one_box_of_one_dimension():
    taken = stats(when("ip_source_port", within(5, 9)))
    assert (taken["boxes"], taken["dimensions"]) == (1, 1)


def test_alternatives_that_touch_are_one_box():
    assert stats(when("ip_source_port", within(5, 9), equal(10), within(8, 12)))["boxes"] == 1


def test_a_negated_value_is_two_boxes():
    assert stats(when("ip_source_port", equal(80), negate=True))["boxes"] == 2


def test_a_filter_that_can_never_match_has_no_box():
    assert stats(Condition(9, ()))["boxes"] == 0


def test_products_of_alternatives_are_bounded():
    ports = [equal(2 * port) for port in range(10)]
    taken = stats(when("ip_source_port", *ports), when("ip_destination_port", *ports), when("ip_protocol", *ports))
    assert taken["boxes"] <= 16


def test_an_alternative_of_absence_is_a_box_of_its_own_for_narrow_fields():
    assert stats(when("ip_source_port", equal(80), Atom(Op.EMPTY)))["boxes"] == 2


def test_an_ipv6_prefix_is_one_box_of_four_dimensions():
    low = 0x20010DB8 << 96
    taken = stats(when("ip_source_address", within(low, low | ((1 << 80) - 1))), family=6)
    assert (taken["boxes"], taken["dimensions"]) == (1, 4)

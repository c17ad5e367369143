"""Weights of sublayers and filters, specificity."""

import pytest

from wfpd.config.weights import SublayerWeights, auto_weight, specificity_of_count
from wfpd.model.conditions import Condition


@pytest.mark.parametrize(
    ("n_values", "bits", "expected"),
    [
        (1, 16, 255),
        (2, 16, 239),
        (3, 16, 223),
        (101, 16, 143),
        (65536, 16, 0),
        (256, 32, 191),
        (1 << 128, 128, 0),
        (2**64, 128, 127),
    ],
)
def test_specificity_is_the_share_of_fixed_bits_of_255(n_values, bits, expected):
    assert specificity_of_count(n_values, bits) == expected


def test_fields_are_counted_up_to_15():
    conditions = [Condition(index, (), 1) for index in range(20)]
    assert auto_weight(conditions) == 15 << 56 | 20 << 40


def test_the_sum_is_capped_at_16_bits():
    assert auto_weight([Condition(0, (), 255)] * 300) == 15 << 56 | 0xFFFF << 40


def test_a_filter_without_conditions_weighs_nothing():
    assert auto_weight([]) == 0


def test_weights_go_below_first_and_then_above():
    weights = SublayerWeights([0, 5])
    assert [weights.take(5) for _ in range(6)] == [4, 3, 2, 1, 6, 7]


def test_weights_run_out():
    weights = SublayerWeights(range(65536))
    with pytest.raises(ValueError, match="no weight"):
        weights.take(9)

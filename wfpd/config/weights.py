"""Effective weights of filters, specificity of conditions, unique weights of sublayers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from wfpd.model.conditions import Condition

WEIGHT_RANGE_SHIFT = 60
"""FWPM_AUTO_WEIGHT_BITS."""
WEIGHT_RANGE_MAX = 15
_COUNT_SHIFT = 56
_SUM_SHIFT = 40
FULL = 255
"""Specificity of an exact match."""
LEAST = 1
"""Specificity of none_of, not_equal and of strings other than equal."""


def specificity(bits_fixed: int, bits: int) -> int:
    """floor(255 x bits fixed / bits of the field)."""
    return FULL * bits_fixed // bits


def specificity_of_count(n_values: int, bits: int) -> int:
    """Of a range or list that admits `n_values` numbers: width - ceil(log2(n)) bits are fixed."""
    return specificity(bits - (n_values - 1).bit_length() if n_values > 1 else bits, bits)


def auto_weight(conditions: Sequence[Condition]) -> int:
    """60 bits: 4 of the number of fields, 16 of the sum of their specificity, 40 zero."""
    total = sum(condition.specificity for condition in conditions)
    return min(len(conditions), 15) << _COUNT_SHIFT | min(total, 0xFFFF) << _SUM_SHIFT


class SublayerWeights:
    """Gives each sublayer a weight of its own: the one asked for, else the nearest free below, else above."""

    def __init__(self, taken: Iterable[int]) -> None:
        self._taken = set(taken)

    def take(self, requested: int) -> int:
        """The weight assigned; 0 is the inspection sublayer's, so a request for 0 gets 1 or above."""
        for weight in range(requested, 0, -1):
            if weight not in self._taken:
                self._taken.add(weight)
                return weight
        weight = requested + 1
        while weight in self._taken:
            weight += 1
        if weight > 0xFFFF:
            raise ValueError("no weight is free")
        self._taken.add(weight)
        return weight

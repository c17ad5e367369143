"""Sorted, disjoint, inclusive ranges of integers: merging, counting, and counting a union with sets."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from functools import cached_property
from itertools import accumulate

from wfpd.model.ranges import range_list

Range = tuple[int, int]


def merged(ranges: Iterable[Range]) -> tuple[Range, ...]:
    """The same numbers as sorted, disjoint ranges; adjacent ones are joined."""
    if isinstance(ranges, list) and len(ranges) <= 1:
        return tuple(ranges)
    result: list[Range] = []
    last_low = last_high = -2
    for low, high in sorted(ranges):
        if low <= last_high + 1 and result:
            if high > last_high:
                last_high = high
                result[-1] = (last_low, high)
        else:
            last_low, last_high = low, high
            result.append((low, high))
    return tuple(result)


def count(ranges: Iterable[Range]) -> int:
    """How many numbers the disjoint ranges hold."""
    return sum(high - low + 1 for low, high in ranges)


class Counter:
    """Counts how many numbers of a range lie in a fixed union, in logarithmic time."""

    def __init__(self, ranges: Sequence[Range]) -> None:
        """`ranges`: sorted and disjoint."""
        self.ranges = range_list(ranges)
        self.total = self.ranges.total()

    @cached_property
    def _highs(self) -> list[int]:
        return [high for _, high in self.ranges]

    @cached_property
    def _sums(self) -> list[int]:
        """Numbers of the ranges before each."""
        return [0, *accumulate(high - low + 1 for low, high in self.ranges)]

    def overlap(self, low: int, high: int) -> int:
        """Numbers of low..high inside the union."""
        return self._below(high + 1) - self._below(low)

    def _below(self, number: int) -> int:
        """Numbers of the union below `number`."""
        index = bisect_left(self._highs, number)
        total = self._sums[index]
        if index < len(self.ranges) and self.ranges[index][0] < number:
            total += number - self.ranges[index][0]
        return total

"""Range lists read like tuples and pack as the packet path wants them."""

from __future__ import annotations

import struct

import pytest

from wfpd.model.ranges import RangeList, range_list

NARROW = ((0, 0), (5, 9), (0xFFFFFFFF, 0xFFFFFFFF))
WIDE = ((0, 0), (5, 1 << 33), (1 << 64, (1 << 128) - 1))


@pytest.mark.parametrize("ranges", [(), NARROW, WIDE, ((0, (1 << 128) - 1),)])
def test_a_list_gives_back_what_was_put_in(ranges: tuple[tuple[int, int], ...]) -> None:
    found = range_list(ranges)
    assert tuple(found) == ranges and found == ranges and found == list(ranges) and found == range_list(ranges)
    assert len(found) == len(ranges) and found[:2] == ranges[:2] and hash(found) == hash(ranges)
    assert found.total() == sum(high - low + 1 for low, high in ranges)
    assert range_list(found) is found
    with pytest.raises(IndexError):
        found[len(ranges)]


def test_the_last_is_found_from_the_end() -> None:
    assert range_list(WIDE)[-1] == WIDE[-1]
    assert range_list(WIDE) != NARROW and range_list(WIDE) != 3


def test_an_equal_list_of_the_other_width_is_equal() -> None:
    assert RangeList(struct.pack("<QQQQ", 0, 1, 0, 2), True) == RangeList(struct.pack("<II", 1, 2), False)


def test_ranges_are_packed_for_a_field_of_either_width() -> None:
    assert range_list(((1, 2),)).packed(True) == struct.pack("<QQQQ", 0, 1, 0, 2)
    assert range_list(((1, 2), (7, 1 << 40), (1 << 41, 1 << 42))).packed(False) == struct.pack(
        "<IIII", 1, 2, 7, 0xFFFFFFFF
    )

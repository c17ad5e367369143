"""Many ranges in little memory: the door to `_ranges.pyx`."""

from wfpd.model._ranges import RangeList, range_list

__all__ = ["RangeList", "range_list"]

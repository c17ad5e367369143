"""Typed surface of `_set_file.pyx`."""

from wfpd.model._ranges import RangeList

def read_set_file(data: bytes, top: int, most: int) -> tuple[RangeList, RangeList] | None: ...

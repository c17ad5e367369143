"""Typed surface of `_records.pyx`."""

from collections.abc import Callable, Collection

from wfpd.model.conditions import Condition
from wfpd.model.rows import FilterRows

class Shape:
    def __init__(
        self,
        provider: int,
        sublayer: int,
        action: int,
        flags: int,
        reply: int,
        on_error: int,
        callout: int,
        context: int,
        decides: bytes,
        named: Collection[bytes],
    ) -> None: ...

class Encoded:
    def __init__(
        self, field: int, terms: list[tuple[bool, int]], atoms: bytes, decides: bytes, named: Collection[bytes]
    ) -> None: ...

class Writer:
    def __init__(
        self,
        rows: FilterRows,
        shapes: list[Shape],
        encode: Callable[[Condition, int], Encoded],
        string: Callable[[bytes], int],
    ) -> None: ...
    def run(self) -> tuple[list[tuple[int, int, int]], list[bytearray]]: ...

def ranked(rows: FilterRows, rank: dict[str, int]) -> list[int]: ...
def record_sizes() -> dict[str, int]: ...

from collections.abc import Collection, Sequence
from typing import Any, overload

from wfpd.dataplane import Snapshot

@overload
def classify_many(
    snapshot: Snapshot,
    slot: int,
    fields: Sequence[int],
    rows: Any,
    *,
    texts: Sequence[bytes] = ...,
    gone: Collection[int] = ...,
) -> list[list[int]]: ...
@overload
def classify_many(
    snapshot: Snapshot,
    slot: int,
    fields: Sequence[int],
    rows: Any,
    rounds: int,
    texts: Sequence[bytes] = ...,
    gone: Collection[int] = ...,
) -> float: ...
def set_bytes(snapshot: Snapshot) -> int: ...
def build_seconds(snapshot: Snapshot) -> float: ...
def table_stats(snapshot: Snapshot, slot: int) -> dict[str, int]: ...
def largest_leaf_filters(snapshot: Snapshot, slot: int, most: int = ...) -> list[int]: ...
def widened_filters(snapshot: Snapshot, slot: int) -> list[int]: ...
def filter_boxes(snapshot: Snapshot, index: int) -> list[list[tuple[int, int, int]]]: ...

from collections.abc import Sequence
from typing import Any, overload

from wfpd.dataplane import Snapshot

class CacheDoor:
    def __init__(self, min_filters: int = 16) -> None: ...
    @property
    def counts(self) -> dict[str, int]: ...
    @overload
    def decide_many(
        self,
        snapshot: Snapshot,
        slot: int,
        fields: Sequence[int],
        rows: Any,
        *,
        cached: bool = True,
        decided: bool = True,
    ) -> list[tuple[str, bool, int, int | None, list[int]] | None]: ...
    @overload
    def decide_many(
        self,
        snapshot: Snapshot,
        slot: int,
        fields: Sequence[int],
        rows: Any,
        rounds: int,
        cached: bool = True,
        decided: bool = True,
    ) -> float: ...

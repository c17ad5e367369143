from typing import Any

from wfpd.dataplane import Snapshot

STANDINGS: tuple[str, ...]

def shadows(
    snapshot: Snapshot, slot: int, work_each: int = ..., work: int = ..., tests: int = ..., witnesses: bool = ...
) -> dict[str, Any]: ...

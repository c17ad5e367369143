from typing import Any

from wfpd.dataplane import Snapshot

def policy_diff(
    old: Snapshot, new: Snapshot, slot: int, most: int = ..., work: int = ..., tests: int = ...
) -> dict[str, Any]: ...

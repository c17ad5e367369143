from collections.abc import Iterable
from typing import Any

from wfpd.dataplane import Snapshot
from wfpd.model.conditions import Condition

def explain_values(
    snapshot: Snapshot, slot: int, values: dict[str, Any], most: int = ..., answers: Iterable[tuple[str, bool]] = ...
) -> dict[str, Any]: ...
def filter_conditions(snapshot: Snapshot, index: int) -> tuple[Condition, ...]: ...

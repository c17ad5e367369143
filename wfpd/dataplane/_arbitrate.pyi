from collections.abc import Callable, Mapping, Sequence
from typing import Any

from wfpd.dataplane._table import Snapshot

ACTION_NAMES: tuple[str | None, ...]
REASON_NAMES: tuple[str, ...]

def arbitrate_layer(
    snapshot: Snapshot,
    matches: Sequence[int],
    answers: Callable[[int, str | None, bool], Mapping[str, Any]],
) -> dict[str, Any]: ...

"""Says once in the log when a callout is suspended because of its time budget, and once when it is back."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

logger = logging.getLogger("wfpd")


class Suspensions:
    """Compares what the engine counts with what has been told."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[int, bool]] = {}
        """By callout: suspensions so far, and whether the last line said that it is suspended."""

    def look(self, watches: Mapping[str, Mapping[str, Any]]) -> None:
        """`watches` as `Engine.callout_watches()` gives them."""
        for name, watch in watches.items():
            count, suspended = self._told.get(name, (0, False))
            if watch["suspensions"] > count:
                logger.warning("callout %s is suspended: it was over its time budget (%d slow calls so far); "
                               "on_error decides in its place", name, watch["overruns"])  # fmt: skip
                suspended = True
            if suspended and not watch["suspended"]:
                logger.warning("callout %s is back: its probe was within the time budget (%d calls were not made)",
                               name, watch["skipped"])  # fmt: skip
                suspended = False
            self._told[name] = watch["suspensions"], suspended

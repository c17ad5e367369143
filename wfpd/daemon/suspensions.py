"""Says once when a callout is suspended by its time budget, and once when it is back: in the log and by an event."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from wfpd.observe.record import EventRecord, Suspension

logger = logging.getLogger("wfpd")


class Suspensions:
    """Compares what the engine counts with what has been told."""

    def __init__(self, on_event: Callable[[EventRecord], None]) -> None:
        self._on_event = on_event
        self._told: dict[str, tuple[int, bool]] = {}
        """By callout: suspensions so far, and whether the last thing said was that it is suspended."""

    def look(self, watches: Mapping[str, Mapping[str, Any]]) -> None:
        """`watches` as `Engine.callout_watches()` gives them."""
        for name, watch in watches.items():
            count, suspended = self._told.get(name, (0, False))
            if watch["suspensions"] > count:
                logger.warning("callout %s is suspended: it was over its time budget (%d slow calls so far); "
                               "on_error decides in its place", name, watch["overruns"])  # fmt: skip
                self._tell(name, watch, True)
                suspended = True
            if suspended and not watch["suspended"]:
                logger.warning("callout %s is back: its probe was within the time budget (%d calls were not made)",
                               name, watch["skipped"])  # fmt: skip
                self._tell(name, watch, False)
                suspended = False
            self._told[name] = watch["suspensions"], suspended

    def _tell(self, name: str, watch: Mapping[str, Any], suspended: bool) -> None:
        said = Suspension(name, suspended, watch["overruns"], watch["skipped"])
        self._on_event(EventRecord(time.time_ns(), "permit", suspension=said))

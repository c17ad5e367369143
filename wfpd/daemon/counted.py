"""The control socket's `counters`: one reading for `wfpd top`, from which two make rates."""

from __future__ import annotations

import time
import uuid
from typing import Any

from wfpd.observe.counters import VERDICTS, EngineCounters

HOTTEST = 50
"""Filters of a reading: those with most hits."""
_TRIES = 3


def counters_json(now: EngineCounters, engine: Any, queues: list[dict[str, Any]], started: float) -> dict[str, Any]:
    """A reading as JSON.  Everything counts since `started` (Unix seconds) but lengths, flows and the generation."""
    return {
        "time": time.time(),
        "started": started,
        "generation": now.reload.generation,
        "enforcing": now.enforcing,
        "queues": queues,
        "packets": {verdict: sum(queue.packets[verdict] for queue in now.queues.values()) for verdict in VERDICTS},
        "bytes": {verdict: sum(queue.bytes[verdict] for queue in now.queues.values()) for verdict in VERDICTS},
        "drops": [{"layer": layer, "reason": reason, "count": count} for (layer, reason), count in now.drops.items()],
        "flows": {"count": now.flows, "max": now.flows_max},
        "filters": hottest(engine, HOTTEST),
        "uninspected": dict(now.uninspected),
        "vetoes": dict(now.vetoes),
    }


def hottest(engine: Any, n_filters: int) -> list[dict[str, Any]]:
    """The filters with most hits, the first the hottest.  None where a change of filters comes between, each time."""
    for _ in range(_TRIES):
        snapshot = engine.snapshot
        numbers = engine.hottest(n_filters)
        if snapshot is None:
            return []
        if engine.snapshot is snapshot:  # The numbers are this snapshot's.
            infos = [snapshot.filter_info(number) for number, _ in numbers]
            times = engine.last_hits(info["counter_slot"] for info in infos)
            return [_filter(info, hits, last) for info, (_, hits), last in zip(infos, numbers, times, strict=True)]
    return []


def _filter(info: dict[str, Any], hits: int, last: float) -> dict[str, Any]:
    return {
        "key": str(uuid.UUID(bytes=bytes(info["key"]))),
        "name": info["name"],
        "layer": info["layer"],
        "action": info["action"],
        "hits": hits,
        "last_hit": last or None,
    }

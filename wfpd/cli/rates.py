"""Rates from two readings of the daemon's counters, and how they went."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

VERDICTS = ("permit", "block")
LOSSES = ("dropped_full", "dropped_user", "socket_drops", "id_gaps")
"""What a queue counts as lost, as `wfpd status` has it."""
_KEPT = 240
"""Rates that are remembered of each verdict."""


@dataclass(frozen=True, slots=True)
class Rates:
    """How fast counters rose between two readings of one daemon; all per second."""

    seconds: float
    packets: dict[str, float]
    """By verdict."""
    bytes: dict[str, float]
    queues: dict[int, dict[str, float]]
    """By queue: permitted, blocked, lost."""
    filters: dict[str, float]
    """By key; only filters that were in both readings."""


def rates(old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> Rates | None:
    """None where there is nothing to compare: the first reading, another daemon, a clock that went back."""
    if old is None or old.get("started") != new.get("started"):
        return None
    seconds = float(new["time"]) - float(old["time"])
    if seconds <= 0:
        return None
    before = {queue["queue"]: _counts(queue) for queue in old["queues"]}
    hits = {item["key"]: item["hits"] for item in old["filters"]}
    return Rates(
        seconds,
        {verdict: _rate(old["packets"][verdict], new["packets"][verdict], seconds) for verdict in VERDICTS},
        {verdict: _rate(old["bytes"][verdict], new["bytes"][verdict], seconds) for verdict in VERDICTS},
        {queue["queue"]: {name: _rate(before[queue["queue"]][name], count, seconds)
                          for name, count in _counts(queue).items()}
         for queue in new["queues"] if queue["queue"] in before},
        {item["key"]: _rate(hits[item["key"]], item["hits"], seconds)
         for item in new["filters"] if item["key"] in hits},
    )  # fmt: skip


def _counts(queue: Mapping[str, Any]) -> dict[str, int]:
    return {"permitted": queue["permitted"], "blocked": queue["blocked"], "lost": sum(queue[name] for name in LOSSES)}


def _rate(old: int, new: int, seconds: float) -> float:
    """What is less than before has begun anew: all of it came since."""
    return (new - old if new >= old else new) / seconds


@dataclass(slots=True)
class View:
    """The last reading with its rates, and the rates before."""

    reading: dict[str, Any] | None = None
    rates: Rates | None = None
    history: dict[str, deque[float]] = field(
        default_factory=lambda: {verdict: deque(maxlen=_KEPT) for verdict in VERDICTS}
    )
    problem: str = ""
    """Why there is no newer reading; empty while there is one."""

    def take(self, reading: dict[str, Any]) -> None:
        """Another reading."""
        self.rates, self.problem = rates(self.reading, reading), ""
        self.reading = reading
        if self.rates is not None:
            for verdict in VERDICTS:
                self.history[verdict].append(self.rates.packets[verdict])

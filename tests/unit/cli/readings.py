"""Readings of a daemon that counts what a test says."""

from typing import Any

START = 1_700_000_000.0
"""Unix seconds."""


def queue(number: int, **counts: int) -> dict[str, Any]:
    """One queue of a reading."""
    empty = dict.fromkeys(
        ("length", "permitted", "blocked", "dropped_full", "dropped_user", "socket_drops", "id_gaps"), 0
    )
    return {"queue": number, "bound": True, "truncated": 0} | empty | counts


def hot(name: str, hits: int, last_hit: float | None = None, **more: Any) -> dict[str, Any]:
    """One filter of a reading."""
    return {"key": f"key of {name}", "name": name, "layer": "ale_auth_recv_accept_v4", "action": "block", "hits": hits,
            "last_hit": last_hit} | more  # fmt: skip


def reading(seconds: float, permit: int = 0, block: int = 0, **more: Any) -> dict[str, Any]:
    """A reading so many seconds after the daemon's start."""
    return {
        "time": START + seconds, "started": START, "generation": 12, "enforcing": True,
        "queues": [queue(0, permitted=permit, blocked=block)], "packets": {"permit": permit, "block": block},
        "bytes": {"permit": permit * 100, "block": block * 100}, "drops": [], "flows": {"count": 0, "max": 262144},
        "filters": [], "uninspected": {}, "vetoes": {},
    } | more  # fmt: skip

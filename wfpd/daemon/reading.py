"""One reading of everything that is counted: the engine, the kernel's queues, our rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wfpd.dataplane import PARSE_STATUS_NAMES, REASON_NAMES, Engine, Snapshot
from wfpd.model.layers import BY_SLOT, slot_name
from wfpd.model.policy import FilterFlag
from wfpd.netfilter import proc
from wfpd.observe.counters import NO_LAYER, EngineCounters, Histogram, QueueCounters
from wfpd.observe.table_sizes import layer_tables

_BUCKETS = 24
BOUNDS = tuple(2.0 ** (exponent + 8) / 1e9 for exponent in range(_BUCKETS - 1))
"""Seconds: the packet path counts durations by powers of two nanoseconds."""


def histogram(raw: Mapping[str, Any] | None) -> Histogram:
    """A packet-path histogram in the exporter's form."""
    if raw is None:
        return Histogram([0] * _BUCKETS, 0.0, BOUNDS)
    return Histogram(list(raw["buckets"]), raw["sum"], BOUNDS)


def _layer_of(slot: int) -> str:
    return slot_name(slot) if slot in BY_SLOT else NO_LAYER


def read_queues(raw: Mapping[int, Mapping[str, Any]], dead: frozenset[int]) -> dict[int, QueueCounters]:
    """Every queue: our counts beside the kernel's."""
    kernel, drops = proc.queues(), proc.netlink_drops()
    queues = {}
    for number, ours in raw.items():
        status = kernel.get(number)
        queues[number] = QueueCounters(
            packets=dict(ours["packets"]),
            bytes=dict(ours["bytes"]),
            batch_duration=histogram(ours["batch"]),
            id_gaps=ours["id_gaps"],
            receive_truncated=ours["receive_truncated"],
            modified=ours["modified"],
            bound=status is not None and ours["worker"] not in dead,
        )
        if status is not None:
            queues[number].queue_length = status.waiting
            queues[number].dropped_full = status.queue_dropped
            queues[number].dropped_user = status.user_dropped
            queues[number].socket_drops = drops.get(status.portid, 0)
    return queues


def accounted(hook_queues: Mapping[str, tuple[int, ...]], raw: Mapping[int, Mapping[str, Any]]) -> dict[str, int]:
    """Packets that the queues of each hook account for: given to us, or counted as lost by the kernel."""
    kernel = proc.queues()
    found = {}
    for hook, numbers in hook_queues.items():
        statuses = [(number, kernel[number]) for number in numbers if number in kernel]
        found[hook] = sum(
            status.sequence - max(0, raw[number]["id_gaps"]) + status.queue_dropped + status.user_dropped
            for number, status in statuses
        )
    return found


def uninspected(rule_counters: Mapping[str, int], accounts: Mapping[str, int]) -> dict[str, int]:
    """Packets that met our rules and never reached us, by hook: what fail-open and bypass let through.

    = rule counter - (ids given - id gaps) - queue_dropped - user_dropped; exact at rest.
    """
    return {hook: max(0, rule_counters.get(hook, 0) - count) for hook, count in accounts.items()}


def read_hits(engine: Engine, snapshot: Snapshot) -> tuple[dict[tuple[str, str, str], int], tuple[str, ...]]:
    """Hits of filters with `metrics: true`, and their names in reading order."""
    wanted: list[tuple[str, str, str]] = []
    slots = []
    for index, slot in snapshot.filters_with(int(FilterFlag.METRICS)):
        info = snapshot.filter_info(index)
        audit = FilterFlag(info["flags"]) & FilterFlag.AUDIT
        wanted.append((info["name"], info["layer"], "audit" if audit else info["action"]))
        slots.append(slot)
    counts = engine.filter_hits(slots) if slots else []
    hits: dict[tuple[str, str, str], int] = {}
    for key, count in zip(wanted, counts, strict=True):
        hits[key] = hits.get(key, 0) + count
    return hits, tuple(dict.fromkeys(key[0] for key in wanted))


def read(engine: Engine, dead: frozenset[int] = frozenset()) -> EngineCounters:
    """A reading without what only the daemon knows (reloads, rules, sinks)."""
    raw = engine.counters()
    snapshot = engine.snapshot
    found = EngineCounters(queues=read_queues(raw["queues"], dead))
    for (slot, reason), count in raw["drops"].items():
        key = (_layer_of(slot), REASON_NAMES[reason])
        found.drops[key] = found.drops.get(key, 0) + count
    found.malformed = {name: 0 for name in PARSE_STATUS_NAMES[2:] if not name.startswith("n_")}
    for status, count in raw["malformed"].items():
        found.malformed[PARSE_STATUS_NAMES[status]] = count
    found.callout_errors = dict(raw["callout_errors"])
    found.callout_duration = {name: histogram(entry) for name, entry in raw["callout_durations"].items()}
    for name, watch in raw["callout_watches"].items():
        if watch["budget"]:
            found.callout_suspended[name] = watch["suspended"]
            found.callout_suspensions[name], found.callout_skipped[name] = watch["suspensions"], watch["skipped"]
    found.vetoes = {slot_name(slot): count for slot, count in raw["vetoes"].items()}
    for slot, count in raw["would_block"].items():
        found.would_block[_layer_of(slot)] = found.would_block.get(_layer_of(slot), 0) + count
    found.classify_duration = {slot_name(slot): histogram(entry) for slot, entry in raw["classify"].items()}
    found.flows, found.flows_max = raw["flows"]["used"], raw["flows"]["capacity"]
    found.flow_evictions = raw["flows"]["evictions"]
    found.flow_contexts, found.flow_contexts_refused = raw["flow_contexts"]["used"], raw["flow_contexts"]["refused"]
    found.streams = engine.flows.streams.counters()
    found.parking = dict(raw["parking"])
    found.events_dropped = {"ring": raw["events_lost"] + engine.flows.ended_lost}
    if snapshot is not None:
        found.layers = tuple(slot_name(slot) for slot in BY_SLOT if snapshot.layer_count(slot))
        found.tables = layer_tables(snapshot)
        for name in found.layers:
            found.vetoes.setdefault(name, 0)
            found.classify_duration.setdefault(name, histogram(None))
        for index in range(snapshot.n_callouts):
            found.callout_errors.setdefault(snapshot.callout_name(index), 0)
            found.callout_duration.setdefault(snapshot.callout_name(index), histogram(None))
        found.filter_hits, found.metric_filters = read_hits(engine, snapshot)
    return found

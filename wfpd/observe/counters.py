"""What the parts count, as plain values that one scrape reads at once.

Everything is cumulative since the process started, unless it says otherwise, and keeps growing
over reloads: the exporter never has to know that a snapshot was replaced.  Series that can be
known at start are present with 0 (docs/metrics.md).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from wfpd.observe.table_sizes import LayerTable

VERDICTS = ("permit", "block")

DROP_REASONS = ("filter", "callout", "veto", "missing_callout", "malformed", "flow", "limit", "late", "error")
"""Reasons a block can have; the order is Reason's in `_types.pxd`."""

NO_LAYER = "none"
"""The layer label of a drop that no layer decided (malformed, limit, error)."""

DURATION_BOUNDS = (1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 1e-1, 1.0)
"""Upper bounds in seconds of every duration histogram; a last bucket (+Inf) follows."""


@dataclass(slots=True)
class Histogram:
    """Counts by duration: `counts[i]` (not cumulative) belongs to `bounds[i]`, the last to +Inf."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(DURATION_BOUNDS) + 1))
    sum: float = 0.0
    """Seconds."""
    bounds: tuple[float, ...] = DURATION_BOUNDS
    """Upper bounds in seconds, rising; one fewer than `counts`."""

    def observe(self, seconds: float) -> None:
        """Count one duration.  For Python-side histograms; the packet path counts in C."""
        for index, bound in enumerate(self.bounds):
            if seconds <= bound:
                self.counts[index] += 1
                break
        else:
            self.counts[-1] += 1
        self.sum += seconds


@dataclass(slots=True)
class QueueCounters:
    """One NFQUEUE queue.  Keys of the dictionaries: "permit", "block"."""

    packets: dict[str, int] = field(default_factory=lambda: dict.fromkeys(VERDICTS, 0))
    bytes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(VERDICTS, 0))
    """IP bytes as delivered; a GSO packet counts its whole length."""
    batch_duration: Histogram = field(default_factory=Histogram)
    """Receive to verdicts, every batch."""
    queue_length: int = 0
    """Packets waiting now."""
    dropped_full: int = 0
    """`queue_dropped` of /proc/net/netfilter/nfnetlink_queue."""
    dropped_user: int = 0
    """`user_dropped` of the same file."""
    socket_drops: int = 0
    id_gaps: int = 0
    receive_truncated: int = 0
    modified: int = 0
    """Packets written back with what callouts made of them."""
    bound: bool = True
    """The socket holds the queue and its worker lives."""


@dataclass(slots=True)
class ReloadCounters:
    """What the reload manager counts."""

    requests: int = 0
    last_successful: bool = True
    last_success_timestamp: float = 0.0
    """Unix seconds; 0 = never."""
    last_duration: float = 0.0
    """Seconds of the last reload, request to published or refused."""
    last_error: str = ""
    """First line of the last refusal; empty while the last reload succeeded."""
    hash: str = ""
    """SHA-256 of the running policy's files, hexadecimal."""
    generation: int = 0


@dataclass(slots=True)
class EngineCounters:
    """One reading of everything that is exported."""

    queues: dict[int, QueueCounters] = field(default_factory=dict)
    drops: dict[tuple[str, str], int] = field(default_factory=dict)
    """{(layer's full name or NO_LAYER, reason): packets}; our blocks only."""
    layers: tuple[str, ...] = ()
    """Full names of the layers with filters in the running policy: their series begin at 0."""
    tables: list[LayerTable] = field(default_factory=list)
    """The search tables of these layers."""
    filter_hits: dict[tuple[str, str, str], int] = field(default_factory=dict)
    """{(filter, layer's full name, action): hits} of filters with `metrics: true`; never falls."""
    metric_filters: tuple[str, ...] = ()
    """Names of the running policy's filters with `metrics: true`, in reading order."""
    vetoes: dict[str, int] = field(default_factory=dict)
    """{layer's full name: vetoes}."""
    would_block: dict[str, int] = field(default_factory=dict)
    """{layer's full name or NO_LAYER: blocks that the daemon's audit mode let pass}."""
    malformed: dict[str, int] = field(default_factory=dict)
    """{stable name of the fault: packets}; every name the parser knows, with 0."""
    classify_duration: dict[str, Histogram] = field(default_factory=dict)
    """{layer's full name: sampled 1 in 1,024}."""
    callout_duration: dict[str, Histogram] = field(default_factory=dict)
    """{callout: sampled 1 in 1,024; Python callouts: all}."""
    callout_errors: dict[str, int] = field(default_factory=dict)
    callout_suspended: dict[str, bool] = field(default_factory=dict)
    """{callout with a time budget: whether it is suspended now}; the next two are of the same ones."""
    callout_suspensions: dict[str, int] = field(default_factory=dict)
    callout_skipped: dict[str, int] = field(default_factory=dict)
    """Calls that were not made because of a suspension."""
    uninspected: dict[str, int] = field(default_factory=dict)
    """{hook: packets that our rules passed on and that we never got}."""
    flows: int = 0
    flows_max: int = 0
    flow_evictions: dict[str, int] = field(default_factory=dict)
    flow_contexts: int = 0
    flow_contexts_refused: int = 0
    """{reason: flows}."""
    injected: dict[str, int] = field(default_factory=dict)
    """{what became of it: packets that callouts injected}."""
    injection_helper_deaths: int = 0
    streams: dict[str, int] = field(default_factory=dict)
    """As `Streams.counters()` names them."""
    parking: dict[str, int] = field(default_factory=dict)
    """As `Parking.counters()` names them; empty without a parking queue."""
    events_dropped: dict[str, int] = field(default_factory=dict)
    """{sink: events}."""
    reload: ReloadCounters = field(default_factory=ReloadCounters)
    enforcing: bool = False


class CounterSource(Protocol):
    """Whoever can read all counters; called from the exporter's threads, never from a packet thread."""

    def counters(self) -> EngineCounters:
        """A fresh reading."""
        ...

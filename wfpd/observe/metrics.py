"""The exported metrics: one collector over one reading of the counters (docs/metrics.md)."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector as _Collector

import wfpd
from wfpd.observe.counters import DROP_REASONS, NO_LAYER, VERDICTS, CounterSource, EngineCounters, Histogram
from wfpd.observe.hits import HitLedger

_SAMPLED = "sampled 1 in 1,024"


def _counter(name: str, text: str, labels: tuple[str, ...], rows: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for values, count in rows:
        family.add_metric(values, count)
    return family


def _gauge(name: str, text: str, labels: tuple[str, ...], rows: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, value in rows:
        family.add_metric(values, value)
    return family


def _plain(name: str, text: str, value: float) -> Metric:
    return _gauge(name, text, (), [((), value)])


def _histogram(name: str, text: str, label: str, rows: Iterable[tuple[str, Histogram]]) -> Metric:
    family = HistogramMetricFamily(name, text, labels=(label,))
    for value, histogram in rows:
        family.add_metric((value,), list(_cumulative(histogram)), histogram.sum)
    return family


def _cumulative(histogram: Histogram) -> Iterator[tuple[str, float]]:
    total = 0
    for bound, count in zip((*histogram.bounds, None), histogram.counts, strict=True):
        total += count
        yield ("+Inf" if bound is None else repr(bound)), total


def _singles(rows: Iterable[tuple[str, float]]) -> Iterator[tuple[tuple[str, ...], float]]:
    return (((label,), value) for label, value in rows)


def _traffic(now: EngineCounters) -> Iterator[Metric]:
    queues = sorted(now.queues.items())
    yield _counter(
        "wfpd_packets", "Packets the queue delivered, by verdict; one a visit, a GSO packet is one.",
        ("queue", "verdict"),
        (((str(n), verdict), queue.packets.get(verdict, 0)) for n, queue in queues for verdict in VERDICTS),
    )  # fmt: skip
    yield _counter(
        "wfpd_bytes", "IP bytes the queue delivered, by verdict.", ("queue", "verdict"),
        (((str(n), verdict), queue.bytes.get(verdict, 0)) for n, queue in queues for verdict in VERDICTS),
    )  # fmt: skip
    drops = {(layer, reason): 0 for layer in (*now.layers, NO_LAYER) for reason in DROP_REASONS} | now.drops
    yield _counter("wfpd_drops", "Packets that wfpd blocked, by deciding layer and reason.",
                   ("layer", "reason"), sorted(drops.items()))  # fmt: skip
    vetoes = dict.fromkeys(now.layers, 0) | now.vetoes
    yield _counter("wfpd_vetoes", "Blocks by a veto: the action right was already clear.",
                   ("layer",), _singles(sorted(vetoes.items())))  # fmt: skip
    would = dict.fromkeys((*now.layers, NO_LAYER), 0) | now.would_block
    yield _counter("wfpd_would_block", "Packets that audit mode (run --audit) let pass, by the layer that blocked.",
                   ("layer",), _singles(sorted(would.items())))  # fmt: skip
    yield _counter("wfpd_malformed", "Malformed packets, by fault.", ("reason",),
                   _singles(sorted(now.malformed.items())))  # fmt: skip


def _durations(now: EngineCounters) -> Iterator[Metric]:
    yield _histogram(
        "wfpd_batch_duration_seconds",
        "Time from receiving a batch to sending its verdicts; every batch.",
        "queue",
        ((str(n), queue.batch_duration) for n, queue in sorted(now.queues.items())),
    )
    yield _histogram("wfpd_classify_duration_seconds", f"Time to classify one packet at a layer; {_SAMPLED}.",
                     "layer", sorted(now.classify_duration.items()))  # fmt: skip
    yield _histogram("wfpd_callout_duration_seconds", f"Time of one callout call; {_SAMPLED}, Python callouts all.",
                     "callout", sorted(now.callout_duration.items()))  # fmt: skip
    yield _counter("wfpd_callout_errors", "Calls of a callout that raised or answered wrongly.",
                   ("callout",), _singles(sorted(now.callout_errors.items())))  # fmt: skip
    yield _gauge("wfpd_callout_suspended", "1: the callout is suspended, as it was over its time budget.",
                 ("callout",), _singles(sorted(now.callout_suspended.items())))  # fmt: skip
    yield _counter("wfpd_callout_suspensions", "Times that a callout was suspended.",
                   ("callout",), _singles(sorted(now.callout_suspensions.items())))  # fmt: skip
    yield _counter("wfpd_callout_calls_skipped", "Calls that were not made, as the callout was suspended.",
                   ("callout",), _singles(sorted(now.callout_skipped.items())))  # fmt: skip


def _kernel(now: EngineCounters) -> Iterator[Metric]:
    queues = sorted(now.queues.items())
    yield _gauge(
        "wfpd_nfqueue_queue_length",
        "Packets waiting in the kernel's queue.",
        ("queue",),
        (((str(n),), queue.queue_length) for n, queue in queues),
    )
    drops = [row for n, queue in queues for row in (
        ((str(n), "queue_full"), queue.dropped_full), ((str(n), "user"), queue.dropped_user))]  # fmt: skip
    yield _counter("wfpd_nfqueue_packets_dropped", "Packets the kernel dropped: queue full, or not deliverable.",
                   ("queue", "reason"), drops)  # fmt: skip
    for name, text, member in (
        ("wfpd_nfqueue_socket_drops", "Messages lost at the netlink socket.", "socket_drops"),
        ("wfpd_nfqueue_id_gaps", "Packet ids the kernel gave out that never arrived.", "id_gaps"),
        ("wfpd_nfqueue_receive_truncated", "Messages longer than the receive buffer.", "receive_truncated"),
    ):
        yield _counter(name, text, ("queue",), (((str(n),), getattr(queue, member)) for n, queue in queues))
    yield _counter("wfpd_modified_packets", "Packets written back with what callouts made of them.",
                   ("queue",), (((str(n),), queue.modified) for n, queue in queues))  # fmt: skip
    yield _counter("wfpd_uninspected_packets", "Packets that passed wfpd's rules and that wfpd never saw.",
                   ("hook",), _singles(sorted(now.uninspected.items())))  # fmt: skip


def _tables(now: EngineCounters) -> Iterator[Metric]:
    for name, text, member in (
        ("wfpd_table_bytes", "Memory of the layer's search table.", "bytes"),
        ("wfpd_table_copies", "Boxes in the leaves of the layer's search table.", "copies"),
        ("wfpd_table_depth", "Levels of the layer's search table.", "depth"),
        ("wfpd_table_largest_leaf", "Boxes that one packet may be compared with at once.", "largest_leaf"),
    ):
        yield _gauge(name, text, ("layer",), (((item.layer,), getattr(item, member)) for item in now.tables))


def _state(now: EngineCounters) -> Iterator[Metric]:
    yield _plain("wfpd_flows", "Flows in the flow table.", now.flows)
    yield _plain("wfpd_flow_table_used_ratio", "Flows over the table's capacity.",
                 now.flows / now.flows_max if now.flows_max else 0.0)  # fmt: skip
    yield _counter("wfpd_flow_evictions", "Flows removed before their end, by reason.", ("reason",),
                   _singles(sorted(now.flow_evictions.items())))  # fmt: skip
    yield _plain("wfpd_flow_contexts", "Values that callouts keep with flows.", now.flow_contexts)
    yield _counter("wfpd_flow_contexts_refused", "Values of callouts for which there was no room.", (),
                   [((), now.flow_contexts_refused)])  # fmt: skip
    yield _counter("wfpd_injected_packets", "Packets that callouts injected, by what became of them.", ("result",),
                   _singles(sorted(now.injected.items())))  # fmt: skip
    yield _counter("wfpd_injection_helper_deaths", "Helpers that ended though a callout injects.", (),
                   [((), now.injection_helper_deaths)])  # fmt: skip
    streams = dict(now.streams)
    yield _counter("wfpd_stream_bytes", "Bytes that reassembly has put in order.", (), [((), streams.pop("bytes", 0))])
    yield _plain("wfpd_stream_memory_bytes", "Memory that holds bytes of streams.", streams.pop("memory", 0))
    yield _counter("wfpd_stream_events", "What befell streams, by kind.", ("event",), _singles(sorted(streams.items())))
    yield _plain(
        "wfpd_pended_packets", "Packets that callouts have pended and that wait.", now.parking.get("waiting", 0)
    )
    yield _plain("wfpd_pended_bytes", "Bytes of their copies.", now.parking.get("bytes", 0))
    events = ("parked", "again", "completed", "late", "lost", "refused")
    yield _counter("wfpd_pended_events", "What became of pended packets.", ("event",),
                   [((event,), now.parking.get(event, 0)) for event in events])  # fmt: skip
    reload = now.reload
    yield _counter("wfpd_config_reload_requests", "Reloads asked for.", (), [((), reload.requests)])
    yield _plain("wfpd_config_last_reload_successful", "1 if the last one was accepted.", int(reload.last_successful))
    yield _plain("wfpd_config_last_reload_success_timestamp_seconds", "When a policy was last accepted.",
                 reload.last_success_timestamp)  # fmt: skip
    yield _plain("wfpd_config_reload_duration_seconds", "How long the last reload took.", reload.last_duration)
    yield _gauge("wfpd_config_hash_info", "SHA-256 of the running policy's files; always 1.", ("hash",),
                 [((reload.hash,), 1)] if reload.hash else [])  # fmt: skip
    yield _plain("wfpd_policy_generation", "Number of the running policy, from 1.", reload.generation)
    yield _counter("wfpd_events_dropped", "Events a sink could not take in time.", ("sink",),
                   _singles(sorted(now.events_dropped.items())))  # fmt: skip
    yield _plain("wfpd_enforcing", "1 while a policy is loaded, every queue is bound, wfpd's rules are in place "
                 "and nothing passes uninspected.", int(now.enforcing))  # fmt: skip
    yield _gauge("wfpd_build_info", "The running version; always 1.", ("version",), [((wfpd.__version__,), 1)])


class Collector(_Collector):
    """Reads the source once a scrape and yields every series of docs/metrics.md."""

    def __init__(self, source: CounterSource, metrics_filters: int = 100) -> None:
        """`metrics_filters`: at most so many filters have a series of their own."""
        self._source = source
        self._ledger = HitLedger(metrics_filters)
        self._lock = threading.Lock()

    def describe(self) -> list[Metric]:
        """Nothing: registering must not read the source."""
        return []

    def collect(self) -> Iterator[Metric]:
        """One reading, as metric families."""
        with self._lock:
            now = self._source.counters()
            hits = self._ledger.update(now.reload.generation, now.metric_filters, now.filter_hits)
        yield from _traffic(now)
        yield _counter("wfpd_filter_hits", "Results that ended their sublayer, or calls of the filter's callout; "
                       'filters without a series of their own are in filter="other".',
                       ("filter", "layer", "action"), sorted(hits.items()))  # fmt: skip
        yield from _durations(now)
        yield from _kernel(now)
        yield from _tables(now)
        yield from _state(now)


def registry_of(source: CounterSource, metrics_filters: int = 100) -> CollectorRegistry:
    """A registry of its own with wfpd's collector and nothing else."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Collector(source, metrics_filters))
    return registry


def exposition(registry: CollectorRegistry) -> bytes:
    """The text exposition of everything in `registry`."""
    return generate_latest(registry)

import shutil
import subprocess

from prometheus_client.parser import text_string_to_metric_families

from tests.proven import skip
from wfpd.observe.counters import EngineCounters, Histogram, QueueCounters, ReloadCounters
from wfpd.observe.metrics import exposition, registry_of
from wfpd.observe.table_sizes import LayerTable

CONTRACT = {
    "wfpd_packets_total": {"queue", "verdict"},
    "wfpd_bytes_total": {"queue", "verdict"},
    "wfpd_drops_total": {"layer", "reason"},
    "wfpd_filter_hits_total": {"filter", "layer", "action"},
    "wfpd_vetoes_total": {"layer"},
    "wfpd_malformed_total": {"reason"},
    "wfpd_batch_duration_seconds_count": {"queue"},
    "wfpd_classify_duration_seconds_count": {"layer"},
    "wfpd_callout_duration_seconds_count": {"callout"},
    "wfpd_callout_errors_total": {"callout"},
    "wfpd_callout_suspended": {"callout"},
    "wfpd_callout_suspensions_total": {"callout"},
    "wfpd_callout_calls_skipped_total": {"callout"},
    "wfpd_nfqueue_queue_length": {"queue"},
    "wfpd_nfqueue_packets_dropped_total": {"queue", "reason"},
    "wfpd_nfqueue_socket_drops_total": {"queue"},
    "wfpd_nfqueue_id_gaps_total": {"queue"},
    "wfpd_nfqueue_receive_truncated_total": {"queue"},
    "wfpd_modified_packets_total": {"queue"},
    "wfpd_uninspected_packets_total": {"hook"},
    "wfpd_table_bytes": {"layer"},
    "wfpd_table_copies": {"layer"},
    "wfpd_table_depth": {"layer"},
    "wfpd_table_largest_leaf": {"layer"},
    "wfpd_flows": set(),
    "wfpd_flow_table_used_ratio": set(),
    "wfpd_flow_evictions_total": {"reason"},
    "wfpd_flow_contexts": set(),
    "wfpd_flow_contexts_refused_total": set(),
    "wfpd_injected_packets_total": {"result"},
    "wfpd_injection_helper_deaths_total": set(),
    "wfpd_stream_bytes_total": set(),
    "wfpd_stream_memory_bytes": set(),
    "wfpd_stream_events_total": {"event"},
    "wfpd_pended_packets": set(),
    "wfpd_pended_bytes": set(),
    "wfpd_pended_events_total": {"event"},
    "wfpd_config_reload_requests_total": set(),
    "wfpd_config_last_reload_successful": set(),
    "wfpd_config_last_reload_success_timestamp_seconds": set(),
    "wfpd_config_reload_duration_seconds": set(),
    "wfpd_config_hash_info": {"hash"},
    "wfpd_policy_generation": set(),
    "wfpd_events_dropped_total": {"sink"},
    "wfpd_enforcing": set(),
    "wfpd_build_info": {"version"},
}


class Source:
    def __init__(self, now: EngineCounters) -> None:
        self.now = now

    def counters(self) -> EngineCounters:
        return self.now


def full() -> EngineCounters:
    batch = Histogram()
    batch.observe(3e-6)
    batch.observe(0.3)
    return EngineCounters(
        queues={0: QueueCounters(batch_duration=batch), 1: QueueCounters()},
        layers=("ipforward_v4",),
        tables=[LayerTable("ipforward_v4", 3, 4, 5, 2, 1, 0, 2, 900)],
        filter_hits={("telnet", "ipforward_v4", "block"): 2},
        metric_filters=("telnet",),
        malformed={"ip_version": 0},
        classify_duration={"ipforward_v4": Histogram()},
        callout_duration={"watch": Histogram()},
        callout_errors={"watch": 0},
        callout_suspended={"watch": True},
        callout_suspensions={"watch": 2},
        callout_skipped={"watch": 9},
        uninspected={"forward": 0},
        flows=10,
        flows_max=40,
        flow_evictions={"full": 0},
        injected={"sent": 3},
        streams={"bytes": 7, "memory": 4096, "inconsistent": 0},
        parking={"waiting": 3, "bytes": 276, "late": 2},
        events_dropped={"file": 0},
        reload=ReloadCounters(requests=1, hash="ab" * 32, generation=1),
        enforcing=True,
    )


def samples(text: bytes) -> dict[str, list]:
    found: dict[str, list] = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample)
    return found


def test_every_series_of_the_contract_is_there_with_exactly_its_labels() -> None:
    found = samples(exposition(registry_of(Source(full()))))
    for name, labels in CONTRACT.items():
        assert found[name], name
        assert {frozenset(sample.labels) for sample in found[name]} == {frozenset(labels)}, name
    assert not [name for name in found if name.endswith("_created")]


def test_drops_begin_at_zero_for_every_reason_of_a_layer_with_filters() -> None:
    found = samples(exposition(registry_of(Source(full()))))
    rows = {(s.labels["layer"], s.labels["reason"]): s.value for s in found["wfpd_drops_total"]}
    assert rows[("ipforward_v4", "veto")] == 0
    assert rows[("none", "malformed")] == 0


def test_histogram_buckets_are_cumulative_and_end_at_infinity() -> None:
    found = samples(exposition(registry_of(Source(full()))))
    buckets = [s for s in found["wfpd_batch_duration_seconds_bucket"] if s.labels["queue"] == "0"]
    assert [s.value for s in buckets][-1] == 2
    assert buckets[-1].labels["le"] == "+Inf"
    assert sorted(s.value for s in buckets) == [s.value for s in buckets]


def test_an_empty_engine_is_exported_without_an_error() -> None:
    found = samples(exposition(registry_of(Source(EngineCounters()))))
    assert found["wfpd_enforcing"][0].value == 0
    assert found["wfpd_flow_table_used_ratio"][0].value == 0


def test_promtool_finds_nothing_to_complain_about() -> None:
    if not shutil.which("promtool"):
        skip("promtool is not installed; .ci/packages test installs it")
    text = exposition(registry_of(Source(full())))
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")

"""Every exported series beside traffic that the test has counted itself."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import wfpd as package
from tests.integration.netns import ROUTER_CLIENT4, SERVER4, Network, wait_until
from tests.integration.running import QUEUE_SOCKETS, Wfpd

PERMIT = "  - {name: all, layer: ipforward, action: permit}"

SHRINK = f"""{QUEUE_SOCKETS}
class Shrink:
    def classify(self, c):
        for _, sock in queue_sockets():
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
"""
"""A callout that takes away the room of the queues' sockets: what a queue longer than its socket would do."""


def become(wfpd: Wfpd, name: str, value: float, **labels: str) -> None:
    """Wait for a metric; says what it is if it never comes."""
    assert wait_until(lambda: wfpd.metric(name, **labels) == value, 20.0, 0.05), (
        f"{name}{labels} is {wfpd.metric(name, **labels)}, not {value}"
    )


def one_by_one(wfpd: Wfpd, net: Network, n: int, port: int = 5000) -> None:
    """Send datagrams so that each is a batch of its own."""
    for _ in range(n):
        before = wfpd.metric("wfpd_packets_total")
        net.send_udp(net.client, 1, 64, port)
        become(wfpd, "wfpd_packets_total", before + 1)


def test_packets_bytes_and_batches_of_every_queue(wfpd: Wfpd, net: Network) -> None:
    filters = "  - {name: no, layer: ipforward, action: block, when: {ip_protocol: udp, ip_destination_port: 23}}"
    wfpd.write(filters)
    wfpd.start()
    with net.udp_receiver(net.server, 5000):
        one_by_one(wfpd, net, 6)
        one_by_one(wfpd, net, 4, port=23)
    for verdict, n in (("permit", 6), ("block", 4)):
        assert wfpd.metric("wfpd_packets_total", queue="0", verdict=verdict) == n
        assert wfpd.metric("wfpd_bytes_total", queue="0", verdict=verdict) == n * (64 + 28)
    assert wfpd.metric("wfpd_batch_duration_seconds_count", queue="0") == 10
    assert 0 < wfpd.metric("wfpd_batch_duration_seconds_sum", queue="0") < 10
    assert wfpd.metric("wfpd_batch_duration_seconds_bucket", queue="0", le="+Inf") == 10
    assert (
        wfpd.metric("wfpd_drops_total") == wfpd.metric("wfpd_drops_total", layer="ipforward_v4", reason="filter") == 4
    )
    assert wfpd.metric("wfpd_build_info", version=package.__version__) == 1
    assert wfpd.metric("wfpd_enforcing") == 1


def test_hits_and_vetoes(wfpd: Wfpd, net: Network) -> None:
    head = """sublayers: [{name: top, weight: 0x9000}, {name: below, weight: 0x8f00}]
callouts: [{name: veto, use: "wfpd.callouts.fixed:Fixed", options: {answer: block, clear_right: true}}]"""
    filters = """\
  - {name: hard, layer: ipforward, sublayer: top, action: permit, flags: [clear_action_right], metrics: true}
  - {name: vetoing, layer: ipforward, sublayer: below, action: {callout: veto}, metrics: true,
     when: {ip_destination_port: 23}}
  - {name: silent, layer: ipforward, sublayer: below, action: permit, when: {ip_destination_port: 5000}}"""
    wfpd.write(filters, head=head)
    wfpd.start()
    with net.udp_receiver(net.server, 5000) as good:
        net.send_udp(net.client, 12, 64, 5000)
        net.send_udp(net.client, 7, 64, 23)
        become(wfpd, "wfpd_packets_total", 19)
        assert good.count == 12
    assert wfpd.metric("wfpd_filter_hits_total", filter="hard", layer="ipforward_v4", action="permit") == 19
    assert wfpd.metric("wfpd_filter_hits_total", filter="vetoing", layer="ipforward_v4") == 7
    assert wfpd.metric("wfpd_filter_hits_total", filter="silent") == 0
    assert wfpd.metric("wfpd_vetoes_total", layer="ipforward_v4") == wfpd.metric("wfpd_vetoes_total") == 7
    assert wfpd.metric("wfpd_drops_total", layer="ipforward_v4", reason="veto") == 7
    found = wfpd.call("counters")
    assert (found["packets"], found["bytes"]["block"]) == ({"permit": 12, "block": 7}, 7 * 92)
    assert found["drops"] == [{"layer": "ipforward_v4", "reason": "veto", "count": 7}]
    assert (found["vetoes"]["ipforward_v4"], found["uninspected"], found["enforcing"]) == (7, {"forward": 0}, True)
    assert found["queues"] == wfpd.status()["queues"]
    command = [sys.executable, "-m", "wfpd", "top", "--count", "2", "--interval", "100ms", "--socket", str(wfpd.socket)]
    pages = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert [line.split()[-1] for line in pages.splitlines() if line.startswith("permit")] == ["12", "12"]


def test_durations_of_callouts_are_all_there_and_those_of_layers_one_in_1024(wfpd: Wfpd, net: Network) -> None:
    head = """callouts:
  - {name: slow, use: "wfpd.callouts.fixed:Fixed", options: {answer: sleep, seconds: 0.05}}
  - {name: bad, use: "wfpd.callouts.fixed:Fixed", options: {answer: raise}}"""
    filters = """\
  - {name: slow, layer: ipforward, action: {callout: slow}, when: {ip_destination_port: 5001}}
  - {name: bad, layer: ipforward, action: {callout: bad}, when: {ip_destination_port: 5002}}"""
    wfpd.write(filters, head=head, faults="late_after: 30s")
    wfpd.start()
    with net.udp_receiver(net.server, 5000), net.udp_receiver(net.server, 5001), net.udp_receiver(net.server, 5002):
        net.send_udp(net.client, 4, 64, 5001)
        net.send_udp(net.client, 9, 64, 5002)
        net.send_udp(net.client, 4 * 1024 - 13, 16, 5000)
        become(wfpd, "wfpd_packets_total", 4096)
    assert wfpd.metric("wfpd_callout_duration_seconds_count", callout="slow") == 4
    assert 0.2 <= wfpd.metric("wfpd_callout_duration_seconds_sum", callout="slow") < 5
    assert wfpd.metric("wfpd_callout_duration_seconds_bucket", callout="slow", le="0.01") == 0
    assert wfpd.metric("wfpd_callout_duration_seconds_count", callout="bad") == 9
    assert wfpd.metric("wfpd_callout_errors_total", callout="bad") == wfpd.metric("wfpd_callout_errors_total") == 9
    assert wfpd.metric("wfpd_classify_duration_seconds_count", layer="ipforward_v4") == 4
    assert wfpd.metric("wfpd_classify_duration_seconds_sum", layer="ipforward_v4") > 0


@pytest.mark.parametrize("word", ["permit", "block"])
def test_a_socket_that_overflows_is_seen_in_every_account(wfpd: Wfpd, net: Network, tmp_path: Path, word: str) -> None:
    (tmp_path / "shrink.py").write_text(SHRINK)
    filters = (
        PERMIT + "\n  - {name: shrink, layer: ipforward, action: {callout: shrink}, when: {ip_destination_port: 1}}"
    )
    head = 'callouts: [{name: shrink, use: "shrink:Shrink"}]'
    wfpd.write(filters, head=head, faults=f"on_full: {word}", daemon=f"callout_path: [{tmp_path}]")
    wfpd.start()
    with net.udp_receiver(net.server, 1), net.udp_receiver(net.server, 5000) as receiver:
        net.send_udp(net.client, 1, 64, 1)
        become(wfpd, "wfpd_packets_total", 1)
        assert wfpd.process is not None
        wfpd.process.send_signal(signal.SIGSTOP)
        net.send_udp(net.client, 200, 64, 5000)
        assert wait_until(lambda: wfpd.queue_rule_packets() == 201)
        wfpd.process.send_signal(signal.SIGCONT)
        become(wfpd, "wfpd_nfqueue_queue_length", 0)
        net.send_udp(net.client, 1, 64, 5000)  # A gap is known by the id behind it.
        assert wait_until(lambda: wfpd.metric("wfpd_nfqueue_id_gaps_total", queue="0") > 0)
        decided = int(wfpd.metric("wfpd_packets_total"))
        lost = 202 - decided
        assert 100 < lost < 201
        assert wfpd.metric("wfpd_nfqueue_id_gaps_total", queue="0") == lost
        if word == "block":
            assert wfpd.metric("wfpd_nfqueue_packets_dropped_total", queue="0", reason="user") == lost
            assert receiver.wait_for(decided - 1) and receiver.count == decided - 1
        else:
            assert wfpd.metric("wfpd_nfqueue_packets_dropped_total") == 0
            assert receiver.wait_for(201)
            become(wfpd, "wfpd_uninspected_packets_total", lost, hook="forward")
    assert wfpd.metric("wfpd_nfqueue_socket_drops_total", queue="0") == lost
    assert wfpd.metric("wfpd_nfqueue_packets_dropped_total", reason="queue_full") == 0
    assert wfpd.metric("wfpd_nfqueue_receive_truncated_total") == 0


def test_flows_and_their_evictions(wfpd: Wfpd, net: Network) -> None:
    filters = "  - {name: in, layer: ale_auth_recv_accept, action: permit}"
    # The scrapes' own connections over lo would be flows too, and what the kernels say of themselves by IPv6.
    attach = "\n".join(
        f"  - {{hook: {hook}, interfaces: [c0], families: [v4], queues: {queue}-{queue}}}"
        for queue, hook in enumerate(("input", "output"))
    )
    wfpd.write(filters, attach=attach, daemon="flows: {max: 256, full: permit}")
    wfpd.start()

    def open_flows(ports: range) -> None:
        for port in ports:
            net.send_udp(net.client, 1, 16, port, to=ROUTER_CLIENT4)

    with net.udp_receiver(net.router, 5000):
        net.send_udp(net.client, 30, 16, 5000, to=ROUTER_CLIENT4)
        become(wfpd, "wfpd_flows", 1)
        capacity = int(wfpd.status()["flows"]["max"])
        assert wfpd.metric("wfpd_flow_table_used_ratio") == pytest.approx(1 / capacity)
        assert wfpd.metric("wfpd_flow_evictions_total") == 0
    net.router.run(["iptables", "-A", "OUTPUT", "-p", "icmp", "-j", "DROP"])
    open_flows(range(20000, 20000 + 3 * capacity))
    become(wfpd, "wfpd_packets_total", 30 + 3 * capacity, queue="0")
    flows, evicted = wfpd.metric("wfpd_flows"), wfpd.metric("wfpd_flow_evictions_total")
    assert flows + evicted == 1 + 3 * capacity
    assert flows <= capacity and wfpd.metric("wfpd_flow_table_used_ratio") == pytest.approx(flows / capacity)
    assert wfpd.metric("wfpd_flow_evictions_total", reason="oldest") > 0


def test_reloads_and_the_policy_that_runs(wfpd: Wfpd, net: Network) -> None:
    wfpd.write(PERMIT)
    wfpd.start()
    first = wfpd.metric("wfpd_config_last_reload_success_timestamp_seconds")
    assert 0 <= time.time() - first < 60
    hashes = [wfpd.status()["hash"]]
    assert wfpd.metric("wfpd_config_hash_info", hash=hashes[0]) == 1
    for number in range(3):
        wfpd.write(PERMIT + f"\n  - {{name: more-{number}, layer: ipforward, action: permit}}")
        hashes.append(wfpd.call("reload")["hash"])
    wfpd.write("  - {name: broken, layer: nowhere, action: permit}")
    assert not wfpd.call("reload")["successful"]
    assert wfpd.metric("wfpd_config_reload_requests_total") == 4
    assert wfpd.metric("wfpd_config_last_reload_successful") == 0
    assert wfpd.metric("wfpd_policy_generation") == 4
    assert wfpd.metric("wfpd_config_hash_info") == wfpd.metric("wfpd_config_hash_info", hash=hashes[-1]) == 1
    assert len(set(hashes)) == 4
    assert first < wfpd.metric("wfpd_config_last_reload_success_timestamp_seconds") <= time.time()
    assert 0 < wfpd.metric("wfpd_config_reload_duration_seconds") < 60


def test_events_that_nobody_takes_in_time_are_counted_and_the_others_are_there(wfpd: Wfpd, net: Network) -> None:
    wfpd.write("  - {name: told, layer: ipforward, action: permit, log: true, when: {ip_protocol: udp}}")
    wfpd.start()
    assert wfpd.process is not None
    wfpd.process.send_signal(signal.SIGSTOP)
    with net.udp_receiver(net.server, 5000) as receiver:
        net.send_udp(net.client, 8000, 16, 5000)
        assert wait_until(lambda: wfpd.queue_rule_packets() == 8000)
        wfpd.process.send_signal(signal.SIGCONT)
        assert receiver.wait_for(8000, 10.0)

    def told() -> int:
        return wfpd.eve.read_text().count('"event_type":"wfp"') if wfpd.eve.exists() else 0

    assert wait_until(lambda: told() + wfpd.metric("wfpd_events_dropped_total", sink="ring") == 8000, 20.0, 0.1), (
        told(), wfpd.metric("wfpd_events_dropped_total", sink="ring")
    )  # fmt: skip
    assert wfpd.metric("wfpd_events_dropped_total", sink="ring") > 0
    assert SERVER4 in wfpd.eve.read_text()

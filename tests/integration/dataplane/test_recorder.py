"""What a live engine records: the rows of the layers passed, also of packets that ended otherwise than by a filter."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from tests.integration.live import Live, blocked_port, live, monitor, queue_rule, snapshot_of, wait_queue
from tests.integration.netns import ROUTER_CLIENT4, Network, wait_until
from wfpd.dataplane._engine import Engine
from wfpd.dataplane._parking import ParkedPacket

TRANSPORT, DATAGRAM, FORWARD = 2, 14, 24
FILTERS = (
    "  - {name: seen, layer: inbound_transport_v4, action: permit, when: {ip_protocol: udp}}\n"
    "  - {name: asked, layer: datagram_data_v4, action: {callout: watch, kind: terminating}, when: {ip_protocol: udp}}"
)
SEEN = [(TRANSPORT, "permit", "set", 0, False)]


def blocks(running: Live) -> list[dict[str, Any]]:
    """The recorded blocks, the most frequent last."""
    found = [one for recorder in range(running.engine.n_recorders) for one in running.engine.recorded(recorder)
             if one["verdict"] == "block" or one["would_block"]]  # fmt: skip
    return sorted(found, key=lambda one: one["count"])


def test_a_parked_packet_has_all_its_rows_when_its_visit_has_gone_on(net: Network, tmp_path: Path) -> None:
    handles: list[ParkedPacket] = []
    policy = snapshot_of(tmp_path, FILTERS, callouts={"watch": lambda c: handles.append(c.pend())})
    with live(Engine(1, late_after=30), policy) as running:
        running.add(net.router, 3)
        running.add_parking(net.router, 9, 8)
        queue_rule(net.router, 3, "-p", "udp", chain="INPUT")
        running.start()
        net.send_udp(net.client, 1, 400, 5000, to=ROUTER_CLIENT4)
        assert wait_queue(net.router, 9, "waiting", 1)
        assert blocks(running) == []
        assert handles[0].complete("block")
        assert running.wait_for(9, 1)
        (one,) = blocks(running)
        assert (one["reason"], one["slot"], one["filter"], one["callout"]) == ("callout", DATAGRAM, 1, 0)
        assert one["rows"] == [*SEEN, (DATAGRAM, "block", "set", 1, False)]
        assert running.engine.recorded_filters() == {(1, 0), (1, 1)}
        assert running.engine.recorder_counts()["oldest_ns"] <= one["timestamp_ns"]
        assert (one["hook"], one["length"], len(one["bytes"])) == ("input", 428, 128)


def test_a_parked_packet_that_is_late_has_the_rows_of_the_layers_before(net: Network, tmp_path: Path) -> None:
    policy = snapshot_of(tmp_path, FILTERS, callouts={"watch": lambda c: c.pend()}, faults="{on_late: block}")
    with live(Engine(1, late_after=0.05), policy) as running:
        running.add(net.router, 3)
        running.add_parking(net.router, 9, 8)
        queue_rule(net.router, 3, "-p", "udp", chain="INPUT")
        running.start()
        net.send_udp(net.client, 1, 400, 5000, to=ROUTER_CLIENT4)
        assert running.wait_for(9, 1)
        (one,) = blocks(running)
        assert (one["reason"], one["slot"], one["rows"]) == ("late", DATAGRAM, SEEN)


def test_a_packet_that_is_late_before_its_visit_has_no_rows_of_another(net: Network, tmp_path: Path) -> None:
    release = threading.Event()

    def watch(c: Any) -> None:
        release.wait(5)
        c.permit()

    policy = snapshot_of(tmp_path, FILTERS, callouts={"watch": watch}, faults="{on_late: block}")
    with live(Engine(1, late_after=0.05), policy) as running, monitor(running.engine):
        running.add(net.router, 3)
        queue_rule(net.router, 3, "-p", "udp", chain="INPUT")
        net.send_udp(net.client, 8, 64, 5000, to=ROUTER_CLIENT4)
        assert wait_queue(net.router, 3, "waiting", 8)
        running.start()
        assert wait_queue(net.router, 3, "waiting", 0)
        release.set()
        assert running.wait_for(3, 8)
        first, others = blocks(running)
        assert [(one["reason"], one["filter"], one["rows"], one["count"]) for one in (first, others)] == [
            ("late", 1, SEEN, 1), ("late", None, [], 7)]  # fmt: skip


def test_what_audit_mode_lets_pass_is_among_the_blocks(net: Network, tmp_path: Path) -> None:
    with live(Engine(1), snapshot_of(tmp_path, blocked_port(5001), audit=True, generation=7)) as running:
        running.add(net.router, 3)
        queue_rule(net.router, 3)
        running.start()
        net.send_udp(net.client, 5, 64, 5001)
        assert running.wait_for(3, 5)
        (one,) = blocks(running)
        assert (one["verdict"], one["would_block"], one["count"], one["generation"]) == ("permit", True, 5, 7)
        assert one["rows"] == [(FORWARD, "block", "clear", 0, False)]
        assert one["last_ns"] >= one["timestamp_ns"]


def test_an_engine_without_a_recorder_decides_as_with_one(net: Network, tmp_path: Path) -> None:
    with live(Engine(1, recorder=0), snapshot_of(tmp_path, blocked_port(5001))) as running:
        running.add(net.router, 3)
        queue_rule(net.router, 3)
        running.start()
        with net.udp_receiver(net.server, 5000) as receiver:
            net.send_udp(net.client, 3, 64, 5001)
            net.send_udp(net.client, 2, 64, 5000)
            assert receiver.wait_for(2)
        assert wait_until(lambda: running.count(3, "block") == 3)
        assert running.engine.recorded(0) == []

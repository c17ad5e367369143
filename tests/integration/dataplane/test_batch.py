"""A batch on real queues: marks, events, packets held too long, packets that vanish."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.integration.live import (
    all_to_callout,
    blocked_port,
    live,
    monitor,
    proc_queue,
    queue_rule,
    snapshot_of,
    wait_queue,
)
from tests.integration.netns import ROUTER_CLIENT4, SERVER4, Network, wait_until
from wfpd.dataplane._engine import Engine
from wfpd.errors import ActionRefused
from wfpd.injection.handles import Injections
from wfpd.injection.wire import Order


def drop_rule(*match: str) -> list[str]:
    """A rule behind ours that drops by mark."""
    return ["iptables", "-t", "filter", "-A", "FORWARD", "-m", "mark", *match, "-j", "DROP"]


def test_a_flow_s_drops_are_one_event_that_names_the_filter(net: Network, tmp_path: Path) -> None:
    with live(Engine(1), snapshot_of(tmp_path, blocked_port(5001), generation=7)) as running:
        running.add(net.router, 3)
        queue_rule(net.router, 3)
        running.start()
        net.send_udp(net.client, 1, 64, 5001)
        with net.client.socket() as sock:
            for _ in range(5):
                sock.sendto(b"x", (SERVER4, 5001))
        assert running.wait_for(3, 6)
        events = running.engine.drain_events()
        assert len(events) == 2  # Two source ports, two flows.
        event = events[0]
        assert (event["kind"], event["verdict"], event["reason"], event["filter"]) == ("drop", "block", "filter", 0)
        assert (event["generation"], event["slot"], event["hook"], event["length"]) == (7, 24, "forward", 92)
        assert event["bytes"][:1] == b"E" and len(event["bytes"]) == 92
        assert running.engine.drain_events() == []


def test_a_block_with_a_reply_leaves_with_the_reply_mark_and_keeps_foreign_bits(net: Network, tmp_path: Path) -> None:
    policy = snapshot_of(tmp_path, blocked_port(5001, reply="icmp_unreachable"))
    with live(Engine(1), policy) as running:
        running.add(net.router, 3)
        net.router.run(["iptables", "-t", "mangle", "-A", "FORWARD", "-j", "MARK", "--set-mark", "0x42"])
        queue_rule(net.router, 3)
        net.router.run(drop_rule("--mark", "0x10000042/0xffffffff"))
        running.start()
        with net.udp_receiver(net.server, 5000) as good:
            net.send_udp(net.client, 4, 64, 5001)
            net.send_udp(net.client, 4, 64, 5000)
            assert good.wait_for(4)
        assert running.count(3, "block") == 4
        listing = net.router.run(["iptables", "-t", "filter", "-nvxL", "FORWARD"]).stdout
        assert " 4 " in next(line for line in listing.splitlines() if "DROP" in line and "0x10000042" in line)


def test_stale_bits_of_ours_are_cleared_from_permitted_packets(net: Network, tmp_path: Path) -> None:
    with live(Engine(1), snapshot_of(tmp_path, blocked_port(9))) as running:
        running.add(net.router, 3)
        net.router.run(["iptables", "-t", "mangle", "-A", "FORWARD", "-j", "MARK", "--set-mark", "0x30000042"])
        queue_rule(net.router, 3)
        net.router.run(drop_rule("!", "--mark", "0x42/0xffffffff"))
        running.start()
        with net.udp_receiver(net.server, 5000) as good:
            net.send_udp(net.client, 10, 64, 5000)
            assert good.wait_for(10)


@pytest.mark.parametrize(("word", "arrive"), [("permit", 8), ("block", 0)])
def test_packets_held_too_long_get_on_late_while_the_callout_still_hangs(
    net: Network, tmp_path: Path, word: str, arrive: int
) -> None:
    release = threading.Event()

    def watch(c: Any) -> None:
        release.wait(5)
        c.permit() if word == "block" else c.block()

    policy = snapshot_of(tmp_path, all_to_callout(), callouts={"watch": watch}, faults=f"{{on_late: {word}}}")
    with live(Engine(1, late_after=0.05), policy) as running, monitor(running.engine):
        running.add(net.router, 3)
        queue_rule(net.router, 3)
        with net.udp_receiver(net.server, 5000) as receiver:
            net.send_udp(net.client, 8, 64, 5000)
            assert wait_queue(net.router, 3, "waiting", 8)
            running.start()
            assert wait_until(lambda: proc_queue(net.router, 3)["waiting"] == 0)
            assert not release.is_set()
            assert receiver.wait_for(arrive)
            release.set()
            assert running.wait_for(3, 8)
            assert receiver.count == arrive
        counters = running.engine.counters()["queues"][3]
        assert (counters["late"], counters["verdicts_refused"]) == (8, 0)
        assert running.count(3, word) == 8


def test_a_late_answer_counts_as_late_without_a_monitor_too(net: Network, tmp_path: Path) -> None:
    def watch(c: Any) -> None:
        threading.Event().wait(0.1)
        c.permit()

    policy = snapshot_of(tmp_path, all_to_callout(), callouts={"watch": watch}, faults="{on_late: block}")
    with live(Engine(1, late_after=0.02), policy) as running:
        running.add(net.router, 3)
        queue_rule(net.router, 3)
        running.start()
        net.send_udp(net.client, 2, 64, 5000)
        assert running.wait_for(3, 2)
        assert running.engine.counters()["drops"] == {(24, 8): 2}


def test_a_packet_that_is_late_already_is_not_reinjected_beside_its_verdict(net: Network, tmp_path: Path) -> None:
    orders: list[Order] = []

    class Reinjects:
        injects = True

        def __call__(self, c: Any) -> None:
            threading.Event().wait(0.1)
            with pytest.raises(ActionRefused, match="verdict"):
                c.reinject()

    policy = snapshot_of(tmp_path, all_to_callout(), callouts={"watch": Reinjects()}, faults="{on_late: permit}")
    with live(Engine(1, late_after=0.02), policy) as running, net.udp_receiver(net.server, 5000) as receiver:
        running.engine.set_injections(Injections(orders.append))
        running.add(net.router, 3)
        queue_rule(net.router, 3)
        running.start()
        net.send_udp(net.client, 1, 64, 5000)
        assert receiver.wait_for(1)
        assert (orders, running.engine.callout_errors()) == ([], {})


@pytest.mark.parametrize("watched", [True, False])
def test_a_late_callout_of_a_discard_twin_leaves_the_block_as_it_is(
    net: Network, tmp_path: Path, watched: bool
) -> None:
    release = threading.Event()

    def watch(c: Any) -> None:
        release.wait(5 if watched else 0.1)

    filters = (
        "  - {name: no, layer: ipforward_v4, action: block, when: {ip_protocol: udp}}\n"
        "  - {name: seen, layer: ipforward_v4_discard, action: {callout: watch}}"
    )
    policy = snapshot_of(tmp_path, filters, callouts={"watch": watch}, faults="{on_late: permit}")
    with live(Engine(1, late_after=0.05), policy) as running, contextlib.ExitStack() as stack:
        if watched:
            stack.enter_context(monitor(running.engine))
        running.add(net.router, 3)
        queue_rule(net.router, 3)
        with net.udp_receiver(net.server, 5000) as receiver:
            net.send_udp(net.client, 1, 64, 5000)
            assert wait_queue(net.router, 3, "waiting", 1)
            running.start()
            assert wait_until(lambda: proc_queue(net.router, 3)["waiting"] == 0)
            release.set()
            assert running.wait_for(3, 1)
            assert receiver.count == 0
        assert running.count(3, "block") == 1
        assert running.engine.counters()["queues"][3]["late"] == 0


def test_an_interface_that_goes_away_with_packets_queued_is_harmless(net: Network, tmp_path: Path) -> None:
    gate = threading.Event()

    def watch(c: Any) -> None:
        gate.wait(5)
        c.permit()

    policy = snapshot_of(tmp_path, all_to_callout(), callouts={"watch": watch})
    with live(Engine(1, late_after=30), policy) as running:
        running.add(net.router, 3)
        queue_rule(net.router, 3)
        net.send_udp(net.client, 6, 64, 5000)
        assert wait_queue(net.router, 3, "waiting", 6)
        running.start()
        net.router.run(["ip", "link", "del", "s0"])
        assert wait_until(lambda: proc_queue(net.router, 3)["waiting"] == 0)
        gate.set()
        assert running.wait_for(3, 6)
        assert wait_until(lambda: running.engine.counters()["queues"][3]["verdicts_not_found"] > 0)
        assert running.engine.counters()["queues"][3]["verdicts_refused"] == 0
        assert running.engine.progress()[0][0] == "running"


def test_audit_permits_and_counts_what_would_have_been_blocked(net: Network, tmp_path: Path) -> None:
    with live(Engine(1), snapshot_of(tmp_path, blocked_port(5001), audit=True)) as running:
        running.add(net.router, 3)
        queue_rule(net.router, 3)
        running.start()
        with net.udp_receiver(net.server, 5001) as receiver:
            net.send_udp(net.client, 9, 64, 5001)
            assert receiver.wait_for(9)
        assert running.engine.counters()["would_block"] == {24: 9}
        assert running.engine.drain_events()[0]["would_block"]


def test_gso_packets_are_inspected_whole(net: Network, tmp_path: Path) -> None:
    sizes: list[int] = []

    def watch(c: Any) -> None:
        sizes.append(len(c.packet))
        c.permit()

    filters = (
        "  - {name: asked, layer: ipforward_v4, action: {callout: watch, kind: inspection}, when: {ip_protocol: tcp}}"
    )
    with live(Engine(1, late_after=30), snapshot_of(tmp_path, filters, callouts={"watch": watch})) as running:
        running.add(net.router, 3)
        queue_rule(net.router, 3)
        running.start()
        with net.tcp_echo(net.server, 7000):
            assert net.tcp_round_trip(net.client, 7000, b"x" * 400_000) == b"x" * 400_000
        assert max(sizes) > 1500
        assert running.engine.counters()["queues"][3]["receive_truncated"] == 0


def test_events_of_late_packets_speak_of_their_own_flow(net: Network, tmp_path: Path) -> None:
    release = threading.Event()
    policy = snapshot_of(
        tmp_path, all_to_callout(), callouts={"watch": lambda c: release.wait(5)}, faults="{on_late: block}"
    )
    with live(Engine(1, late_after=0.05), policy) as running, monitor(running.engine):
        running.add(net.router, 3)
        queue_rule(net.router, 3)
        for port in (5000, 5001, 5002):
            net.send_udp(net.client, 2, 64, port)
        assert wait_queue(net.router, 3, "waiting", 6)
        running.start()
        assert wait_queue(net.router, 3, "waiting", 0)
        release.set()
        assert running.wait_for(3, 6)
        events = running.engine.drain_events()
        # The asked packet names its filter; the other one of its flow, which was never asked about, does not.
        assert [int.from_bytes(event["bytes"][22:24], "big") for event in events] == [5000, 5000, 5001, 5002]
        assert [event["filter"] for event in events] == [0, None, None, None]
        assert {event["reason"] for event in events} == {"late"}


def test_each_flow_of_a_batch_is_authorized_once_and_its_later_packets_belong_to_it(
    net: Network, tmp_path: Path
) -> None:
    layers = {"new": "ale_auth_recv_accept_v4", "all": "datagram_data_v4"}
    filters = [f"  - {{name: {name}, layer: {layer}, action: permit}}" for name, layer in layers.items()]
    snapshot = snapshot_of(tmp_path, "\n".join(filters))
    with live(Engine(1), snapshot) as running:
        running.add(net.router, 3, hook="input", length=1024)
        queue_rule(net.router, 3, "-p", "udp", chain="INPUT")
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(net.client.socket()) for _ in range(50)]
            for _ in range(3):
                for sock in sockets:
                    sock.sendto(b"x", (ROUTER_CLIENT4, 5000))
            assert wait_queue(net.router, 3, "waiting", 150)
            running.start()
            assert running.wait_for(3, 150)
        slots = snapshot.counter_slots()
        hits = {snapshot.filter_name(i): running.engine.filter_hits([slots[i]])[0] for i in range(snapshot.n_filters)}
        assert hits == {"new": 50, "all": 150}
        assert running.engine.counters()["flows"]["used"] == 50

"""The packet loop on real queues: every packet gets the verdict its policy means for it, whoever interferes."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from tests.integration.live import (
    ACCEPT,
    DROP,
    all_to_callout,
    bind,
    blocked_port,
    live,
    proc_queue,
    queue_rule,
    snapshot_of,
    wait_queue,
)
from tests.integration.netns import ROUTER_CLIENT4, Network
from wfpd.dataplane._engine import Engine
from wfpd.dataplane._host import Host
from wfpd.dataplane._netlink import plan_verdicts
from wfpd.dataplane._socket import configure_queue


def test_permitted_packets_pass_and_blocked_ones_do_not(net: Network, tmp_path: Path) -> None:
    with live(Engine(1), snapshot_of(tmp_path, blocked_port(5001))) as running:
        running.add(net.router, 3)
        queue_rule(net.router, 3)
        running.start()
        with net.udp_receiver(net.server, 5000) as good, net.udp_receiver(net.server, 5001) as bad:
            for port in (5000, 5001) * 20:
                net.send_udp(net.client, 5, 64, port)
            assert good.wait_for(100)
            assert running.wait_for(3, 200)
            assert (good.count, bad.count) == (100, 0)
        counters = running.engine.counters()
        assert (running.count(3, "permit"), running.count(3, "block")) == (100, 100)
        assert counters["queues"][3]["bytes"]["permit"] == 100 * (64 + 28)
        assert counters["drops"] == {(24, 1): 100}
        assert proc_queue(net.router, 3)["waiting"] == 0
        assert counters["queues"][3]["id_gaps"] == 0
        assert counters["queues"][3]["verdicts_refused"] == 0


def test_a_callout_decides_and_its_exception_is_answered_by_on_error(net: Network, tmp_path: Path) -> None:
    def watch(c: Any) -> None:
        number = int.from_bytes(c.packet[28:32], "big")
        if number % 3 == 0:
            raise ValueError(number)
        if number % 3 == 1:
            c.block()
        else:
            c.permit()

    policy = snapshot_of(tmp_path, all_to_callout(), callouts={"watch": watch}, faults="{on_error: block}")
    with live(Engine(1), policy) as running:
        running.add(net.router, 3)
        queue_rule(net.router, 3)
        with net.udp_receiver(net.server, 5000) as receiver:
            net.send_udp(net.client, 60, 64, 5000)  # Before the start: they arrive as whole batches.
            running.start()
            assert running.wait_for(3, 60)
            assert receiver.wait_for(20)
            assert [int.from_bytes(one[:4], "big") % 3 for one in receiver.payloads] == [2] * 20
        counters = running.engine.counters()
        assert counters["callout_errors"] == {"watch": 20}
        assert counters["callout_durations"]["watch"]["count"] == 60
        assert running.count(3, "block") == 40


def test_a_filter_s_on_error_wins_over_the_policy_s(net: Network, tmp_path: Path) -> None:
    def watch(c: Any) -> None:
        raise SystemExit

    asked = all_to_callout(on_error="permit")
    policy = snapshot_of(tmp_path, asked, callouts={"watch": watch}, faults="{on_error: block}")
    with live(Engine(1), policy) as running:
        running.add(net.router, 3)
        queue_rule(net.router, 3)
        running.start()
        with net.udp_receiver(net.server, 5000) as receiver:
            net.send_udp(net.client, 10, 64, 5000)
            assert receiver.wait_for(10)
        assert running.engine.progress()[0][0] == "running"


def test_packets_that_the_library_read_during_bind_never_pass_unseen(net: Network, tmp_path: Path) -> None:
    """A callback that decides nothing leaves them queued; on_error has to decide them, not our batch."""
    taken: list[int] = []
    with live(Engine(1), snapshot_of(tmp_path, blocked_port(9), faults="{on_error: block}")) as running:
        queue_rule(net.router, 3)
        queue = bind(net.router, 3, lambda packet: taken.append(packet.id))
        running.queues.append(queue)
        with net.udp_receiver(net.server, 5000) as receiver:
            net.send_udp(net.client, 5, 64, 5000)
            assert wait_queue(net.router, 3, "waiting", 5)
            queue.run(block=False)
            assert taken == [1, 2, 3, 4, 5]
            configure_queue(queue.get_fd(), 3, length=100, copy_bytes=65531, fail_open=False, error_verdict=DROP)
            running.engine.add_queue(3, 0, queue.get_fd(), "forward")
            running.start()
            net.send_udp(net.client, 7, 64, 5001)
            assert running.wait_for(3, 7)
            assert wait_queue(net.router, 3, "waiting", 0)
            assert receiver.count == 0


def test_packets_that_somebody_else_reads_later_get_on_error(net: Network, tmp_path: Path) -> None:
    with live(Engine(1), snapshot_of(tmp_path, blocked_port(9), faults="{on_error: block}")) as running:
        running.add(net.router, 3)
        queue_rule(net.router, 3)
        with net.udp_receiver(net.server, 5000) as receiver:
            net.send_udp(net.client, 10, 64, 5000)
            assert wait_queue(net.router, 3, "waiting", 10)
            with socket.socket(fileno=socket.dup(running.queues[0].get_fd())) as thief:
                thief.setblocking(False)
                for _ in range(4):
                    thief.recv(65536)
            running.start()
            assert running.wait_for(3, 6)
            assert receiver.wait_for(6)
            assert [int.from_bytes(one[:4], "big") for one in receiver.payloads] == [4, 5, 6, 7, 8, 9]


def test_a_batch_goes_past_a_packet_that_was_moved_to_a_parking_queue(net: Network) -> None:
    queue_rule(net.router, 3)
    queue, parking = bind(net.router, 3), bind(net.router, 9)
    try:
        with net.udp_receiver(net.server, 5000) as receiver:
            net.send_udp(net.client, 5, 64, 5000)
            assert wait_queue(net.router, 3, "waiting", 5)
            items: list[tuple[int, int, int | None, bool]] = [(i, ACCEPT, None, False) for i in range(1, 6)]
            items[2] = (3, 3 | 9 << 16 | 0x8000, None, False)
            messages, through, _ = plan_verdicts(items, queue=3)
            with socket.socket(fileno=socket.dup(queue.get_fd())) as sock:
                sock.send(messages)
            assert through == 5
            assert receiver.wait_for(4)
            assert [int.from_bytes(one[:4], "big") for one in receiver.payloads] == [0, 1, 3, 4]
            assert (proc_queue(net.router, 3)["waiting"], proc_queue(net.router, 9)["waiting"]) == (0, 1)
            parking.run(block=False)  # Its callback accepts.
            assert receiver.wait_for(5)
    finally:
        queue.unbind()
        parking.unbind()


def test_tcp_through_the_queue_arrives_whole(net: Network, tmp_path: Path) -> None:
    with live(Engine(1), snapshot_of(tmp_path, blocked_port(9))) as running:
        running.add(net.router, 3, length=4096)
        queue_rule(net.router, 3)
        running.start()
        data = bytes(range(256)) * 2000
        with net.tcp_echo(net.server, 7000):
            assert net.tcp_round_trip(net.client, 7000, data) == data
        assert running.engine.counters()["malformed"] == {}


def test_the_input_hook_serves_its_layers_with_the_host_table(net: Network, tmp_path: Path) -> None:
    filters = (
        "  - {name: no-ssh, layer: ale_auth_recv_accept_v4, action: block, when: {ip_protocol: tcp, ip_local_port: 22}}"
    )
    with live(Engine(1), snapshot_of(tmp_path, filters)) as running:
        running.engine.set_host(Host(interfaces=[(2, b"c0", 6, False, 0)]))
        running.add(net.router, 3, hook="input")
        queue_rule(net.router, 3, "-i", "c0", chain="INPUT")
        running.start()
        with net.tcp_echo(net.router, 2222):
            assert net.tcp_round_trip(net.client, 2222, b"ping", to=ROUTER_CLIENT4) == b"ping"
        with pytest.raises(TimeoutError):
            net.tcp_connect(net.client, 22, to=ROUTER_CLIENT4, timeout=0.3)
        counters = running.engine.counters()
        assert counters["flows"]["used"] == 1
        assert running.count(3, "block") >= 1


def test_no_packet_arrives_twice_or_unasked(net: Network, tmp_path: Path) -> None:
    """Ids that are never queued (overflow of the queue) leave no gap that confuses the batches."""
    with live(Engine(1), snapshot_of(tmp_path, blocked_port(9))) as running:
        running.add(net.router, 3, length=16)
        queue_rule(net.router, 3)
        with net.udp_receiver(net.server, 5000) as receiver:
            net.send_udp(net.client, 100, 64, 5000)
            assert wait_queue(net.router, 3, "queue_dropped", 84)
            running.start()
            assert running.wait_for(3, 16)
            net.send_udp(net.client, 10, 64, 5000, pause=0.002)
            assert receiver.wait_for(26)
        assert proc_queue(net.router, 3)["queue_dropped"] == 84
        assert running.engine.counters()["queues"][3]["id_gaps"] == 0

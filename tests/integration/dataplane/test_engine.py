"""The engine's life: publishing policies, workers and their queues, and the end."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.integration.live import all_to_callout, blocked_port, live, proc_queue, queue_rule, snapshot_of, wait_queue
from tests.integration.netns import ROUTER_CLIENT4, Network, wait_until
from wfpd.dataplane._engine import Engine
from wfpd.errors import KernelError


def test_several_queues_are_served_by_several_workers(net: Network, tmp_path: Path) -> None:
    with live(Engine(2), snapshot_of(tmp_path, blocked_port(5001))) as running:
        for number, worker in ((1, 0), (2, 1), (3, 1)):
            running.add(net.router, number, worker)
            queue_rule(net.router, number, "-p", "udp", "--dport", str(5000 + number))
        running.start()
        with net.udp_receiver(net.server, 5002) as two, net.udp_receiver(net.server, 5003) as three:
            for port in (5001, 5002, 5003):
                net.send_udp(net.client, 30, 64, port)
            assert two.wait_for(30) and three.wait_for(30)
        assert running.wait_for(1, 30)
        assert (running.count(1, "block"), running.count(2, "permit"), running.count(3, "permit")) == (30, 30, 30)


def test_a_policy_is_replaced_without_losing_a_packet(net: Network, tmp_path: Path) -> None:
    open_, closed = snapshot_of(tmp_path, blocked_port(9)), snapshot_of(tmp_path, blocked_port(5000), generation=2)
    with live(Engine(1), open_) as running:
        running.add(net.router, 3, length=4096)
        queue_rule(net.router, 3)
        running.start()
        with net.udp_receiver(net.server, 5000) as receiver:
            sender = threading.Thread(target=net.send_udp, args=(net.client, 1500, 64, 5000))
            sender.start()
            for turn in range(20):
                assert running.engine.swap(closed if turn % 2 else open_)
            sender.join()
            assert running.wait_for(3, 1500)
            assert wait_until(lambda: receiver.count == running.count(3, "permit"))
        assert running.engine.reap()
        assert proc_queue(net.router, 3)["user_dropped"] == 0


def test_what_is_queued_at_stop_is_decided_first(net: Network, tmp_path: Path) -> None:
    with live(Engine(1), snapshot_of(tmp_path, blocked_port(9))) as running:
        running.add(net.router, 3, length=4096)
        queue_rule(net.router, 3)
        with net.udp_receiver(net.server, 5000) as receiver:
            net.send_udp(net.client, 1000, 64, 5000)
            assert wait_queue(net.router, 3, "waiting", 1000)
            net.router.run(["iptables", "-t", "mangle", "-F"])
            running.engine.stop()
            running.start()
            for thread in running.threads:
                thread.join(5)
            assert running.engine.progress()[0][0] == "stopped"
            assert receiver.wait_for(1000)


def test_a_hung_worker_keeps_its_policy_alive_until_it_lets_go(net: Network, tmp_path: Path) -> None:
    entered, release = threading.Event(), threading.Event()

    def watch(c: Any) -> None:
        entered.set()
        release.wait(5)
        c.block()

    old = snapshot_of(tmp_path, all_to_callout(), callouts={"watch": watch})
    new = snapshot_of(tmp_path, blocked_port(9), generation=2)
    with live(Engine(1, late_after=30), old) as running:
        running.add(net.router, 3)
        queue_rule(net.router, 3)
        with net.udp_receiver(net.server, 5000) as receiver:
            net.send_udp(net.client, 4, 64, 5000)
            assert wait_queue(net.router, 3, "waiting", 4)
            running.start()
            assert entered.wait(5)
            del old
            assert running.engine.swap(new, timeout=0.05) is False
            net.send_udp(net.client, 4, 64, 5000)
            release.set()
            assert receiver.wait_for(4)
            assert running.wait_for(3, 8)
            assert (running.count(3, "block"), running.count(3, "permit")) == (4, 4)
            assert wait_until(running.engine.reap)


def test_behind_a_fence_every_batch_that_was_under_way_has_ended(net: Network, tmp_path: Path) -> None:
    entered, release = threading.Event(), threading.Event()

    def watch(c: Any) -> None:
        entered.set()
        release.wait(5)

    with live(Engine(1, late_after=30), snapshot_of(tmp_path, all_to_callout(), callouts={"watch": watch})) as running:
        running.add(net.router, 3)
        queue_rule(net.router, 3)
        running.start()
        running.engine.fence()
        assert running.engine.reap(), "no batch was under way"
        net.send_udp(net.client, 1, 64, 5000)
        assert entered.wait(5) and running.engine.reap()
        running.engine.fence()
        assert not running.engine.reap()
        release.set()
        assert wait_until(running.engine.reap)


def test_a_socket_that_fails_kills_its_worker_loudly(net: Network, tmp_path: Path) -> None:
    engine = Engine(1)
    engine.swap(snapshot_of(tmp_path, blocked_port(9)))
    reading, writing = os.pipe()
    try:
        engine.add_queue(3, 0, reading)
        with pytest.raises(KernelError, match=r"worker 0: .* on queue 3"):
            engine.run_worker(0)
        assert engine.progress() == [("dead", 0)]
    finally:
        os.close(reading)
        os.close(writing)


def test_a_worker_needs_a_policy_and_runs_once(tmp_path: Path) -> None:
    engine = Engine(1)
    with pytest.raises(RuntimeError, match="policy"):
        engine.run_worker(0)
    engine.swap(snapshot_of(tmp_path, blocked_port(9)))
    engine.stop()
    engine.run_worker(0)
    assert engine.progress()[0][0] == "stopped"
    with pytest.raises(RuntimeError):
        engine.run_worker(0)


def test_input_leaves_the_packet_layer_to_prerouting_where_that_is_attached(net: Network, tmp_path: Path) -> None:
    filters = "  - {name: none-in, layer: inbound_ippacket_v4, action: block}"
    with live(Engine(1), snapshot_of(tmp_path, filters)) as running:
        running.add(net.router, 3, hook="input")
        queue_rule(net.router, 3, "-i", "c0", "-p", "udp", chain="INPUT")
        running.start()
        net.send_udp(net.client, 3, 64, 5000, to=ROUTER_CLIENT4)
        assert running.wait_for(3, 3)
        assert running.count(3, "block") == 3
        running.engine.set_hooks(["prerouting", "input"])
        net.send_udp(net.client, 3, 64, 5000, to=ROUTER_CLIENT4)
        assert running.wait_for(3, 6)
        assert running.count(3, "permit") == 3

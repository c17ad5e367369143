"""The queue's socket: configured by our own messages, sized so that the queue fills first."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from tests.integration.live import (
    ACCEPT,
    DROP,
    Live,
    all_to_callout,
    bind,
    blocked_port,
    live,
    proc_queue,
    queue_rule,
    snapshot_of,
    wait_queue,
)
from tests.integration.netns import Network
from wfpd.dataplane._engine import Engine
from wfpd.dataplane._socket import configure_queue
from wfpd.errors import KernelError


def test_packets_met_while_configuring_get_the_error_verdict(net: Network) -> None:
    queue_rule(net.router, 3)
    queue = bind(net.router, 3)
    try:
        with net.udp_receiver(net.server, 5000) as receiver:
            net.send_udp(net.client, 5, 64, 5000)
            assert wait_queue(net.router, 3, "waiting", 5)
            set_up = configure_queue(
                queue.get_fd(), 3, length=100, copy_bytes=65531, fail_open=True, error_verdict=ACCEPT
            )
            assert set_up["decided"] == 5
            assert receiver.wait_for(5)
            assert proc_queue(net.router, 3)["waiting"] == 0
    finally:
        queue.unbind()


def test_a_queue_of_another_program_is_named_as_taken(net: Network) -> None:
    owner, other = bind(net.router, 3), bind(net.router, 4)
    try:
        with pytest.raises(KernelError, match="queue 3 is taken by another program"):
            configure_queue(other.get_fd(), 3, length=10, copy_bytes=100, fail_open=False, error_verdict=DROP)
    finally:
        owner.unbind()
        other.unbind()


def test_a_queue_of_length_zero_is_refused(net: Network) -> None:
    queue = bind(net.router, 3)
    try:
        with pytest.raises(ValueError, match="drops everything"):
            configure_queue(queue.get_fd(), 3, length=0, copy_bytes=100, fail_open=False, error_verdict=DROP)
    finally:
        queue.unbind()


def test_the_kernel_accepts_the_flags_that_are_probed(net: Network) -> None:
    queue = bind(net.router, 3)
    try:
        set_up = configure_queue(queue.get_fd(), 3, length=256, copy_bytes=70000, fail_open=True, error_verdict=DROP)
        assert set_up["flags"] == {"fail_open": True, "gso": True, "uid_gid": True}
        assert set_up["copy_bytes"] == 65531 and set_up["receive_buffer"] >= 256 * 65531
        assert proc_queue(net.router, 3)["range"] == 65531
    finally:
        queue.unbind()


def test_the_copy_range_changes_while_the_loop_runs(net: Network, tmp_path: Path) -> None:
    seen: list[int] = []

    def watch(c: Any) -> None:
        seen.append(len(c.packet))
        c.permit()

    with live(Engine(1), snapshot_of(tmp_path, all_to_callout(), callouts={"watch": watch})) as running:
        running.add(net.router, 3, copy_bytes=128)
        queue_rule(net.router, 3)
        running.start()
        with net.udp_receiver(net.server, 5000) as receiver:
            net.send_udp(net.client, 1, 1000, 5000)
            assert receiver.wait_for(1)
            running.engine.set_copy_bytes(3, 65531)
            net.send_udp(net.client, 1, 1000, 5000)
            assert receiver.wait_for(2)
        assert seen == [128, 1028]
        assert running.engine.decided_through(3) == 2


def overflow(net: Network, running: Live, n: int) -> None:
    """Shrink the socket's buffer and send `n` packets while nobody reads."""
    with socket.socket(fileno=socket.dup(running.queues[0].get_fd())) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    net.send_udp(net.client, n, 64, 5000)
    assert wait_queue(net.router, 3, "id_sequence", n)


def test_losses_by_socket_overflow_are_id_gaps_and_leave_no_latch(net: Network, tmp_path: Path) -> None:
    with live(Engine(1), snapshot_of(tmp_path, blocked_port(9))) as running:
        running.add(net.router, 3)
        queue_rule(net.router, 3)
        with net.udp_receiver(net.server, 5000) as receiver:
            overflow(net, running, 50)
            lost = proc_queue(net.router, 3)["user_dropped"]
            assert 0 < lost < 50
            running.start()
            assert running.wait_for(3, 50 - lost)
            net.send_udp(net.client, 3, 64, 5000, pause=0.02)
            assert receiver.wait_for(53 - lost)
        assert running.engine.counters()["queues"][3]["id_gaps"] == lost


def test_what_passes_by_fail_open_is_an_id_gap(net: Network, tmp_path: Path) -> None:
    with live(Engine(1), snapshot_of(tmp_path, blocked_port(9))) as running:
        running.add(net.router, 3, fail_open=True)
        queue_rule(net.router, 3)
        with net.udp_receiver(net.server, 5000) as receiver:
            overflow(net, running, 50)
            passed = 50 - proc_queue(net.router, 3)["waiting"]
            assert passed and receiver.wait_for(passed)
            running.start()
            assert receiver.wait_for(50)
            net.send_udp(net.client, 1, 64, 5000)
            assert receiver.wait_for(51)
        assert running.engine.counters()["queues"][3]["id_gaps"] == passed
        assert proc_queue(net.router, 3)["user_dropped"] == 0

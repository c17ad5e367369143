"""The packet loop on real queues: every packet gets the verdict its policy means for it, whoever interferes."""

from __future__ import annotations

import socket
import threading
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
    monitor,
    proc_queue,
    queue_rule,
    snapshot_of,
)
from tests.integration.netns import ROUTER_CLIENT4, SERVER4, Network, wait_until
from wfpd.dataplane._engine import Engine
from wfpd.dataplane._host import Host
from wfpd.dataplane._netlink import plan_verdicts
from wfpd.dataplane._socket import configure_queue
from wfpd.errors import KernelError


def drop_rule(*match: str) -> list[str]:
    """A rule behind ours that drops by mark."""
    return ["iptables", "-t", "filter", "-A", "FORWARD", "-m", "mark", *match, "-j", "DROP"]


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


def test_packets_that_the_library_read_during_bind_never_pass_unseen(net: Network, tmp_path: Path) -> None:
    """A callback that decides nothing leaves them queued; on_error has to decide them, not our batch."""
    taken: list[int] = []
    with live(Engine(1), snapshot_of(tmp_path, blocked_port(9), faults="{on_error: block}")) as running:
        queue_rule(net.router, 3)
        queue = bind(net.router, 3, lambda packet: taken.append(packet.id))
        running.queues.append(queue)
        with net.udp_receiver(net.server, 5000) as receiver:
            net.send_udp(net.client, 5, 64, 5000)
            queue.run(block=False)
            assert taken == [1, 2, 3, 4, 5]
            configure_queue(queue.get_fd(), 3, length=100, copy_bytes=65531, fail_open=False, error_verdict=DROP)
            running.engine.add_queue(3, 0, queue.get_fd(), "forward")
            running.start()
            net.send_udp(net.client, 7, 64, 5001)
            assert running.wait_for(3, 7)
            assert proc_queue(net.router, 3)["waiting"] == 0
            assert receiver.count == 0


def test_packets_that_somebody_else_reads_later_get_on_error(net: Network, tmp_path: Path) -> None:
    with live(Engine(1), snapshot_of(tmp_path, blocked_port(9), faults="{on_error: block}")) as running:
        running.add(net.router, 3)
        queue_rule(net.router, 3)
        with net.udp_receiver(net.server, 5000) as receiver:
            net.send_udp(net.client, 10, 64, 5000)
            with socket.socket(fileno=socket.dup(running.queues[0].get_fd())) as thief:
                thief.setblocking(False)
                for _ in range(4):
                    thief.recv(65536)
            running.start()
            assert running.wait_for(3, 6)
            assert receiver.wait_for(6)
            assert [int.from_bytes(one[:4], "big") for one in receiver.payloads] == [4, 5, 6, 7, 8, 9]


def test_packets_met_while_configuring_get_the_error_verdict(net: Network) -> None:
    queue_rule(net.router, 3)
    queue = bind(net.router, 3)
    try:
        with net.udp_receiver(net.server, 5000) as receiver:
            net.send_udp(net.client, 5, 64, 5000)
            set_up = configure_queue(
                queue.get_fd(), 3, length=100, copy_bytes=65531, fail_open=True, error_verdict=ACCEPT)
            assert set_up["decided"] == 5
            assert receiver.wait_for(5)
            assert proc_queue(net.router, 3)["waiting"] == 0
    finally:
        queue.unbind()


def test_a_batch_goes_past_a_packet_that_was_moved_to_a_parking_queue(net: Network) -> None:
    queue_rule(net.router, 3)
    queue, parking = bind(net.router, 3), bind(net.router, 9)
    try:
        with net.udp_receiver(net.server, 5000) as receiver:
            net.send_udp(net.client, 5, 64, 5000)
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
        running.start()
        net.router.run(["ip", "link", "del", "s0"])
        assert wait_until(lambda: proc_queue(net.router, 3)["waiting"] == 0)
        gate.set()
        assert running.wait_for(3, 6)
        assert wait_until(lambda: running.engine.counters()["queues"][3]["verdicts_not_found"] > 0)
        assert running.engine.counters()["queues"][3]["verdicts_refused"] == 0
        assert running.engine.progress()[0][0] == "running"


def test_what_is_queued_at_stop_is_decided_first(net: Network, tmp_path: Path) -> None:
    with live(Engine(1), snapshot_of(tmp_path, blocked_port(9))) as running:
        running.add(net.router, 3, length=4096)
        queue_rule(net.router, 3)
        with net.udp_receiver(net.server, 5000) as receiver:
            net.send_udp(net.client, 1000, 64, 5000)
            net.router.run(["iptables", "-t", "mangle", "-F"])
            running.engine.stop()
            running.start()
            for thread in running.threads:
                thread.join(5)
            assert running.engine.progress()[0][0] == "stopped"
            assert receiver.wait_for(1000)


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


def test_tcp_through_the_queue_arrives_whole(net: Network, tmp_path: Path) -> None:
    with live(Engine(1), snapshot_of(tmp_path, blocked_port(9))) as running:
        running.add(net.router, 3, length=4096)
        queue_rule(net.router, 3)
        running.start()
        data = bytes(range(256)) * 2000
        with net.tcp_echo(net.server, 7000):
            assert net.tcp_round_trip(net.client, 7000, data) == data
        assert running.engine.counters()["malformed"] == {}


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


def test_the_input_hook_serves_its_layers_with_the_host_table(net: Network, tmp_path: Path) -> None:
    filters = ("  - {name: no-ssh, layer: ale_auth_recv_accept_v4, action: block, "
               "when: {ip_protocol: tcp, ip_local_port: 22}}")
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
            running.start()
            assert running.wait_for(3, 16)
            net.send_udp(net.client, 10, 64, 5000, pause=0.002)
            assert receiver.wait_for(26)
        assert proc_queue(net.router, 3)["queue_dropped"] == 84
        assert running.engine.counters()["queues"][3]["id_gaps"] == 0

"""The parking queue: a packet that a callout parks waits outside its packet queue, and always gets a verdict."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.live import (
    Live,
    all_to_callout,
    blocked_port,
    live,
    monitor,
    proc_queue,
    queue_rule,
    snapshot_of,
    wait_queue,
)
from tests.integration.netns import Network, wait_until
from wfpd.dataplane._engine import Engine
from wfpd.dataplane._parking import ParkedPacket

QUEUE, PARKING = 3, 9


def number_of(data: bytes) -> int:
    """The number that the sender wrote into a datagram."""
    return int.from_bytes(data[:4], "big")


class Parker:
    """Parks every packet whose number `parks`, permits the others."""

    def __init__(self, parks: Callable[[int], bool] = lambda number: True) -> None:
        self.parks = parks
        self.handles: dict[int, ParkedPacket] = {}

    def __call__(self, c: Any) -> None:
        number = number_of(c.packet[28:32])
        if self.parks(number):
            self.handles[number] = c.pend()
        else:
            c.permit()


def engine_with(tmp_path: Path, callout: Callable[[Any], None], *, late_after: float = 30, faults: str = "{}",
                audit: bool = False) -> Any:  # fmt: skip
    """A live engine whose callout sees every forwarded UDP packet."""
    policy = snapshot_of(tmp_path, all_to_callout(), callouts={"watch": callout}, faults=faults, audit=audit)
    return live(Engine(1, late_after=late_after), policy)


def open_queues(net: Network, running: Live, capacity: int = 64) -> None:
    """The packet queue, not yet served, and the parking queue with its thread."""
    running.add(net.router, QUEUE)
    running.add_parking(net.router, PARKING, capacity)
    queue_rule(net.router, QUEUE)


def parking(running: Live) -> dict[str, int]:
    """The parking queue's account."""
    found: dict[str, int] = running.engine.counters()["parking"]
    return found


def wait_completed(running: Live, count: int) -> bool:
    """True once callouts have completed so many packets."""
    return wait_until(lambda: parking(running)["completed"] == count)


def test_a_batch_goes_on_past_a_parked_packet_which_waits_for_its_own_verdict(net: Network, tmp_path: Path) -> None:
    park = Parker(lambda number: number in (2, 5))
    with engine_with(tmp_path, park) as running, net.udp_receiver(net.server, 5000) as receiver:
        open_queues(net, running)
        net.send_udp(net.client, 8, 64, 5000)  # One batch.
        assert wait_queue(net.router, QUEUE, "waiting", 8)
        running.start()
        assert receiver.wait_for(6)
        assert [number_of(one) for one in receiver.payloads] == [0, 1, 3, 4, 6, 7]
        assert (proc_queue(net.router, QUEUE)["waiting"], proc_queue(net.router, PARKING)["waiting"]) == (0, 2)
        assert (parking(running)["waiting"], running.engine.counters()["queues"][QUEUE]["parked"]) == (2, 2)
        assert (park.handles[2].queue, park.handles[2].id, park.handles[5].id) == (QUEUE, 3, 6)
        assert park.handles[2].epoch != park.handles[5].epoch
        assert park.handles[5].complete("block")
        assert running.wait_for(PARKING, 1)
        assert park.handles[2].complete("permit")
        assert receiver.wait_for(7)
        assert number_of(receiver.payloads[-1]) == 2
        assert proc_queue(net.router, PARKING)["waiting"] == 0
    counters = running.engine.counters()
    assert (running.count(PARKING, "permit"), running.count(PARKING, "block")) == (1, 1)
    assert running.count(QUEUE, "permit") == 6  # A packet is counted where it gets its verdict, once.
    assert counters["drops"] == {(24, 2): 1}  # ipforward_v4, callout
    assert counters["queues"][PARKING]["bytes"] == {"permit": 92, "block": 92}
    assert counters["parking"] == {
        "waiting": 0, "capacity": 64, "parked": 2, "again": 0, "completed": 2, "late": 0, "lost": 0, "refused": 0,
        "bytes": 0, "most_bytes": 32 << 20,
    }  # fmt: skip
    (event,) = running.engine.drain_events()
    assert (event["reason"], event["filter"], event["callout"], event["slot"]) == ("callout", 0, 0, 24)
    assert number_of(event["bytes"][28:]) == 5


def test_many_parked_packets_are_completed_in_any_order_from_any_thread(net: Network, tmp_path: Path) -> None:
    park = Parker()
    with engine_with(tmp_path, park) as running, net.udp_receiver(net.server, 5000) as receiver:
        open_queues(net, running, 500)
        running.start()
        net.send_udp(net.client, 400, 64, 5000)
        assert wait_queue(net.router, PARKING, "waiting", 400)
        order = sorted(park.handles, key=lambda number: number * 7919 % 400)

        def complete(numbers: list[int]) -> None:
            for number in numbers:
                assert park.handles[number].complete("block" if number % 4 == 0 else "permit")

        threads = [threading.Thread(target=complete, args=(order[part::3],)) for part in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert receiver.wait_for(300)
        assert wait_queue(net.router, PARKING, "waiting", 0)
        assert sorted(number_of(one) for one in receiver.payloads) == [n for n in range(400) if n % 4]
    assert (running.count(PARKING, "permit"), running.count(PARKING, "block")) == (300, 100)
    assert not any(handle.complete("permit") for handle in park.handles.values())


def test_a_packet_may_be_completed_before_its_verdict_has_moved_it(net: Network, tmp_path: Path) -> None:
    done: list[bool] = []
    with (
        engine_with(tmp_path, lambda c: done.append(c.pend().complete("permit"))) as running,
        net.udp_receiver(net.server, 5000) as receiver,
    ):
        open_queues(net, running)
        running.start()
        net.send_udp(net.client, 30, 64, 5000)
        assert receiver.wait_for(30)
    assert done == [True] * 30 and parking(running)["completed"] == 30


def test_a_packet_has_its_mark_in_the_parking_queue_too(net: Network, tmp_path: Path) -> None:
    parker = Parker()
    with engine_with(tmp_path, parker) as running, net.udp_receiver(net.server, 5000) as receiver:
        net.router.run(["iptables", "-t", "mangle", "-A", "FORWARD", "-j", "MARK", "--set-mark", "0x42"])
        open_queues(net, running)
        running.start()
        net.send_udp(net.client, 3, 64, 5000)
        assert wait_queue(net.router, PARKING, "waiting", 3)
        assert all(parker.handles[number].complete("permit") for number in range(3))
        assert receiver.wait_for(3)
        assert running.engine.counters()["queues"][PARKING]["strays"] == 0


@pytest.mark.parametrize(("word", "arrive"), [("permit", 5), ("block", 0)])
@pytest.mark.parametrize("audit", [False, True])
def test_a_parked_packet_that_is_late_gets_on_late(
    net: Network, tmp_path: Path, word: str, arrive: int, audit: bool
) -> None:
    park = Parker()
    with (
        engine_with(tmp_path, park, late_after=0.3, faults=f"{{on_late: {word}}}", audit=audit) as running,
        net.udp_receiver(net.server, 5000) as receiver,
    ):
        open_queues(net, running)
        running.start()
        net.send_udp(net.client, 5, 64, 5000)
        assert wait_until(lambda: parking(running)["parked"] == 5)
        assert running.wait_for(PARKING, 5)
        assert receiver.wait_for(5 if audit else arrive)
        assert not park.handles[0].complete("permit")
        assert proc_queue(net.router, PARKING)["waiting"] == 0
        assert receiver.count == (5 if audit else arrive)
    counters = running.engine.counters()
    assert (counters["parking"]["late"], counters["queues"][PARKING]["late"]) == (5, 5)
    assert counters["drops"] == ({} if word == "permit" or audit else {(24, 8): 5})
    assert counters["would_block"] == ({24: 5} if word == "block" and audit else {})


def test_late_after_and_on_late_of_a_new_policy_hold_for_what_is_parked(net: Network, tmp_path: Path) -> None:
    park = Parker()
    with engine_with(tmp_path, park) as running, net.udp_receiver(net.server, 5000) as receiver:
        open_queues(net, running)
        running.start()
        net.send_udp(net.client, 3, 64, 5000)
        assert wait_queue(net.router, PARKING, "waiting", 3)
        running.engine.late_after = 0.05
        running.engine.swap(snapshot_of(tmp_path, blocked_port(9), faults="{on_late: block}", generation=2))
        assert running.wait_for(PARKING, 3)
        assert receiver.count == 0
    assert {(event["generation"], event["filter"]) for event in running.engine.drain_events()} == {(1, 0)}


@pytest.mark.parametrize(("word", "arrive"), [("permit", 12), ("block", 0)])
def test_a_stop_leaves_no_parked_packet_without_a_verdict(net: Network, tmp_path: Path, word: str, arrive: int) -> None:
    with (
        engine_with(tmp_path, Parker(), faults=f"{{on_late: {word}}}") as running,
        net.udp_receiver(net.server, 5000) as receiver,
    ):
        open_queues(net, running)
        net.send_udp(net.client, 12, 64, 5000)
        assert wait_queue(net.router, QUEUE, "waiting", 12)
        net.router.run(["iptables", "-t", "mangle", "-F"])
        running.engine.stop()  # What is queued is parked by a worker that is stopping already.
        running.start()
        for thread in running.threads:
            thread.join(5)
            assert not thread.is_alive()
        assert [state for state, _ in running.engine.progress()] == ["stopped", "stopped"]
        assert (proc_queue(net.router, QUEUE)["waiting"], proc_queue(net.router, PARKING)["waiting"]) == (0, 0)
        assert receiver.wait_for(arrive) and receiver.count == arrive
    assert running.count(PARKING, word) == 12


def test_a_full_parking_queue_refuses_and_the_packet_gets_on_error(net: Network, tmp_path: Path) -> None:
    park = Parker()
    with (
        engine_with(tmp_path, park, faults="{on_error: block}") as running,
        net.udp_receiver(net.server, 5000) as receiver,
    ):
        open_queues(net, running, 4)
        running.start()
        net.send_udp(net.client, 10, 64, 5000)
        assert running.wait_for(QUEUE, 6)
        assert (running.count(QUEUE, "block"), parking(running)["waiting"], parking(running)["refused"]) == (6, 4, 6)
        assert running.engine.counters()["callout_errors"] == {"watch": 6}
        assert all(handle.complete("permit") for handle in park.handles.values())
        assert receiver.wait_for(4)
        net.send_udp(net.client, 1, 64, 5000)
        assert wait_until(lambda: parking(running)["waiting"] == 1)


def test_a_callout_that_parks_and_raises_has_raised(net: Network, tmp_path: Path) -> None:
    handles: list[ParkedPacket] = []

    def watch(c: Any) -> None:
        handles.append(c.pend())
        raise ValueError

    with engine_with(tmp_path, watch, faults="{on_error: block}") as running:
        open_queues(net, running)
        running.start()
        net.send_udp(net.client, 3, 64, 5000)
        assert running.wait_for(QUEUE, 3)
        assert (running.count(QUEUE, "block"), parking(running)["parked"], parking(running)["waiting"]) == (3, 0, 0)
        assert not handles[0].complete("permit")


def test_a_callout_that_parks_too_late_has_parked_in_vain(net: Network, tmp_path: Path) -> None:
    release = threading.Event()
    handles: list[ParkedPacket] = []

    def watch(c: Any) -> None:
        release.wait(5)
        handles.append(c.pend())

    with (
        engine_with(tmp_path, watch, late_after=0.05, faults="{on_late: block}") as running,
        monitor(running.engine),
    ):
        open_queues(net, running)
        net.send_udp(net.client, 2, 64, 5000)
        assert wait_queue(net.router, QUEUE, "waiting", 2)
        running.start()
        assert wait_queue(net.router, QUEUE, "waiting", 0)  # on_late, while the callout still waits
        release.set()
        assert running.wait_for(QUEUE, 2)
        assert (running.count(QUEUE, "block"), parking(running)["waiting"]) == (2, 0)
        assert not handles[0].complete("permit")
        assert proc_queue(net.router, PARKING)["id_sequence"] == 0


def test_a_packet_that_is_lost_on_its_way_frees_its_place(net: Network, tmp_path: Path) -> None:
    entered, release = threading.Event(), threading.Event()

    def watch(c: Any) -> None:
        c.pend()
        entered.set()
        release.wait(5)

    with engine_with(tmp_path, watch) as running:
        open_queues(net, running)
        net.send_udp(net.client, 1, 64, 5000)
        assert wait_queue(net.router, QUEUE, "waiting", 1)
        running.start()
        assert entered.wait(5)
        net.router.run(["ip", "link", "del", "s0"])  # The kernel drops what leaves by it.
        assert wait_queue(net.router, QUEUE, "waiting", 0)
        assert parking(running)["waiting"] == 1
        release.set()
        assert wait_until(lambda: parking(running)["lost"] == 1)
        assert parking(running)["waiting"] == 0
        assert running.engine.progress()[1][0] == "running"


def test_a_parked_packet_whose_interface_goes_away_ends_with_its_verdict(net: Network, tmp_path: Path) -> None:
    park = Parker()
    with engine_with(tmp_path, park) as running:
        open_queues(net, running)
        running.start()
        net.send_udp(net.client, 2, 64, 5000)
        assert wait_queue(net.router, PARKING, "waiting", 2)
        net.router.run(["ip", "link", "del", "s0"])
        assert wait_queue(net.router, PARKING, "waiting", 0)
        assert all(handle.complete("permit") for handle in park.handles.values())
        assert wait_until(lambda: running.engine.counters()["queues"][PARKING]["verdicts_not_found"] == 2)
        assert parking(running)["waiting"] == 0


@pytest.mark.parametrize(("word", "arrive"), [("permit", 4), ("block", 0)])
def test_a_packet_that_nobody_parked_gets_on_error(net: Network, tmp_path: Path, word: str, arrive: int) -> None:
    with (
        engine_with(tmp_path, Parker(), faults=f"{{on_error: {word}}}") as running,
        net.udp_receiver(net.server, 5000) as receiver,
    ):
        open_queues(net, running)
        net.router.run(["iptables", "-t", "mangle", "-F"])
        queue_rule(net.router, PARKING)  # A rule of somebody else.
        net.send_udp(net.client, 4, 64, 5000)
        assert running.wait_for(PARKING, 4)
        assert receiver.wait_for(arrive) and receiver.count == arrive
    assert running.engine.counters()["queues"][PARKING]["strays"] == 4


def test_a_block_with_a_reply_leaves_the_parking_queue_with_its_mark(net: Network, tmp_path: Path) -> None:
    park = Parker()
    with engine_with(tmp_path, park) as running:
        open_queues(net, running)
        net.router.run(["iptables", "-t", "mangle", "-I", "FORWARD", "-j", "MARK", "--set-mark", "0x42"])
        net.router.run(
            ["iptables", "-t", "filter", "-A", "FORWARD", "-m", "mark", "--mark", "0x10000042", "-j", "DROP"]
        )
        running.start()
        net.send_udp(net.client, 3, 64, 5000)
        assert wait_queue(net.router, PARKING, "waiting", 3)
        assert all(handle.complete("block", reply="icmp_unreachable") for handle in park.handles.values())
        assert running.wait_for(PARKING, 3)
        listing = net.router.run(["iptables", "-t", "filter", "-nvxL", "FORWARD"]).stdout
        assert " 3 " in next(line for line in listing.splitlines() if "0x10000042" in line)


def test_a_gso_packet_is_parked_whole(net: Network, tmp_path: Path) -> None:
    sizes: list[int] = []

    def watch(c: Any) -> None:
        sizes.append(len(c.packet))
        c.pend().complete("permit")

    filters = "  - {name: asked, layer: ipforward_v4, action: {callout: watch}, when: {ip_protocol: tcp}}"
    with live(Engine(1, late_after=30), snapshot_of(tmp_path, filters, callouts={"watch": watch})) as running:
        open_queues(net, running, 512)
        running.start()
        data = bytes(range(256)) * 800
        with net.tcp_echo(net.server, 7000):
            assert net.tcp_round_trip(net.client, 7000, data) == data
        assert max(sizes) > 1500
        assert parking(running)["completed"] == len(sizes)
        assert running.engine.counters()["queues"][PARKING]["strays"] == 0


def test_a_modified_packet_cannot_be_parked(net: Network, tmp_path: Path) -> None:
    def watch(c: Any) -> None:
        c.write(28, b"1234")
        c.pend()

    with engine_with(tmp_path, watch, faults="{on_error: block}") as running:
        open_queues(net, running)
        running.start()
        net.send_udp(net.client, 2, 64, 5000)
        assert running.wait_for(QUEUE, 2)
        assert (running.count(QUEUE, "block"), parking(running)["parked"]) == (2, 0)


def test_an_engine_without_a_parking_queue_parks_nothing(net: Network, tmp_path: Path) -> None:
    with engine_with(tmp_path, Parker(), faults="{on_error: block}") as running:
        running.add(net.router, QUEUE)
        queue_rule(net.router, QUEUE)
        running.start()
        net.send_udp(net.client, 2, 64, 5000)
        assert running.wait_for(QUEUE, 2)
        assert running.count(QUEUE, "block") == 2 and running.engine.counters()["parking"] == {}
        with pytest.raises(RuntimeError, match="add_parking"):
            running.engine.run_parking()


def test_wrong_words_are_refused(net: Network, tmp_path: Path) -> None:
    park = Parker()
    with engine_with(tmp_path, park) as running:
        open_queues(net, running)
        running.start()
        net.send_udp(net.client, 1, 64, 5000)
        assert wait_queue(net.router, PARKING, "waiting", 1)
        for verdict, reply in (("drop", None), ("permit", "tcp_reset"), (None, "tcp_reset"), ("block", "shout")):
            with pytest.raises(ValueError, match="permit, block or continue"):
                park.handles[0].complete(verdict, reply=reply)
        with pytest.raises(ValueError, match="there is one"):
            running.engine.add_parking(11, 0, capacity=1)
        with pytest.raises(TypeError, match="pend"):
            ParkedPacket()

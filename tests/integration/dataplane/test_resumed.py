"""Parked packets whose visits go on: later callouts, hits, reloads, limits, and what hangs."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from operator import contains
from pathlib import Path
from typing import Any

import pytest

from tests.integration.dataplane.test_parking import (
    PARKING,
    QUEUE,
    Parker,
    engine_with,
    number_of,
    open_queues,
    parking,
    wait_completed,
)
from tests.integration.live import Live, blocked_port, live, monitor, proc_queue, queue_rule, snapshot_of, wait_queue
from tests.integration.netns import ROUTER, ROUTER_CLIENT4, SERVER, Network, wait_until
from wfpd.callouts.counting import Counting
from wfpd.dataplane._engine import Engine
from wfpd.dataplane._parking import ParkedPacket
from wfpd.dataplane._table import Snapshot
from wfpd.injection.handles import Injections
from wfpd.injection.wire import Order

Callout = Callable[[Any], None]
FILTERS = """  - {name: above, layer: ipforward, sublayer: first, action: {callout: before}, when: {ip_protocol: udp}}
  - {name: asked, layer: ipforward, action: {callout: watch}, when: {ip_protocol: udp}}
  - {name: under, layer: ipforward, sublayer: last, action: {callout: below}, when: {ip_protocol: udp}}"""


class Said:
    """Counts its calls and answers."""

    def __init__(self, answer: Callout = lambda c: c.continue_()) -> None:
        self.n, self.answer = 0, answer

    def __call__(self, c: Any) -> None:
        self.n += 1
        self.answer(c)


def three(tmp_path: Path, before: Any, watch: Callout, below: Any, **words: Any) -> Snapshot:
    """A policy with a callout above and one below that which parks."""
    return snapshot_of(tmp_path, FILTERS, callouts={"before": before, "watch": watch, "below": below}, **words)


def hits(running: Live) -> list[int]:
    """Of the filters of the running policy, in its order."""
    snapshot = running.engine.snapshot
    by_name = {snapshot.filter_name(index): slot for index, slot in enumerate(snapshot.counter_slots())
               if snapshot.filter_info(index)["layer"].endswith("v4")}  # fmt: skip
    return list(running.engine.filter_hits([by_name[name] for name in ("above", "asked", "under")]))


@pytest.mark.parametrize("family", [4, 6])
def test_the_visit_goes_on_where_it_stopped_and_counts_every_hit_once(
    net: Network, tmp_path: Path, family: int
) -> None:
    first, last = Said(), Said(lambda c: c.block() if c.packet[-1] % 2 else c.permit())
    handles: list[ParkedPacket] = []
    policy = three(tmp_path, first, lambda c: handles.append(c.pend()), last)
    with (
        live(Engine(1, late_after=30), policy) as running,
        net.udp_receiver(net.server, 5000, family) as receiver,
    ):
        open_queues(net, running)
        net.router.run(["ip6tables", "-t", "mangle", "-A", "FORWARD", "-p", "udp", "-j", "NFQUEUE", "--queue-num", "3"])
        running.start()
        net.send_udp(net.client, 6, 64, 5000, to=SERVER[family])
        assert wait_until(lambda: len(handles) == 6)
        assert (first.n, last.n) == (6, 0)
        assert all(handle.complete("permit") for handle in handles)
        assert wait_completed(running, 6)
        assert (first.n, last.n, len(handles)) == (6, 6, 6)
        blocked = running.count(PARKING, "block")
        assert receiver.wait_for(6 - blocked)
        if family == 4:
            assert hits(running) == [6, 6, 6]
        counters = running.engine.counters()
        assert (counters["parking"]["completed"], counters["parking"]["bytes"]) == (6, 0)
        assert counters["callout_durations"]["below"]["count"] == 6


def test_a_later_callout_may_park_again_and_the_packet_stays_in_its_queue(net: Network, tmp_path: Path) -> None:
    first, second = Parker(), Parker()
    with (
        live(Engine(1, late_after=30), three(tmp_path, Said(), first, second)) as running,
        net.udp_receiver(net.server, 5000) as receiver,
    ):
        open_queues(net, running)
        running.start()
        net.send_udp(net.client, 3, 64, 5000)
        assert wait_queue(net.router, PARKING, "waiting", 3)
        assert all(handle.complete("permit") for handle in first.handles.values())
        assert wait_until(lambda: parking(running)["again"] == 3)
        assert (proc_queue(net.router, PARKING)["waiting"], parking(running)["waiting"]) == (3, 3)
        assert not first.handles[0].complete("block")
        for number, verdict in ((2, "permit"), (0, "block"), (1, "permit")):
            assert second.handles[number].complete(verdict)
        assert receiver.wait_for(2) and running.wait_for(PARKING, 3)
        assert sorted(number_of(one) for one in receiver.payloads) == [1, 2]
        assert hits(running) == [3, 3, 3]
        assert proc_queue(net.router, PARKING)["id_sequence"] == 3


def test_a_packet_that_is_changed_with_the_answer_or_after_it_arrives_changed(net: Network, tmp_path: Path) -> None:
    packets: list[bytes] = []
    handles: list[ParkedPacket] = []

    def watch(c: Any) -> None:
        packets.append(bytes(c.packet))
        handles.append(c.pend())

    def below(c: Any) -> None:
        c.write(len(c.packet) - 1, b"B")
        c.permit()

    with (
        live(Engine(1, late_after=30), three(tmp_path, Said(), watch, below, faults="{on_error: block}")) as running,
        net.udp_receiver(net.server, 5000) as receiver,
    ):
        open_queues(net, running)
        running.start()
        net.send_udp(net.client, 3, 64, 5000)
        assert wait_queue(net.router, PARKING, "waiting", 3)
        assert handles[0].complete("permit", packet=packets[0][:-2] + b"A?")
        assert handles[1].complete("permit", packet=b"\0" * 20)  # No packet: on_error decides.
        assert handles[2].complete("permit")
        assert running.wait_for(PARKING, 3) and receiver.wait_for(2)
        assert [(number_of(one), one[-2:]) for one in receiver.payloads] == [(0, b"AB"), (2, packets[2][-2:-1] + b"B")]
        assert running.count(PARKING, "block") == 1
        counters = running.engine.counters()
        assert (counters["queues"][PARKING]["modified"], counters["callout_errors"]) == (2, {"watch": 1})


def test_one_parked_packet_holds_up_none_of_a_thousand_others(net: Network, tmp_path: Path) -> None:
    park = Parker(lambda number: number == 0)
    with engine_with(tmp_path, park) as running, net.udp_receiver(net.server, 5000) as receiver:
        open_queues(net, running)
        running.start()
        for _ in range(10):  # In parts that a socket's buffer takes.
            net.send_udp(net.client, 101, 64, 5000)
            assert wait_queue(net.router, QUEUE, "waiting", 0)
        # Each part's number 0 is parked; all others arrive while they are.
        assert receiver.wait_for(1000)
        assert {number_of(one) for one in receiver.payloads} == set(range(1, 101))
        assert parking(running)["waiting"] == 10
        assert park.handles[0].complete("permit")
        assert receiver.wait_for(1001) and number_of(receiver.payloads[-1]) == 0


def test_a_callout_that_hangs_in_a_visit_that_goes_on_keeps_no_other_packet(net: Network, tmp_path: Path) -> None:
    parks, entered, release = Parker(), threading.Event(), threading.Event()

    def below(c: Any) -> None:
        if number_of(c.payload) == 0:
            entered.set()
            release.wait(10)
        c.permit()

    policy = three(tmp_path, Said(), parks, below, faults="{on_late: permit}")
    with (
        live(Engine(1, late_after=0.5), policy) as running,
        monitor(running.engine),
        net.udp_receiver(net.server, 5000) as receiver,
    ):
        open_queues(net, running)
        running.start()
        net.send_udp(net.client, 4, 64, 5000)
        assert wait_queue(net.router, PARKING, "waiting", 4)
        assert parks.handles[0].complete("permit")
        assert entered.wait(5)
        parks.handles[1].complete("block")  # Decided, but its visit cannot go on.
        assert receiver.wait_for(4)  # on_late, while the callout still hangs
        assert proc_queue(net.router, PARKING)["waiting"] == 0
        parks.parks = lambda number: number == 0
        net.send_udp(net.client, 3, 64, 5000)
        assert receiver.wait_for(6)
        parks.handles[0].complete("permit")
        release.set()
        assert running.wait_for(PARKING, 4)
        counters = running.engine.counters()
        assert counters["parking"]["late"] >= 4
    assert running.count(PARKING, "permit") == 5


@pytest.mark.parametrize(("filters", "callout", "arrive", "asked"), [
    (FILTERS, "same", 3, 0),  # What was said stands.
    (FILTERS, "other", 0, 3),  # It is another callout's to say.
    (blocked_port(5000), "same", 0, 0),  # The filter is gone: the new policy decides.
    (blocked_port(9), "same", 3, 0),
    (FILTERS, "none", 0, 0),  # The callout is gone: its filter blocks.
    ("  - {name: asked, layer: ipforward, action: permit}", "same", 3, 0),
], ids=["same", "other", "blocked", "gone", "unregistered", "no-callout"])  # fmt: skip
def test_a_reload_between_pend_and_complete(
    net: Network, tmp_path: Path, filters: str, callout: str, arrive: int, asked: int
) -> None:
    parks, before, other = Parker(), Said(), Said(lambda c: c.block())
    with (
        live(Engine(1, late_after=30), three(tmp_path, before, parks, Said())) as running,
        net.udp_receiver(net.server, 5000) as receiver,
    ):
        open_queues(net, running)
        running.start()
        net.send_udp(net.client, 3, 64, 5000)
        assert wait_queue(net.router, PARKING, "waiting", 3)
        more = "  - {name: new, layer: ipforward, action: permit, when: {ip_protocol: 99}, weight: 7}\n"
        watch: Any = {"same": parks, "other": other, "none": None}[callout]
        callouts = {"before": before, "watch": watch, "below": Said()} if filters is FILTERS else {}
        new = snapshot_of(tmp_path, more + filters, callouts=callouts, generation=2, previous=running.engine.snapshot)
        assert running.engine.swap(new)
        assert all(handle.complete("permit") for handle in parks.handles.values())
        assert running.wait_for(PARKING, 3)
        assert receiver.wait_for(arrive) and receiver.count == arrive
        assert (before.n, other.n, len(parks.handles)) == (3, asked, 3)
        if callout == "same" and filters is FILTERS:
            assert hits(running) == [3, 3, 3]
    assert {event["generation"] for event in running.engine.drain_events()} <= {2}


def test_the_bytes_of_parked_packets_are_capped(net: Network, tmp_path: Path) -> None:
    park = Parker()
    with engine_with(tmp_path, park, faults="{on_error: block}") as running:
        running.add(net.router, QUEUE)
        running.add_parking(net.router, PARKING, 64, memory=250)
        net.router.run(["iptables", "-t", "mangle", "-A", "FORWARD", "-j", "NFQUEUE", "--queue-num", str(QUEUE)])
        running.start()
        net.send_udp(net.client, 5, 64, 5000)  # 92 bytes each
        assert running.wait_for(QUEUE, 3)
        assert (parking(running)["bytes"], parking(running)["waiting"], parking(running)["refused"]) == (184, 2, 3)
        assert running.engine.counters()["callout_errors"] == {"watch": 3}
        assert park.handles[0].complete("permit")
        assert wait_until(lambda: parking(running)["bytes"] == 92)
        net.send_udp(net.client, 1, 64, 5000)
        assert wait_until(lambda: parking(running)["waiting"] == 2)


def test_a_stop_decides_what_is_parked_in_a_visit_that_goes_on(net: Network, tmp_path: Path) -> None:
    first = Said(lambda c: c.pend().complete("permit"))
    with (
        live(Engine(1, late_after=30), three(tmp_path, Said(), first, Parker(), faults="{on_late: permit}")) as running,
        net.udp_receiver(net.server, 5000) as receiver,
    ):
        open_queues(net, running)
        running.start()
        net.send_udp(net.client, 12, 64, 5000)
        assert wait_until(lambda: parking(running)["again"] == 12)
        net.router.run(["iptables", "-t", "mangle", "-F"])
        running.engine.stop()
        for thread in running.threads:
            thread.join(5)
            assert not thread.is_alive()
        assert receiver.wait_for(12) and proc_queue(net.router, PARKING)["waiting"] == 0
    assert parking(running)["late"] == 12


def test_a_callout_that_parks_again_and_raises_has_raised(net: Network, tmp_path: Path) -> None:
    told: list[tuple[bool, bool]] = []

    def below(c: Any) -> None:
        handle = c.pend()
        # Told while the visit is not over: its ticket is still there.
        c.on_error = lambda name, error: told.append((handle.waits, handle.complete("permit")))
        raise ValueError

    first = Said(lambda c: c.pend().complete("permit"))
    with live(Engine(1, late_after=30), three(tmp_path, Said(), first, below, faults="{on_error: block}")) as running:
        open_queues(net, running)
        running.start()
        net.send_udp(net.client, 3, 64, 5000)
        assert running.wait_for(PARKING, 3)
        assert (running.count(PARKING, "block"), parking(running)["again"], parking(running)["waiting"]) == (3, 0, 0)
    assert told == [(False, False)] * 3


def test_compiled_callouts_are_asked_once_before_and_once_after(net: Network, tmp_path: Path) -> None:
    parks, before, below = Parker(), Counting(), Counting(answer="permit")
    with (
        live(Engine(1, late_after=30), three(tmp_path, before, parks, below)) as running,
        net.udp_receiver(net.server, 5000) as receiver,
    ):
        open_queues(net, running)
        running.start()
        net.send_udp(net.client, 40, 64, 5000)
        assert wait_queue(net.router, PARKING, "waiting", 40)
        assert (before.packets, below.packets) == (40, 0)
        assert all(handle.complete("block") for handle in parks.handles.values())
        assert receiver.wait_for(40)
        assert (before.packets, below.packets, len(parks.handles)) == (40, 40, 40)
        assert hits(running) == [40, 40, 40]


@pytest.mark.parametrize("layer", ["inbound_transport", "ale_auth_recv_accept"])
def test_handles_that_nobody_needs_are_let_go(net: Network, tmp_path: Path, layer: str) -> None:
    def watch(c: Any) -> None:
        c.pend().complete("permit")

    filters = f"  - {{name: asked, layer: {layer}, action: {{callout: watch}}, when: {{ip_protocol: udp}}}}"
    policy = snapshot_of(tmp_path, filters, callouts={"watch": watch})
    held = sys.getrefcount(watch)
    with live(Engine(1, late_after=30), policy) as running:
        running.add(net.router, QUEUE, hook="input")
        running.add_parking(net.router, PARKING)
        queue_rule(net.router, QUEUE, "-p", "udp", chain="INPUT")
        running.start()
        for port in (5000, 5001, 5002):
            net.send_udp(net.client, 1, 64, port, to=ROUTER_CLIENT4)
        assert wait_completed(running, 3)
        running.engine.enforce_late()
        assert sys.getrefcount(watch) == held


class Injects(Said):
    """Injects a packet whenever it is asked."""

    injects = True


def test_a_callout_asked_in_the_visit_that_goes_on_may_inject(net: Network, tmp_path: Path) -> None:
    orders: list[Order] = []
    first, last = Parker(), Injects(lambda c: c.inject(bytes(c.packet)) and c.permit())
    engine = Engine(1, late_after=30)
    engine.set_injections(Injections(orders.append))  # The parking queue comes later, as at the daemon's start.
    with (
        live(engine, three(tmp_path, Said(), first, last)) as running,
        net.udp_receiver(net.server, 5000) as receiver,
    ):
        open_queues(net, running)
        running.start()
        net.send_udp(net.client, 1, 64, 5000)
        assert wait_queue(net.router, PARKING, "waiting", 1)
        assert first.handles[0].complete("permit")
        assert wait_completed(running, 1)
        assert (running.engine.callout_errors(), len(orders)) == ({}, 1)
        assert receiver.wait_for(1)


class Keeps(Said):
    """Keeps something with every flow that its packet would make."""

    number = 1

    def __init__(self) -> None:
        super().__init__(lambda c: c.set_flow_context("datagram_data", number_of(c.packet[28:32])))
        self.ended: list[int] = []

    def flow_delete(self, flow: Any) -> None:
        self.ended.append(flow.context)


KEEPS = """  - {name: above, layer: inbound_transport, sublayer: first, action: {callout: keeps}}
  - {name: asked, layer: inbound_transport, action: {callout: watch}}
  - {name: flows, layer: ale_auth_recv_accept, action: permit}
  - {name: under, layer: datagram_data, action: {callout: below}}"""


def test_what_is_kept_with_a_flow_ends_where_another_packet_makes_it_and_the_first_is_parked_again(
    net: Network, tmp_path: Path
) -> None:
    keeps, first, last = Keeps(), Parker(), Parker()
    policy = snapshot_of(tmp_path, KEEPS, callouts={"keeps": keeps, "watch": first, "below": last})
    with live(Engine(1, late_after=30), policy) as running:
        running.add(net.router, QUEUE, hook="input")
        running.add_parking(net.router, PARKING)
        queue_rule(net.router, QUEUE, "-p", "udp", chain="INPUT")
        running.start()
        net.send_udp(net.client, 2, 64, 5000, to=ROUTER_CLIENT4)
        assert wait_queue(net.router, PARKING, "waiting", 2)
        for done, number in enumerate((1, 0), 1):
            assert first.handles[number].complete("permit")
            assert wait_until(partial(contains, last.handles, number))
            assert last.handles[number].complete("permit")
            assert wait_completed(running, done)
        running.engine.tend_flow_contexts()
        assert (keeps.ended, running.engine.counters()["flow_contexts"]["used"]) == ([0], 1)


def test_a_slice_that_a_callout_keeps_in_the_visit_that_goes_on_stays_what_it_was(net: Network, tmp_path: Path) -> None:
    kept: list[tuple[memoryview, bytes]] = []
    first, last = Parker(), Said(lambda c: kept.append((c.packet[:], bytes(c.packet))))
    with live(Engine(1, late_after=30), three(tmp_path, Said(), first, last)) as running:
        open_queues(net, running)
        running.start()
        net.send_udp(net.client, 8, 64, 5000)
        assert wait_queue(net.router, PARKING, "waiting", 8)
        assert all(handle.complete("permit") for handle in first.handles.values())
        assert wait_completed(running, 8)
        assert [bytes(part) == copy for part, copy in kept] == [True] * 8


AUTHORIZED = """  - {name: asked, layer: ale_auth_recv_accept, action: {callout: watch}}
  - {name: above, layer: datagram_data, sublayer: first, action: permit}
  - {name: under, layer: datagram_data, sublayer: last, action: permit}"""


def test_layers_behind_an_authorization_that_is_not_needed_any_more_count(net: Network, tmp_path: Path) -> None:
    watch = Parker()
    with live(Engine(1, late_after=30), snapshot_of(tmp_path, AUTHORIZED, callouts={"watch": watch})) as running:
        running.add(net.router, QUEUE, hook="input")
        running.add_parking(net.router, PARKING)
        queue_rule(net.router, QUEUE, "-p", "udp", chain="INPUT")
        running.start()
        net.send_udp(net.client, 3, 64, 5000, to=ROUTER_CLIENT4)  # Two wait with the first, whose flow is theirs then.
        assert wait_queue(net.router, PARKING, "waiting", 3)
        assert watch.handles[0].complete("permit")
        assert wait_completed(running, 3)
        assert hits(running) == [3, 3, 3]


STREAM = """  - {name: flows, layer: ale_auth_connect, action: permit}
  - {name: above, layer: stream, action: {callout: shown}}
  - {name: asked, layer: outbound_transport, action: {callout: watch}}"""


def test_the_stream_of_a_flow_that_the_packet_is_about_to_make_waits_with_it(net: Network, tmp_path: Path) -> None:
    shown: list[tuple[int, bytes]] = []
    handles: list[ParkedPacket] = []
    show, wait = lambda c: shown.append((c.stream_offset, bytes(c.stream))), lambda c: handles.append(c.pend())
    policy = snapshot_of(tmp_path, STREAM, callouts={"shown": show, "watch": wait})
    with (
        contextlib.closing(net.server.call(lambda: socket.create_server((SERVER[4], 5000)))) as listening,
        contextlib.closing(net.router.call(lambda: socket.create_connection((SERVER[4], 5000), 5))) as ours,
        contextlib.closing(listening.accept()[0]) as theirs,
        live(Engine(1, late_after=30), policy) as running,
    ):
        running.add(net.router, QUEUE, hook="output")
        running.add_parking(net.router, PARKING)
        queue_rule(net.router, QUEUE, "-p", "tcp", chain="OUTPUT")
        running.start()
        ours.sendall(b"hello")  # The flow was there before: this is its first packet that is seen.
        assert wait_until(lambda: len(handles) == 1)
        assert handles[0].complete("permit") and wait_completed(running, 1)
        theirs.settimeout(5)
        assert theirs.recv(5, socket.MSG_WAITALL) == b"hello"
        assert shown == [(0, b"hello")]


BUSY = """  - {name: flows, layer: ale_auth_recv_accept, action: permit}
  - {name: asked, layer: inbound_transport, action: {callout: watch}, when: {ip_protocol: tcp}}
  - {name: above, layer: stream, action: {callout: shown}}"""


def test_a_visit_that_goes_on_too_late_lets_go_of_its_stream_at_once(net: Network, tmp_path: Path) -> None:
    handles: list[ParkedPacket] = []

    def watch(c: Any) -> None:
        if bytes(c.payload[:4]) == b"slow" and not handles:
            handles.append(c.pend())
        else:
            c.permit()

    def shown(c: Any) -> None:
        if bytes(c.stream[:4]) == b"slow":
            time.sleep(0.7)  # Too late for the packet, and for every copy of it that the sender makes meanwhile.
        c.permit()

    policy = snapshot_of(tmp_path, BUSY, callouts={"watch": watch, "shown": shown}, faults="{on_late: permit}")
    with (
        contextlib.closing(net.router.call(lambda: socket.create_server((ROUTER_CLIENT4, 5000)))) as listening,
        live(Engine(1, late_after=0.5), policy) as running,
    ):
        running.add(net.router, QUEUE, hook="input")
        running.add_parking(net.router, PARKING)
        queue_rule(net.router, QUEUE, "-p", "tcp", chain="INPUT")
        running.start()
        with (
            contextlib.closing(net.client.call(lambda: socket.create_connection((ROUTER_CLIENT4, 5000), 5))) as theirs,
            contextlib.closing(listening.accept()[0]) as ours,
        ):
            ours.settimeout(5)
            theirs.sendall(b"slow")
            assert wait_until(lambda: len(handles) == 1)
            assert handles[0].complete("permit")
            assert ours.recv(4, socket.MSG_WAITALL) == b"slow"  # On_late lets it go.
            theirs.sendall(b"next")
            assert ours.recv(4, socket.MSG_WAITALL) == b"next"


def test_a_packet_like_one_whose_call_goes_on_is_not_taken_for_it(net: Network, tmp_path: Path) -> None:
    """Two workers get the same datagram; that of the first waits, and its call goes on while the other one arrives."""
    other = threading.Event()
    handles: list[ParkedPacket] = []

    class Keeping(Said):
        number = 1

        def __init__(self) -> None:
            super().__init__(self.wait)
            self.ended: list[int] = []

        def wait(self, c: Any) -> None:
            first = not handles
            c.set_flow_context("datagram_data", len(handles) + 1)
            handles.append(c.pend())
            if not first:
                other.set()
                return
            assert other.wait(5)
            wait_until(lambda: proc_queue(net.router, PARKING)["waiting"] == 1)
            handles[0].complete("block")
            wait_until(lambda: parking(running)["completed"] == 1, 0.5)  # It has not come: its call goes on.

        def flow_delete(self, flow: Any) -> None:
            self.ended.append(flow.context)

    policy = snapshot_of(tmp_path, KEEPS.replace("above", "above-all"), callouts={
        "keeps": lambda c: c.continue_(), "watch": (keeps := Keeping()), "below": lambda c: c.permit()})  # fmt: skip
    with live(Engine(2, late_after=30), policy) as running:
        for worker in (0, 1):
            running.add(net.router, QUEUE + worker, worker, hook="input")
        running.add_parking(net.router, PARKING)
        append = ["ip6tables", "-t", "mangle", "-A", "INPUT", "-p", "udp", "--dport", "5000"]
        every_other = ["-m", "statistic", "--mode", "nth", "--every", "2", "--packet", "0"]
        net.router.run([*append, *every_other, "-j", "NFQUEUE", "--queue-num", str(QUEUE)])
        net.router.run([*append, "-j", "NFQUEUE", "--queue-num", str(QUEUE + 1)])
        running.start()
        with net.client.socket(socket.AF_INET6) as sock:
            for _ in range(2):
                sock.sendto(b"the same", (ROUTER[6], 5000))
        assert wait_until(lambda: len(handles) == 2) and wait_queue(net.router, PARKING, "waiting", 1)
        assert handles[1].complete("block")
        assert wait_completed(running, 2)
        running.engine.tend_flow_contexts()
        assert (sorted(keeps.ended), running.engine.counters()["flow_contexts"]["used"]) == ([1, 2], 0)

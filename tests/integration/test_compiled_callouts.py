"""Compiled callouts and time budgets on real queues."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.integration.live import all_to_callout, live, monitor, proc_queue, queue_rule, snapshot_of, wait_queue
from tests.integration.netns import SERVER4, Network, wait_until
from tests.integration.running import Wfpd
from wfpd.callouts._told import Chooses, Told
from wfpd.callouts.counting import Counting
from wfpd.callouts.registered import Registered
from wfpd.dataplane._budget import Watch
from wfpd.dataplane._engine import Engine
from wfpd.model.layers import LAYER
from wfpd.model.policy import Budget, Callout

MILLISECOND = 1_000_000
FIRST = (
    "  - {name: first, layer: ipforward_v4, sublayer: first, action: {callout: first, kind: unknown}, "
    "when: {ip_protocol: udp}}\n"
)
"""Asks another callout before all_to_callout()."""


class Asleep:
    """A Python callout that takes its time."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def classify(self, c: Any) -> None:
        time.sleep(self.seconds)
        c.permit()


def budgeted(made: Any, **members: int) -> Registered:
    """A callout with a budget."""
    one = Registered(Callout("watch", uuid.UUID(int=1), "tests:made", {}, budget=Budget(**members)), made)
    one.watch = Watch()
    return one


def slow(native: bool, seconds: float) -> Any:
    return Counting(answer="permit", seconds=seconds) if native else Asleep(seconds)


def test_a_compiled_callout_is_asked_about_every_packet(net: Network, tmp_path: Path) -> None:
    counting = Counting(answer="permit")
    with live(Engine(1), snapshot_of(tmp_path, all_to_callout(), callouts={"watch": counting})) as running:
        running.add(net.router, 3)
        queue_rule(net.router, 3)
        running.start()
        with net.udp_receiver(net.server, 5000) as receiver:
            net.send_udp(net.client, 500, 64, 5000)
            assert receiver.wait_for(500)
        assert (counting.packets, counting.octets) == (500, 500 * (64 + 28))
        assert running.engine.counters()["callout_durations"]["watch"]["count"] == 1  # Every 1,024th is timed.


def test_every_call_of_a_compiled_callout_is_counted(net: Network, tmp_path: Path) -> None:
    """Of two workers, and at a discard layer, over a change of the policy; not what a suspension spares."""
    twin = "  - {name: seen, layer: ipforward_v4_discard, action: {callout: twin}}\n"
    owners = {
        name: Registered(Callout(name, uuid.UUID(int=at), "tests:made", {}), made)
        for at, (name, made) in enumerate({"watch": Counting(answer="block"), "twin": Counting()}.items())
    }
    made = {name: item.instance for name, item in owners.items()}
    with live(Engine(2), snapshot_of(tmp_path, twin + all_to_callout(), callouts=dict(owners))) as running:
        assert running.engine.callout_calls() == {"watch": 0, "twin": 0}
        for number in (3, 4):
            running.add(net.router, number, worker=number - 3)
        queue_rule(net.router, 3, "-p", "udp", "--dport", "5000")
        queue_rule(net.router, 4)
        running.start()
        net.send_udp(net.client, 30, 64, 5000)
        net.send_udp(net.client, 20, 64, 5001)
        assert running.wait_for(3, 30) and running.wait_for(4, 20)
        assert running.engine.callout_calls() == {"watch": 50, "twin": 50}
        running.engine.swap(snapshot_of(tmp_path, all_to_callout(), callouts={"watch": owners["watch"]}, generation=2))
        net.send_udp(net.client, 7, 64, 5000)
        assert running.wait_for(3, 37)
        assert running.engine.callout_calls() == {"watch": made["watch"].packets} == {"watch": 57}


def test_a_compiled_callouts_block_blocks_and_its_failures_are_counted(net: Network, tmp_path: Path) -> None:
    filters = FIRST + all_to_callout()
    callouts = {"first": Counting(answer="fail"), "watch": Counting(answer="block")}
    policy = snapshot_of(tmp_path, filters, callouts=callouts, faults="{on_error: permit}")
    with live(Engine(1), policy) as running:
        running.add(net.router, 3)
        queue_rule(net.router, 3)
        running.start()
        net.send_udp(net.client, 40, 64, 5000)
        assert running.wait_for(3, 40)
        assert running.count(3, "block") == 40
        assert running.engine.callout_errors() == running.engine.counters()["callout_errors"] == {"first": 40}


def test_a_compiled_callout_keeps_a_context_with_a_live_flow_and_writes(net: Network, tmp_path: Path) -> None:
    layer = LAYER["inbound_transport"].index
    told = Told(kind=1, steps=[("set", layer, 77), ("write", 28, b"N")])

    class Owner:
        native, modifies = told.native, True

    flows = "  - {name: flows, layer: ale_auth_recv_accept_v4, action: permit}\n"
    filters = flows + "  - {name: ask, layer: inbound_transport_v4, action: {callout: watch, kind: unknown}}\n"
    item = Registered(Callout("watch", uuid.UUID(int=1), "tests:made", {}), Owner())
    with live(Engine(1), snapshot_of(tmp_path, filters, callouts={"watch": item})) as running:
        running.add(net.server, 3, hook="input")
        queue_rule(net.server, 3, "-p", "udp", chain="INPUT")
        running.start()
        with net.udp_receiver(net.server, 5000) as receiver, net.client.socket() as sock:
            for _ in range(2):
                sock.sendto(b"no", (SERVER4, 5000))
            assert receiver.wait_for(2)
            assert [bytes(one) for one in receiver.payloads] == [b"No", b"No"]
        flow = told.call()["flow_id"]
        assert (told.call()["flow_context"], told.statuses, told.ended) == (77, [12, 0], [])
        assert running.engine.tend_flow_contexts() == 0
        running.engine.swap(snapshot_of(tmp_path, flows, generation=2))
        assert running.engine.tend_flow_contexts() == 0 and told.ended == [(flow, 77)]


def received(listener: socket.socket, into: bytearray) -> None:
    """What comes by the first connection, until it ends or nothing comes for long."""
    connection, _ = listener.accept()
    with connection:
        connection.settimeout(10)
        while data := connection.recv(4096):
            into.extend(data)


def test_what_a_compiled_callout_defers_arrives_after_a_thread_has_resumed_it(net: Network, tmp_path: Path) -> None:
    told, data = Told(kind=7), bytearray()
    filters = "  - {name: look, layer: stream_v4, action: {callout: watch, kind: unknown}, when: {ip_local_port: 7000}}"
    with live(Engine(1), snapshot_of(tmp_path, filters, callouts={"watch": told})) as running:
        running.add(net.server, 3, hook="input")
        queue_rule(net.server, 3, "-p", "tcp", chain="INPUT")
        running.start()
        with (
            net.server.socket(socket.AF_INET, socket.SOCK_STREAM) as listener,
            net.client.socket(socket.AF_INET, socket.SOCK_STREAM) as sock,
        ):
            listener.bind(("", 7000))
            listener.listen()
            reader = threading.Thread(target=received, args=(listener, data), daemon=True)
            reader.start()
            sock.settimeout(5)
            sock.connect((SERVER4, 7000))
            sock.sendall(b"later")
            assert wait_until(lambda: running.count(3, "block") >= 2)  # It comes again, and nobody is asked.
            assert (told.calls, told.call()["stream"], bytes(data)) == (1, b"later", b"")
            told.say(kind=1)
            assert told.resume() and not told.resume()
            assert wait_until(lambda: bytes(data) == b"later", 5.0)
            sock.close()
            reader.join(10)
        assert running.engine.callout_errors() == {}


class Pended:
    """A compiled callout that pends, and keeps the handles."""

    parks = modifies = True

    def __init__(self) -> None:
        self.told = Told(kind=8)
        self.native = self.told.native
        self.handles: list[Any] = []
        self.packets: list[bytes] = []

    def pended(self, c: Any, handle: Any) -> None:
        self.packets.append(bytes(c.packet))
        self.handles.append(handle)


@pytest.mark.parametrize("budget", [False, True], ids=["no budget", "a budget"])
def test_what_a_compiled_callout_pends_waits_outside_the_queue_until_it_is_completed(
    net: Network, tmp_path: Path, budget: bool
) -> None:
    c = Pended()
    item = Registered(Callout("watch", uuid.UUID(int=1), "tests:made", {}), c)
    if budget:
        item = budgeted(c, time_ns=3600 * 10**9, times=1)
    filters = all_to_callout(kind="unknown").replace("udp}", "udp, ip_destination_port: 6000}")
    policy = snapshot_of(tmp_path, filters, callouts={"watch": item}, faults="{on_late: block, on_error: block}")
    with live(Engine(1, late_after=10.0), policy) as running:
        running.add(net.router, 3)
        running.add_parking(net.router, 9)
        queue_rule(net.router, 3)
        with net.udp_receiver(net.server, 6000) as waits, net.udp_receiver(net.server, 5000) as goes:
            net.send_udp(net.client, 4, 64, 6000)
            net.send_udp(net.client, 4, 64, 5000)
            assert wait_queue(net.router, 3, "waiting", 8)  # Of one batch.
            running.start()
            assert goes.wait_for(4) and wait_until(lambda: len(c.handles) == 4)
            assert waits.count == 0
            assert c.handles[0].complete("permit") and c.handles[1].complete("block")
            c.told.say(kind=1)
            assert c.handles[2].complete() and c.handles[3].complete("continue", packet=c.packets[3][:-1] + b"!")
            assert waits.wait_for(3)
            assert sorted((one[3], one[-1:]) for one in waits.payloads) == [(0, b"\0"), (2, b"\0"), (3, b"!")]
        assert c.told.calls == 5 and running.engine.callout_calls()["watch"] == 5
        found = running.engine.counters()["parking"]
        assert (found["parked"], found["completed"], found["late"], found["waiting"]) == (4, 4, 0, 0)
        assert running.engine.callout_errors() == {}


@pytest.mark.parametrize("order", ["compiled first", "Python first"])
def test_compiled_and_python_callouts_are_asked_in_one_visit(net: Network, tmp_path: Path, order: str) -> None:
    counting, seen = Counting(), []

    def classify(c: Any) -> None:
        seen.append(c.filter)
        c.permit()

    names = ("first", "watch") if order == "compiled first" else ("watch", "first")
    callouts: dict[str, Any] = {names[0]: counting, names[1]: classify}
    if order == "Python first":
        callouts[names[1]] = lambda c: seen.append(c.filter)
        callouts[names[0]] = counting = Counting(answer="permit")
    with live(Engine(1), snapshot_of(tmp_path, FIRST + all_to_callout(), callouts=callouts)) as running:
        running.add(net.router, 3)
        queue_rule(net.router, 3)
        with net.udp_receiver(net.server, 5000) as receiver:
            net.send_udp(net.client, 200, 64, 5000)  # Before the start: whole batches.
            running.start()
            assert receiver.wait_for(200)
        assert counting.packets == len(seen) == 200


@pytest.mark.parametrize("native", [True, False], ids=["compiled", "Python"])
def test_a_hanging_callout_stops_its_own_queue_only_and_its_packets_get_on_late(
    net: Network, tmp_path: Path, native: bool
) -> None:
    callout = budgeted(slow(native, 3.0), time_ns=MILLISECOND, times=1000, suspend_ns=3600 * 10**9)
    watch: Any = callout.watch
    filters = all_to_callout().replace("udp}", "udp, ip_destination_port: 6000}")
    policy = snapshot_of(tmp_path, filters, callouts={"watch": callout}, faults="{on_late: permit, on_error: permit}")
    engine = Engine(2, late_after=0.1)
    with live(engine, policy) as running, monitor(engine):
        running.add(net.router, 3, worker=0)
        running.add(net.router, 4, worker=1)
        queue_rule(net.router, 3, "-p", "udp", "--dport", "6000", "-m", "length", "--length", "92")
        queue_rule(net.router, 4)
        running.start()
        with net.udp_receiver(net.server, 6000) as hung, net.udp_receiver(net.server, 5000) as other:
            net.send_udp(net.client, 1, 64, 6000)
            assert hung.wait_for(1)  # By on_late: the callout still runs.
            assert running.count(3, "permit") == 0
            assert wait_until(lambda: watch.counters()["suspended"])
            net.send_udp(net.client, 50, 64, 5000)
            net.send_udp(net.client, 50, 65, 6000)  # To the other queue: they would walk into it too.
            assert other.wait_for(50) and hung.wait_for(51)
            assert running.count(3, "permit") == 0
        assert running.wait_for(3, 1, 10.0)
        assert running.engine.counters()["queues"][3]["late"] == 1
        found = watch.counters()
        assert (found["suspensions"], found["skipped"]) == (1, 50)


@pytest.mark.parametrize(("word", "arrive"), [("permit", 9), ("block", 4)])
def test_packets_behind_a_compiled_callout_that_hangs_get_on_late_and_those_before_it_their_own(
    net: Network, tmp_path: Path, word: str, arrive: int
) -> None:
    filters = all_to_callout().replace("udp}", "udp, ip_destination_port: 6000}")
    made = Counting(answer="permit" if word == "block" else "block", seconds=1.5)
    policy = snapshot_of(tmp_path, filters, callouts={"watch": made}, faults=f"{{on_late: {word}}}")
    with live(Engine(1, late_after=0.05), policy) as running, monitor(running.engine):
        running.add(net.router, 3)
        queue_rule(net.router, 3, "-p", "udp")
        with net.udp_receiver(net.server, 5000) as receiver, net.udp_receiver(net.server, 6000) as hung:
            net.send_udp(net.client, 4, 64, 5000)
            net.send_udp(net.client, 1, 64, 6000)
            net.send_udp(net.client, 4, 64, 5000)
            assert wait_queue(net.router, 3, "waiting", 9)
            running.start()
            assert wait_until(lambda: proc_queue(net.router, 3)["waiting"] == 0)
            assert running.engine.progress() == [("running", 0)]  # It hangs, in its first batch.
            assert running.wait_for(3, 9)
            assert made.packets == 1
            assert wait_until(lambda: receiver.count + hung.count == arrive)
        counters = running.engine.counters()["queues"][3]
        assert (counters["late"], counters["verdicts_refused"], counters["verdicts_not_found"]) == (5, 0, 0)


def test_a_compiled_callout_of_a_discard_twin_that_hangs_leaves_the_block_as_it_is(
    net: Network, tmp_path: Path
) -> None:
    filters = (
        "  - {name: no, layer: ipforward_v4, action: block, when: {ip_protocol: udp}}\n"
        "  - {name: seen, layer: ipforward_v4_discard, action: {callout: watch}}"
    )
    made = Counting(seconds=0.5)
    policy = snapshot_of(tmp_path, filters, callouts={"watch": made}, faults="{on_late: permit}")
    with live(Engine(1, late_after=0.05), policy) as running, monitor(running.engine):
        running.add(net.router, 3)
        queue_rule(net.router, 3)
        with net.udp_receiver(net.server, 5000) as receiver:
            net.send_udp(net.client, 1, 64, 5000)
            running.start()
            assert wait_until(lambda: made.packets == 1)
            assert wait_until(lambda: proc_queue(net.router, 3)["waiting"] == 0)
            assert running.wait_for(3, 1)
            assert receiver.count == 0
        assert running.count(3, "block") == 1
        assert running.engine.counters()["queues"][3]["late"] == 0


@pytest.mark.parametrize("native", [True, False], ids=["compiled", "Python"])
@pytest.mark.parametrize(("word", "arrive"), [("permit", 20), ("block", 4)])
def test_a_callout_over_its_budget_is_suspended_and_on_error_decides(
    net: Network, tmp_path: Path, native: bool, word: str, arrive: int
) -> None:
    callout = budgeted(slow(native, 0.002), time_ns=MILLISECOND, times=4, suspend_ns=3600 * 10**9)
    policy = snapshot_of(tmp_path, all_to_callout(), callouts={"watch": callout}, faults=f"{{on_error: {word}}}")
    with live(Engine(1), policy) as running:
        running.add(net.router, 3)
        queue_rule(net.router, 3)
        running.start()
        with net.udp_receiver(net.server, 5000) as receiver:
            net.send_udp(net.client, 20, 64, 5000)
            assert running.wait_for(3, 20) and receiver.wait_for(arrive)
            assert receiver.count == arrive
        found = running.engine.counters()["callout_watches"]["watch"]
        assert found["suspended"] and (found["suspensions"], found["overruns"], found["skipped"]) == (1, 4, 16)
        assert running.engine.callout_calls() == {"watch": 4}
        assert running.engine.counters()["callout_errors"] == {}


@pytest.mark.parametrize("native", [True, False], ids=["compiled", "Python"])
def test_a_quick_probe_ends_the_suspension(net: Network, tmp_path: Path, native: bool) -> None:
    if native:
        made: Any = Counting(answer="permit", seconds=0.05)
        quick: Any = Counting(answer="permit")
    else:
        made, quick = Asleep(0.05), Asleep(0)
    members = {"time_ns": 20 * MILLISECOND, "times": 1, "suspend_ns": 100 * MILLISECOND}
    callout = budgeted(made, **members)
    healed = budgeted(quick, **members)
    healed.watch = callout.watch
    policy = snapshot_of(tmp_path, all_to_callout(), callouts={"watch": callout})
    with live(Engine(1), policy) as running:
        running.add(net.router, 3)
        queue_rule(net.router, 3, "-p", "udp")
        running.start()
        net.send_udp(net.client, 1, 64, 5000)
        assert running.wait_for(3, 1)
        watch: Any = callout.watch
        assert watch.counters()["suspended"]
        # A reload brings the callout mended: the suspension goes on until the probe.
        running.engine.swap(snapshot_of(tmp_path, all_to_callout(), callouts={"watch": healed}, generation=2))
        assert watch.counters()["suspended"]
        time.sleep(0.12)
        net.send_udp(net.client, 1, 64, 5000)
        assert running.wait_for(3, 2)
        found = watch.counters()
        assert (found["suspended"], found["probes"], found["suspensions"], found["skipped"]) == (False, 1, 1, 0)


class Dozes(Chooses):
    """Its Python half, asked about what begins with 9, takes its time."""

    def classify(self, c: Any) -> None:
        time.sleep(0.06)
        c.permit()


def test_a_probe_that_is_left_to_python_is_pythons_call(net: Network, tmp_path: Path) -> None:
    callout = budgeted(Dozes(), time_ns=30 * MILLISECOND, times=1, suspend_ns=100 * MILLISECOND)
    watch: Any = callout.watch
    with live(Engine(1), snapshot_of(tmp_path, all_to_callout(), callouts={"watch": callout})) as running:
        running.add(net.router, 3)
        queue_rule(net.router, 3, "-p", "udp")
        running.start()
        with net.client.socket() as sock:
            for number, data in enumerate((b"9 slow", b"9 probe", b"1 probe"), 1):
                sock.sendto(data, (SERVER4, 5000))
                assert running.wait_for(3, number)
                assert watch.counters()["suspended"] is (data != b"1 probe")
                time.sleep(0.15)
        found = watch.counters()
        assert (found["probes"], found["suspensions"], found["overruns"], found["skipped"]) == (2, 1, 2, 0)


def test_the_daemon_says_that_a_callout_is_suspended(net: Network, tmp_path: Path) -> None:
    wfpd = Wfpd(net, tmp_path)
    wfpd.write(
        "  - {name: ask, layer: ipforward, action: {callout: slow, kind: unknown}, when: {ip_destination_port: 5000}}",
        head='callouts: [{name: slow, use: "wfpd.callouts.counting:Counting", options: {answer: permit, seconds: 0.01},'
        " budget: {time: 1ms, times: 3, suspend: 1h}}]",
        faults="on_error: block",
    )
    wfpd.start()
    assert wfpd.metric("wfpd_callout_suspended", callout="slow") == 0
    with net.udp_receiver(net.server, 5000) as receiver:
        net.send_udp(net.client, 10, 64, 5000)
        assert receiver.wait_for(3)
        assert wait_until(lambda: wfpd.metric("wfpd_callout_calls_skipped_total", callout="slow") == 7)
        assert receiver.count == 3
    assert wfpd.metric("wfpd_callout_suspended", callout="slow") == 1
    assert wfpd.metric("wfpd_callout_suspensions_total", callout="slow") == 1
    assert wfpd.call("callouts.list")["objects"][0]["suspended"] is True
    assert wait_until(lambda: wfpd.log.read_text().count("callout slow is suspended") == 1)
    events = [json.loads(line) for line in wfpd.eve.read_text().splitlines()]
    (told,) = [event["callout"] for event in events if event["event_type"] == "callout"]
    assert (told["name"], told["state"], told["slow_calls"]) == ("slow", "suspended", 3)
    assert wfpd.process is not None
    wfpd.process.send_signal(signal.SIGHUP)  # A reload does not end it.
    assert wait_until(lambda: wfpd.status()["generation"] == 2)
    assert wfpd.metric("wfpd_callout_suspended", callout="slow") == 1
    assert wfpd.end() == 0
    assert wfpd.log.read_text().count("is suspended") == 1

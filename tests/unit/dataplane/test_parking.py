"""Parked packets on sockets whose other ends play the kernel."""

from __future__ import annotations

import pathlib
import threading
import time
import uuid
from typing import Any

import pytest

from tests.unit.dataplane.kernel import (
    ACCEPT,
    BYPASS,
    DROP,
    FORWARD,
    INPUT,
    PARKING,
    QUEUE,
    TO_PARKING,
    VERDICT,
    Kernel,
    attribute,
    packet,
    serving,
)
from wfpd.callouts.registered import Registered
from wfpd.compiler.pack import pack
from wfpd.config import load_policy
from wfpd.dataplane._engine import Engine
from wfpd.dataplane._table import Snapshot
from wfpd.model.policy import Budget, Callout

BRIDGE_PORT = (7).to_bytes(4, "big")
BLOCKS = "{on_late: block, on_error: block}"


class Parks:
    """Parks everything, and keeps the handles and the packets."""

    parks = True

    def __init__(self, hook: int = FORWARD) -> None:
        self.handles: list[Any] = []
        self.packets: list[bytes] = []
        self.kernel: Any = None
        self.hook = hook

    def classify(self, c: Any) -> None:
        self.handles.append(c.pend())
        self.packets.append(bytes(c.packet))
        self.move()

    def move(self) -> None:
        """One more is in the parking queue: before its verdict is heard, as in a kernel that is quick."""
        self.kernel.parking.say(packet(100 + len(self.handles), queue=PARKING, hook=self.hook))


def registered(made: object, **words: Any) -> Registered:
    return Registered(Callout("c", uuid.UUID(int=1), "tests:made", {}, **words), made)


@pytest.mark.parametrize("changed", [False, True])
def test_a_callout_that_is_suspended_meanwhile_has_given_its_answer(tmp_path: pathlib.Path, changed: bool) -> None:
    made = Parks()
    callout = registered(made, budget=Budget(time_ns=1, times=1))  # The first call suspends it.
    with serving(tmp_path, callout=callout, faults=BLOCKS, parks=True) as (engine, kernel, _):
        made.kernel = kernel
        kernel.say(packet(1))
        assert kernel.hear() == [(VERDICT, TO_PARKING, 1)]
        assert engine.callout_watches()["c"]["suspended"]
        assert made.handles[0].complete("permit", packet=made.packets[0] if changed else None)
        assert kernel.parking.hear() == [(VERDICT, ACCEPT, 101)]
        assert (engine.callout_errors(), engine.callout_calls()) == ({}, {"c": 1})


def test_packets_of_a_flow_wait_for_its_answer_though_the_callout_is_suspended_meanwhile(
    tmp_path: pathlib.Path,
) -> None:
    made = Parks(INPUT)
    callout = registered(made, budget=Budget(time_ns=1, times=1))
    words = {"faults": "{on_late: permit, on_error: permit}", "layer": "ale_auth_recv_accept_v4"}
    with serving(tmp_path, callout=callout, parks=True, **words) as (engine, kernel, _):
        made.kernel = kernel
        kernel.say(packet(1, hook=INPUT))
        kernel.hear()
        kernel.say(packet(2, hook=INPUT))
        assert kernel.hear() == [(VERDICT, TO_PARKING | BYPASS, 2)]
        assert made.handles[0].complete("block")
        assert kernel.parking.hear() == [(VERDICT, DROP, 101)]
        assert engine.callout_calls() == {"c": 1}


class Raises(Parks):
    """Pends its first packet, and raises when it is told to."""

    def __init__(self) -> None:
        super().__init__(INPUT)
        self.pended, self.may_raise, self.calls = threading.Event(), threading.Event(), 0

    def classify(self, c: Any) -> None:
        self.calls += 1
        if self.calls == 1:
            c.pend()
            self.pended.set()
            assert self.may_raise.wait(5)
            raise ValueError("it cannot")
        c.permit()


def test_packets_of_a_flow_do_not_wait_for_a_call_that_has_raised(tmp_path: pathlib.Path) -> None:
    made = Raises()
    path = tmp_path / "policy.yaml"
    path.write_text("version: 1\nfaults: {on_late: block, on_error: block}\ncallouts: [{name: c}]\n"
                    "filters: [{name: one, layer: ale_auth_recv_accept_v4, action: {callout: c}}]\n")  # fmt: skip
    policy = load_policy(str(path), trust="warn")
    engine, kernels, parking = Engine(2, late_after=30), [Kernel(), Kernel()], Kernel()
    words = {name: getattr(policy.faults, name) for name in ("on_error", "on_malformed", "on_late")}
    engine.swap(Snapshot(pack(policy), [registered(made)], generation=1, flows_full=1, **words))
    for index, kernel in enumerate(kernels):
        engine.add_queue(QUEUE + 5 * index, index, kernel.end.fileno(), "input")
    engine.add_parking(PARKING, parking.end.fileno(), capacity=8)
    threads = [threading.Thread(target=engine.run_worker, args=(index,), daemon=True) for index in range(2)]
    threads.append(threading.Thread(target=engine.run_parking, daemon=True))
    for thread in threads:
        thread.start()
    try:
        kernels[0].say(packet(1, hook=INPUT))
        assert made.pended.wait(5)
        kernels[1].say(packet(1, hook=INPUT, queue=QUEUE + 5))
        assert kernels[1].hear() == [(VERDICT, TO_PARKING, 1)]
        made.may_raise.set()
        assert kernels[0].hear() == [(VERDICT, DROP, 1)]
        parking.say(packet(101, hook=INPUT, queue=PARKING))
        assert parking.hear() == [(VERDICT, ACCEPT, 101)]  # It was asked about itself.
        assert made.calls == 2
    finally:
        made.may_raise.set()
        engine.stop()
        for thread in threads:
            thread.join(5)
        for one in (*kernels, parking):
            one.sock.close()
            one.end.close()


class Swapped(Parks):
    """Two packets of one batch, which reach the parking queue the other way round."""

    def __init__(self, **differ: Any) -> None:
        super().__init__()
        self.differ = differ

    def told(self, which: int, number: int, queue: int) -> bytes:
        return packet(number, queue=queue, **{name: values[which] for name, values in self.differ.items()})

    def move(self) -> None:
        if len(self.handles) == 2:
            self.kernel.parking.say(self.told(1, 102, PARKING))
            self.kernel.parking.say(self.told(0, 101, PARKING))


@pytest.mark.parametrize("differ", [
    {"mark": (1, 2)}, {"mark": (None, 2)}, {"more": (attribute(7, BRIDGE_PORT), b"")}, {"size": (20, 21)},
], ids=["marks", "a mark", "bridge ports", "lengths"])  # fmt: skip
def test_packets_that_are_alike_but_for_this_are_not_taken_for_each_other(
    tmp_path: pathlib.Path, differ: dict[str, Any]
) -> None:
    made = Swapped(**differ)
    with serving(tmp_path, callout=registered(made), faults=BLOCKS, parks=True) as (_, kernel, _):
        made.kernel = kernel
        kernel.say(made.told(0, 1, QUEUE), made.told(1, 2, QUEUE))
        assert [number for _, _, number in kernel.hear()] == [1, 2]
        assert made.handles[1].complete("permit")
        assert [(verdict, number) for _, verdict, number in kernel.parking.hear()] == [(ACCEPT, 102)]
        assert made.handles[0].complete("block")
        assert [(verdict, number) for _, verdict, number in kernel.parking.hear()] == [(DROP, 101)]


class AsksAgain(Parks):
    """Completes what it parks at once, without an answer."""

    def classify(self, c: Any) -> None:
        if self.handles:
            self.handles.append(c.pend())
        else:
            super().classify(c)
        self.handles[-1].complete()


def test_a_callout_that_asks_for_itself_again_and_again_gets_on_error(tmp_path: pathlib.Path) -> None:
    made = AsksAgain()
    with serving(tmp_path, callout=registered(made), faults=BLOCKS, parks=True, late_after=3) as (engine, kernel, _):
        made.kernel = kernel
        kernel.say(packet(1))
        assert [number for _, _, number in kernel.hear()] == [1]
        assert [(verdict, number) for _, verdict, number in kernel.parking.hear()] == [(DROP, 101)]
        assert (len(made.handles), engine.callout_errors()) == (16, {"c": 1})
        assert engine.counters()["queues"][PARKING]["late"] == 0


def test_what_a_packet_becomes_is_bytes_and_no_number(tmp_path: pathlib.Path) -> None:
    made = Parks()
    with serving(tmp_path, callout=registered(made), faults=BLOCKS, parks=True) as (_, kernel, _):
        made.kernel = kernel
        kernel.say(packet(1))
        kernel.hear()
        with pytest.raises(TypeError):
            made.handles[0].complete("permit", packet=28)
        assert made.handles[0].waits and made.handles[0].complete("permit", packet=bytearray(made.packets[0]))
        assert kernel.parking.hear() == [(VERDICT, ACCEPT, 101)]


class Busy(Parks):
    """Parks two packets; asked once more, it keeps the thread of what is parked."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.may_go = threading.Event(), threading.Event()

    def classify(self, c: Any) -> None:
        if len(self.handles) == 2:
            self.inside.set()
            assert self.may_go.wait(5)
            c.permit()
            return
        super().classify(c)

    def move(self) -> None:
        number = len(self.handles)
        self.kernel.parking.say(packet(100 + number, 5000 + number, queue=PARKING))


@pytest.mark.parametrize(("clear_right", "verdict"), [(True, DROP), (False, ACCEPT)])
def test_what_is_blocked_for_good_does_not_pass_though_its_visit_goes_on_too_late(
    tmp_path: pathlib.Path, clear_right: bool, verdict: int
) -> None:
    made = Busy()
    words = {"faults": "{on_late: permit, on_error: block}", "late_after": 1}
    with serving(tmp_path, callout=registered(made), parks=True, **words) as (engine, kernel, _):
        made.kernel = kernel
        for number in (1, 2):
            kernel.say(packet(number, 5000 + number))
            kernel.hear()
        turns = engine.progress()[-1][1]
        while engine.progress()[-1][1] < turns + 2:  # It has read both by then.
            time.sleep(0.01)
        assert made.handles[0].complete() and made.inside.wait(5)
        assert made.handles[1].complete("block", clear_right=clear_right)
        assert engine.enforce_late(time.monotonic_ns() + 2 * 10**9) == 2
        assert kernel.parking.hear() == [(VERDICT, ACCEPT, 101)]
        assert kernel.parking.hear() == [(VERDICT, verdict, 102)]
        made.may_go.set()

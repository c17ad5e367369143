"""The loop on a socket whose other end plays the kernel: what the real one cannot be made to say when asked."""

from __future__ import annotations

import errno
import pathlib
import signal
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.builders import a_filter, a_policy
from tests.unit.dataplane.kernel import ACCEPT, BATCH, DROP, QUEUE, VERDICT, attribute, packet, refusal, serving
from wfpd.compiler.pack import pack
from wfpd.dataplane import _context
from wfpd.dataplane._engine import Engine
from wfpd.dataplane._host import Host
from wfpd.dataplane._table import Snapshot
from wfpd.errors import ActionRefused
from wfpd.injection.handles import Injections
from wfpd.injection.wire import Order
from wfpd.model.policy import Action

LARGEST_SEND = 32768


def account(engine: Engine) -> dict[str, Any]:
    """What is counted of the queue."""
    found: dict[str, Any] = engine.counters()["queues"][QUEUE]
    return found


def test_a_datagram_that_does_not_fit_is_counted_and_its_packet_decided(tmp_path: pathlib.Path) -> None:
    with serving(tmp_path) as (engine, kernel, _):
        kernel.say(packet(1, 5001, size=60000, more=attribute(99, bytes(8000))))
        assert kernel.hear() == [(VERDICT, DROP, 1)]
        assert account(engine)["receive_truncated"] == 1 and account(engine)["malformed_messages"] == 0
        kernel.say(packet(2))
        assert kernel.hear() == [(VERDICT, ACCEPT, 2)]
        assert account(engine)["receive_truncated"] == 1


def test_refused_verdicts_and_those_that_find_nothing_are_counted_apart_and_end_nothing(tmp_path: pathlib.Path) -> None:
    with serving(tmp_path) as (engine, kernel, _):
        kernel.say(refusal(errno.ENOENT, VERDICT), refusal(errno.ENOENT, BATCH), refusal(errno.EINVAL, VERDICT))
        kernel.say(b"\x01\x02\x03" * 30)  # Nothing that a kernel says.
        kernel.say(packet(1))
        assert kernel.hear() == [(VERDICT, ACCEPT, 1)]
        assert (account(engine)["verdicts_not_found"], account(engine)["verdicts_refused"]) == (2, 1)
        assert account(engine)["malformed_messages"] == 1


def test_verdicts_that_the_send_buffer_could_not_take_at_once_are_split_and_stay_in_order(
    tmp_path: pathlib.Path,
) -> None:
    with serving(tmp_path, batch=1024) as (_, kernel, _):
        # Bits of ours, each time others, have to be cleared one by one: no batch is possible.
        kernel.say(*(packet(1 + i, mark=(i % 4000 << 20) | i) for i in range(1, 850)))
        heard: list[tuple[int, int, int]] = []
        while len(heard) < 849:
            heard += kernel.hear()
        assert [number for _, _, number in heard if number > 1] == list(range(2, 851))
        assert len(kernel.sends) > 1 and max(kernel.sends) <= LARGEST_SEND


def test_ids_go_on_over_their_wrap_without_a_gap(tmp_path: pathlib.Path) -> None:
    with serving(tmp_path) as (engine, kernel, _):
        kernel.say(packet(0xFFFFFFFE))
        kernel.hear()
        kernel.say(packet(0xFFFFFFFF), packet(0), packet(1, 5001), packet(2))
        assert kernel.hear() == [(VERDICT, DROP, 1), (BATCH, ACCEPT, 2)]
        assert (account(engine)["id_gaps"], account(engine)["decided_through"]) == (0, 2)


def test_signals_that_interrupt_the_worker_s_wait_do_it_no_harm(tmp_path: pathlib.Path) -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: seen.append(number))
    try:
        with serving(tmp_path) as (engine, kernel, thread):
            for number in range(1, 21):
                time.sleep(0.002)  # It waits again.
                signal.pthread_kill(thread.ident, signal.SIGUSR1)
                kernel.say(packet(number))
                assert kernel.hear() == [(VERDICT, ACCEPT, number)]
            assert engine.progress()[0][0] == "running"
        assert seen
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize(("word", "verdict"), [("permit", ACCEPT), ("block", DROP)])
def test_a_fault_of_ours_inside_a_batch_gives_on_error_to_what_is_left_of_it(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, word: str, verdict: int
) -> None:
    class Broken:
        calls = 0

        def perf_counter_ns(self) -> int:
            self.calls += 1
            if self.calls > 4:  # Two readings a call: the third call fails ahead of its guard.
                raise MemoryError
            return time.perf_counter_ns()

    monkeypatch.setattr(_context, "time", Broken())
    answer = (lambda c: c.block()) if word == "permit" else (lambda c: c.permit())
    other = DROP if word == "permit" else ACCEPT
    with serving(tmp_path, callout=answer, faults=f"{{on_error: {word}}}") as (engine, kernel, _):
        kernel.say(*(packet(number) for number in range(1, 8)))
        given: dict[int, int] = {}
        while len(given) < 7:
            for kind, value, number in kernel.hear():
                for one in range(1, number + 1) if kind == BATCH else (number,):
                    given.setdefault(one, value)
        assert given == dict.fromkeys((1, 2), other) | dict.fromkeys(range(3, 8), verdict)
        monkeypatch.setattr(_context, "time", time)
        kernel.say(packet(8))
        assert kernel.hear() == [(VERDICT, other, 8)]
        assert engine.counters()["packets"] == {
            "permit": 5 if word == "permit" else 3, "block": 3 if word == "permit" else 5
        }  # fmt: skip


class Reinjects:
    """Reinjects, and does something else then."""

    injects = True

    def __init__(self, then: Callable[[Any], None]) -> None:
        self.then, self.orders, self.sent = then, list[Order](), threading.Event()
        self.refusal: ActionRefused | None = None

    def send(self, order: Order) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.orders.append(order)
        self.sent.set()

    def __call__(self, c: Any) -> None:
        c.reinject()
        self.then(c)


def boom(_: Any) -> None:
    raise LookupError("as told")


PERMIT = "{on_late: permit, on_error: permit}"


def test_what_was_reinjected_in_time_does_not_pass_however_long_the_call_takes(tmp_path: pathlib.Path) -> None:
    release = threading.Event()
    callout = Reinjects(lambda c: release.wait(5))
    with serving(tmp_path, callout=callout, faults=PERMIT) as (engine, kernel, _):
        engine.set_injections(Injections(callout.send))
        try:
            kernel.say(packet(1), packet(2))
            assert callout.sent.wait(5)
            assert engine.enforce_late(time.monotonic_ns() + 60 * 10**9) == 1  # The one that waits behind it.
            assert kernel.hear() == [(VERDICT, DROP, 1), (VERDICT, ACCEPT, 2)]
        finally:
            release.set()
        kernel.say(packet(3, 5001))
        assert kernel.hear() == [(VERDICT, DROP, 3)]
        assert (len(callout.orders), engine.counters()["packets"]) == (2, {"permit": 1, "block": 2})
        assert engine.counters()["drops"] == {(24, 2): 2} and account(engine)["late"] == 1


@pytest.mark.parametrize(("then", "errors"), [(boom, 1), (lambda c: c.permit(), 0), (lambda c: c.pend(), 1)])
def test_what_was_reinjected_does_not_pass_whatever_the_callout_does_then(
    tmp_path: pathlib.Path, then: Callable[[Any], None], errors: int
) -> None:
    callout = Reinjects(then)
    with serving(tmp_path, callout=callout, faults=PERMIT) as (engine, kernel, _):
        engine.set_injections(Injections(callout.send))
        kernel.say(packet(1))
        assert kernel.hear() == [(VERDICT, DROP, 1)]
        assert (len(callout.orders), engine.callout_errors()) == (1, {"c": errors} if errors else {})


def test_a_clone_that_could_not_be_sent_takes_nobodys_place(tmp_path: pathlib.Path) -> None:
    callout = Reinjects(boom)
    callout.refusal = ActionRefused("as told")
    with serving(tmp_path, callout=callout, faults=PERMIT) as (engine, kernel, _):
        engine.set_injections(Injections(callout.send))
        kernel.say(packet(1))
        assert kernel.hear() == [(VERDICT, ACCEPT, 1)]
        assert engine.callout_errors() == {"c": 1}


def test_a_fault_of_ours_behind_a_reinjection_lets_nothing_pass(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        calls = 0

        def perf_counter_ns(self) -> int:
            self.calls += 1
            if self.calls == 2:  # Behind the call.
                raise MemoryError
            return time.perf_counter_ns()

    monkeypatch.setattr(_context, "time", Broken())
    callout = Reinjects(lambda c: None)
    with serving(tmp_path, callout=callout, faults=PERMIT) as (engine, kernel, _):
        engine.set_injections(Injections(callout.send))
        kernel.say(packet(1), packet(2))
        heard = kernel.hear()
        assert (VERDICT, DROP, 1) in heard and len(callout.orders) == 1


def test_two_queues_on_one_socket_are_never_mixed_up(tmp_path: pathlib.Path) -> None:
    with serving(tmp_path, faults="{on_error: block}") as (engine, kernel, _):
        kernel.say(packet(1).replace(struct.pack(">BBH", 2, 0, QUEUE), struct.pack(">BBH", 2, 0, 77)), packet(1))
        assert kernel.hear() == [(VERDICT, DROP, 1)]  # The stray, by on_error.
        assert kernel.hear() == [(VERDICT, ACCEPT, 1)]
        assert account(engine)["strays"] == 1


def test_a_counter_that_another_filter_had_begins_at_nothing_and_goes_on_while_its_filter_stays(
    tmp_path: pathlib.Path,
) -> None:
    words = {"on_error": 1, "on_malformed": 1, "on_late": 1, "flows_full": 1}
    here, other = a_filter("here", Action.BLOCK, weight=9), a_filter("other", Action.BLOCK)
    with serving(tmp_path) as (engine, kernel, _):

        def run(taken: Snapshot, number: int) -> list[int]:
            assert engine.swap(taken)
            kernel.say(packet(number))
            assert kernel.hear() == [(VERDICT, DROP, number)]
            hits: list[int] = engine.filter_hits(taken.counter_slots())
            return hits

        first = Snapshot(pack(a_policy([here])), [], generation=2, previous=engine.snapshot, **words)
        assert [run(first, 1), run(first, 2)] == [[1], [2]]  # Published again, it counts on.
        second = Snapshot(pack(a_policy([here, other])), [], generation=3, previous=first, **words)
        assert run(second, 3) == [3, 0]
        del first
        third = Snapshot(pack(a_policy([other])), [], generation=4, previous=second, **words)
        assert run(third, 4) == [1]
        slot = second.counter_slots()[0]
        del second
        fourth = Snapshot(pack(a_policy([a_filter("new", Action.BLOCK)])), [], generation=5, previous=third, **words)
        assert fourth.counter_slots() == [slot]
        assert run(fourth, 5) == [1]


def test_what_is_published_last_runs_whoever_else_publishes_meanwhile(tmp_path: pathlib.Path) -> None:
    """Threads that publish the host and clear away what was replaced, while packets tell which policy decides them."""
    with serving(tmp_path) as (engine, kernel, _):
        stop, failures = threading.Event(), []

        def again(step: Any) -> None:
            try:
                while not stop.wait(0.0001):
                    step()
            except BaseException as error:
                failures.append(error)

        steps = (lambda: engine.set_host(Host([], [], [], set(), 1), timeout=0), engine.reap)
        threads = [threading.Thread(target=again, args=(step,), daemon=True) for step in steps]
        for thread in threads:
            thread.start()
        try:
            for number in range(2, 200):
                policy = a_policy([a_filter("one", Action.PERMIT if number % 2 else Action.BLOCK)])
                taken = Snapshot(pack(policy), [], generation=number, previous=engine.snapshot, on_error=1,
                                 on_malformed=1, on_late=1, flows_full=1)  # fmt: skip
                engine.swap(taken, timeout=0)
                kernel.say(packet(number))
                verdicts = {verdict for _, verdict, identity in kernel.hear() if identity == number}
                assert verdicts == {ACCEPT if number % 2 else DROP} and engine.snapshot is taken
        finally:
            stop.set()
            for thread in threads:
                thread.join(5)
        assert not failures and engine.reap()

"""Coroutines as callouts: parked, decided when they return, cancelled when it is too late."""

from __future__ import annotations

import asyncio
import pathlib
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6

from tests.registering import Decided
from wfpd.callouts.waiting import Loop, Waiting

PACKET = IP(src="198.51.100.9", dst="198.51.100.1") / UDP(sport=9, dport=53) / b"asked"
POLICY = """version: 1
callouts: [{{name: c, use: "m:C"}}]
filters: [{{name: one, layer: ipforward, action: {{callout: c, kind: {kind}}}}}]
"""


class Handle:
    """A parked packet."""

    def __init__(self) -> None:
        self.given: list[Any] = []
        self.absorbs_not = False
        self.done = threading.Event()

    def complete(self, verdict: str, *, reply: str | None, clear_right: bool, absorb: bool) -> bool:
        if absorb and self.absorbs_not:
            raise ValueError("absorb is not possible here")
        self.given.append((verdict, reply, clear_right, absorb))
        self.done.set()
        return True

    def fail(self, word: str) -> bool:
        self.given.append(("failed", word))
        self.done.set()
        return True


class Live:
    """A context as the packet path would give it for a packet that can be parked."""

    action: str | None = None
    write_right = clear_action_right = True
    filter, layer, hook, kind, error_word = "one", "ipforward_v4", "forward", "unknown", "block"
    filter_context = provider_context = direction = flow_id = flow_context = None
    payload_offset = 28

    def __init__(self, **members: Any) -> None:
        self.values, self.metadata = {"ip_ttl": 3}, {}
        self.packet = memoryview(bytes(PACKET))
        self.payload = self.packet[28:]
        self.late_ns = time.monotonic_ns() + 10_000_000_000
        self.handle = Handle()
        self.errors: list[tuple[str, str]] = []
        for name, value in members.items():
            setattr(self, name, value)

    def pend(self) -> Handle:
        return self.handle

    def failed(self, name: str, error: BaseException) -> None:
        self.errors.append((name, repr(error)))


@pytest.fixture(name="loop")
def _loop() -> Any:
    loop = Loop(2)
    yield loop
    loop.close()


def until(true: Callable[[], bool]) -> bool:
    end = time.monotonic() + 5
    while not true() and time.monotonic() < end:
        time.sleep(0.002)
    return true()


@pytest.mark.parametrize(("answer", "given"), [
    (lambda c: c.permit(), ("permit", None, False, False)),
    (lambda c: c.permit(clear_right=True), ("permit", None, True, False)),
    (lambda c: c.block(reply="tcp_reset"), ("block", "tcp_reset", False, False)),
    (lambda c: c.block(absorb=True, clear_right=True), ("block", None, True, True)),
    (lambda c: None, ("continue", None, False, False)),
    (lambda c: (c.block(), c.continue_()), ("continue", None, False, False)),
])  # fmt: skip
def test_what_it_has_answered_when_it_returns_is_its_answer(loop: Loop, answer: Any, given: Any) -> None:
    async def classify(c: Any) -> None:
        await asyncio.sleep(0)
        answer(c)

    c = Live()
    Waiting("c", classify, loop)(c)
    assert c.handle.done.wait(5) and c.handle.given == [given]
    assert until(lambda: loop.waiting == 0)


def test_an_answer_that_its_layer_does_not_know_is_its_error(loop: Loop) -> None:
    async def classify(c: Any) -> None:
        c.block(absorb=True)

    c = Live()
    c.handle.absorbs_not = True
    Waiting("c", classify, loop)(c)
    assert c.handle.done.wait(5) and c.handle.given == [("failed", "block")]
    assert c.errors == [("c", "ValueError('absorb is not possible here')")]


def test_after_an_await_the_copy_still_says_what_the_packet_said(loop: Loop) -> None:
    seen: list[Any] = []

    async def classify(c: Any) -> None:
        await asyncio.sleep(0.01)
        seen.append((c.values, bytes(c.packet), bytes(c.payload), c.filter, c.scapy()[UDP].dport))

    c = Live()
    Waiting("c", classify, loop)(c)
    c.packet, c.payload, c.values = memoryview(b""), memoryview(b""), {}
    assert c.handle.done.wait(5)
    assert seen == [({"ip_ttl": 3}, bytes(PACKET), b"asked", "one", 53)]


@pytest.mark.parametrize("error", [ValueError, TimeoutError, SystemExit])
def test_an_exception_is_counted_and_on_error_decides(loop: Loop, error: type[BaseException]) -> None:
    async def classify(c: Any) -> None:
        await asyncio.sleep(0)
        raise error("no")

    c = Live()
    Waiting("c", classify, loop)(c)
    assert c.handle.done.wait(5)
    assert (c.handle.given, c.errors) == ([("failed", "block")], [("c", f"{error.__name__}('no')")])


def test_a_coroutine_that_is_late_is_cancelled_and_decides_nothing(loop: Loop) -> None:
    ended: list[str] = []

    async def classify(c: Any) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    c = Live(late_ns=time.monotonic_ns() + 20_000_000)
    Waiting("c", classify, loop)(c)
    assert until(lambda: loop.cancelled == 1)
    assert (ended, c.handle.given, c.errors) == (["cancelled"], [], [])
    assert until(lambda: loop.waiting == 0)


def test_no_more_wait_than_may(loop: Loop) -> None:
    async def classify(c: Any) -> None:
        await asyncio.sleep(60)

    waits = Waiting("c", classify, loop)
    waits(Live())
    waits(Live())
    with pytest.raises(RuntimeError, match="2 coroutines wait"):
        waits(Live())
    loop.close()
    assert until(lambda: loop.waiting == 0)


def test_what_is_blocked_for_good_is_not_parked(loop: Loop) -> None:
    async def classify(c: Any) -> None: ...

    c = Live(action="block", write_right=False)
    Waiting("c", classify, loop)(c)
    assert (c.handle.given, loop.waiting) == ([], 0)


@pytest.mark.parametrize(("answer", "kind", "verdict", "reason"), [
    ("permit", "unknown", "permit", "callout"), ("block", "unknown", "block", "callout"),
    ("continue_", "unknown", "permit", "no_match"), ("continue_", "terminating", "block", "callout"),
])  # fmt: skip
def test_in_replay_it_runs_to_its_end_at_once(
    tmp_path: pathlib.Path, answer: str, kind: str, verdict: str, reason: str
) -> None:
    class Asks:
        async def classify(self, c: Any) -> None:
            await asyncio.sleep(0.001)
            assert bytes(c.payload) == b"asked"
            getattr(c, answer)()

    replayed = Decided(tmp_path, POLICY.format(kind=kind), {"c": Asks()})
    for packet in (PACKET, IPv6(src="2001:db8::9", dst="2001:db8::8") / UDP() / b"asked"):
        line = replayed.send(packet)
        assert (line["verdict"], line["reason"]) == (verdict, reason)


def test_in_replay_an_exception_is_the_callouts_error(tmp_path: pathlib.Path) -> None:
    class Fails:
        async def classify(self, c: Any) -> None:
            raise ValueError("no")

    replayed = Decided(tmp_path, POLICY.format(kind="unknown"), {"c": Fails()})
    assert replayed.send(PACKET)["reason"] == "error"
    assert replayed.replay.replayer.context.errors == {"c": 1}

"""Coroutines as callouts: parked, decided when they return, cancelled when it is too late."""

from __future__ import annotations

import asyncio
import pathlib
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6

from tests.registering import Decided
from wfpd.callouts.loop import Loop
from wfpd.callouts.waiting import Waiting
from wfpd.dataplane._modify import Draft
from wfpd.errors import ActionRefused

PACKET = IP(src="198.51.100.9", dst="198.51.100.1") / UDP(sport=9, dport=53) / b"asked"
POLICY = """version: 1
callouts: [{{name: c, use: "m:C"}}]
filters: [{{name: one, layer: ipforward, action: {{callout: c, kind: {kind}}}}}]
"""


class Handle:
    """A parked packet."""

    def __init__(self) -> None:
        self.given: list[Any] = []
        self.packets: list[bytes | None] = []
        self.absorbs_not = False
        self.waits = True
        self.done = threading.Event()

    def complete(
        self, verdict: str, *, reply: str | None, clear_right: bool, absorb: bool, packet: bytes | None,
        reset_both: bool | None = None,
    ) -> bool:  # fmt: skip
        if absorb and self.absorbs_not:
            raise ValueError("absorb is not possible here")
        if self.waits:
            self.given.append((verdict, reply, clear_right, absorb, *(() if reset_both is None else (reset_both,))))
            self.packets.append(packet)
        first, self.waits = self.waits, False
        self.done.set()
        return first

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
    injection_state = "not_injected"

    def __init__(self, **members: Any) -> None:
        self.values, self.metadata = {"ip_ttl": 3}, {}
        self.packet = memoryview(bytes(PACKET))
        self.payload = self.packet[28:]
        self.late_ns = time.monotonic_ns() + 10_000_000_000
        self.handle = Handle()
        self.errors: list[tuple[str, str]] = []
        for name, value in members.items():
            setattr(self, name, value)

    def draft(self) -> Draft:
        return Draft(bytes(self.packet))

    @property
    def injection_handle(self) -> Any:
        raise ActionRefused("nothing can be injected", hint="say so")

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
    (lambda c: c.block(reply="tcp_reset", reset_both=False), ("block", "tcp_reset", False, False, False)),
    (lambda c: c.block(absorb=True, clear_right=True), ("block", None, True, True)),
    (lambda c: None, ("continue", None, False, False)),
    (lambda c: (c.block(), c.continue_()), ("continue", None, False, False)),
    (lambda c: (c.block(reply="tcp_reset", reset_both=True), c.permit()), ("permit", None, False, False)),
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


# ------------------------------------------------------------------------------------------- modifying and injecting


Act = Callable[[Any], object]
ACTING = """version: 1
faults: {{on_error: block}}
callouts: [{{name: c, use: "m:C"}}]
filters: [{{name: one, layer: {layer}, action: {{callout: c, kind: {kind}}}}}]
"""
SIX = IPv6(src="2001:db8:1::9", dst="2001:db8::1") / UDP(sport=9, dport=53) / b"asked"
FOUR = IP(src="198.51.100.9", dst="192.0.2.1") / UDP(sport=9, dport=53) / b"asked"
SEGMENT = IP(src="198.51.100.9", dst="192.0.2.1") / TCP(sport=9, dport=53, flags="PA") / b"asked"


class Acts:
    modifies = injects = True

    def __init__(self, act: Act) -> None:
        self.act = act
        self.refused: list[tuple[str, str]] = []

    def classify(self, c: Any) -> None:
        try:
            self.act(c)
        except ActionRefused as refused:
            self.refused.append((refused.message, refused.hint))
            raise


class ActsLater(Acts):
    async def classify(self, c: Any) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        super().classify(c)


def acted(folder: pathlib.Path, made: Acts, packet: Any, layer: str, kind: str) -> Any:
    """What replay makes of it: the line, what passed, what was injected, and what was refused."""
    replayed = Decided(folder, ACTING.format(layer=layer, kind=kind), {"c": made}, parks=True)
    replayed.replay.replayer.context.on_error = None
    line = replayed.send(packet)
    injected = [(order.packet, order.mark) for order in replayed.replay.injected]
    return line, replayed.replay.passed, injected, made.refused


def upper(c: Any) -> None:
    """Another payload of another length, in two steps that see each other."""
    c.write(c.payload_offset, bytes(c.payload).upper())
    assert bytes(c.payload) == b"ASKED" and c.scapy().lastlayer().load == b"ASKED"
    c.modify(bytes(c.packet) + b"!" * len(c.payload))
    assert bytes(c.payload) == b"ASKED!!!!!"
    c.permit()


@pytest.mark.parametrize("packet", [FOUR, SIX, SEGMENT])
@pytest.mark.parametrize("act", [
    upper,
    lambda c: (c.write(c.payload_offset, b"A"), c.permit()),
    lambda c: (c.write(c.payload_offset, b"A"), c.block()),
    lambda c: c.write(c.payload_offset, b"A"),
    lambda c: c.modify(b"no packet"),
    lambda c: c.modify(b""),
    lambda c: c.modify(bytes(70_000)),
    lambda c: c.write(len(c.packet), b"beyond"),
    lambda c: c.write(-1, b"before"),
    lambda c: c.write(12, b"\x01"),
    lambda c: (c.inject(bytes(c.packet)), c.inject(bytes(c.packet), direction="inbound"), c.permit()),
    lambda c: c.inject(bytes(c.packet), direction="up"),
    lambda c: c.inject(b"no packet"),
    lambda c: c.reinject(),
    lambda c: (c.reinject(bytes(c.packet) + b"more"), c.inject(bytes(c.packet))),
    lambda c: c.reinject(b"no packet"),
    lambda c: (c.injection_handle.inject(bytes(c.packet), direction="outbound"), c.permit()),
    lambda c: (c.write(c.payload_offset, b"A"), c.reinject()),
])  # fmt: skip
def test_a_coroutine_does_to_its_packet_what_others_do(tmp_path: pathlib.Path, packet: Any, act: Act) -> None:
    for layer, kind in (("inbound_transport", "unknown"), ("inbound_transport", "inspection")):
        line, passed, injected, refused = acted(tmp_path, Acts(act), packet, layer, kind)
        if passed is not None and refused:
            passed = bytes(packet)  # Of a coroutine that fails nothing is kept.
        assert acted(tmp_path, ActsLater(act), packet, layer, kind) == (line, passed, injected, refused)


def test_what_is_refused_is_refused_in_the_coroutine_in_the_same_words(tmp_path: pathlib.Path) -> None:
    class Cut(ActsLater):
        modifies = injects = False

    cases: list[tuple[Act, type[Acts], str]] = [
        (
            lambda c: c.modify(bytes(c.packet) + b"more"),
            ActsLater,
            "the packet cannot be modified: the length of a TCP",
        ),
        (lambda c: c.reinject(), Cut, "nothing can be injected"),
        (lambda c: c.injection_handle, Cut, "nothing can be injected"),
        (lambda c: c.set_flow_context("stream", 1), ActsLater, "a coroutine cannot set a flow context"),
        (lambda c: c.remove_flow_context("stream"), ActsLater, "a coroutine cannot remove a flow context"),
    ]
    for act, made, words in cases:
        line, passed, injected, refused = acted(tmp_path, made(act), SEGMENT, "inbound_transport", "unknown")
        assert (line["reason"], passed, injected) == ("error", None, [])
        assert refused[0][0].startswith(words) and refused[0][1]


@pytest.mark.parametrize(
    "act", [lambda c: c.modify(bytes(c.packet)), lambda c: c.write(0, b""), lambda c: c.reinject()]
)
def test_of_a_cut_copy_nothing_goes_on(tmp_path: pathlib.Path, act: Act) -> None:
    made = {kind: kind(act) for kind in (Acts, ActsLater)}
    for one in made.values():
        replayed = Decided(tmp_path, ACTING.format(layer="inbound_transport", kind="unknown"), {"c": one})
        replayed.replay.replayer.visit(bytes(FOUR), "input", 1, original=2000)
    assert made[Acts].refused == made[ActsLater].refused != []


def test_what_a_live_coroutine_makes_of_its_packet_goes_to_its_handle(loop: Loop) -> None:
    async def classify(c: Any) -> None:
        await asyncio.sleep(0)
        c.write(28, b"A")
        c.permit()

    c = Live()
    Waiting("c", classify, loop)(c)
    assert c.handle.done.wait(5) and c.handle.given == [("permit", None, False, False)]
    expected = Draft(bytes(PACKET))
    expected.write(28, b"A")
    assert c.handle.packets == [expected.packet]


def test_after_its_verdict_nothing_is_done_to_the_packet(loop: Loop) -> None:
    said: list[str] = []

    async def classify(c: Any) -> None:
        c.handle.waits = False
        for act in (lambda: c.modify(bytes(PACKET)), lambda: c.write(28, b"A"), c.reinject,
                    lambda: c.inject(bytes(PACKET))):  # fmt: skip
            try:
                act()
            except ActionRefused as refused:
                said.append(refused.message)

    class Injecting(Live):
        injection_handle = property(lambda self: object())  # type: ignore[assignment]

    c = Injecting()
    Waiting("c", classify, loop)(c)
    assert until(lambda: len(said) == 4)
    assert set(said) == {"the packet has its verdict already"}


# ------------------------------------------------------------------------------------------------ in replay, and late

LATE = POLICY.replace(
    "version: 1\n", "version: 1\nfaults: {{late_after: {late}, on_late: {on_late}, on_error: block}}\n"
)


def late_policy(late: str = "1ms", on_late: str = "block") -> str:
    return LATE.format(kind="unknown", late=late, on_late=on_late)


@pytest.mark.parametrize("on_late", ["permit", "block"])
def test_in_replay_one_that_never_returns_is_cancelled_and_late(tmp_path: pathlib.Path, on_late: str) -> None:
    class Hangs:
        ended = 0

        async def classify(self, c: Any) -> None:
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self.ended += 1

    hangs = Hangs()
    replayed = Decided(tmp_path, late_policy(on_late=on_late), {"c": hangs})
    for n in (1, 2):
        line = replayed.send(PACKET)
        assert (line["verdict"], line["reason"], line["filter"]) == (on_late, "late", "one")
        assert until(lambda n=n: hangs.ended == n)  # type: ignore[misc]
    assert replayed.replay.replayer.context.errors == {}


def test_in_replay_one_that_goes_on_after_its_time_changes_nothing_more(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Stubborn:
        modifies = injects = True

        def __init__(self) -> None:
            self.release, self.refused = threading.Event(), 0

        async def classify(self, c: Any) -> None:
            while not self.release.is_set():
                try:
                    await asyncio.sleep(0.005)
                except asyncio.CancelledError:
                    continue
            for act in (lambda: c.write(28, b"A"), lambda: c.inject(bytes(PACKET)), c.reinject):
                try:
                    act()
                except ActionRefused:
                    self.refused += 1
            c.permit()

    stubborn = Stubborn()
    replayed = Decided(tmp_path, late_policy(), {"c": stubborn})
    with caplog.at_level("WARNING", "wfpd.callouts"):
        assert [replayed.send(PACKET)["reason"] for _ in range(2)] == ["late", "late"]
    assert [record.getMessage() for record in caplog.records] == [
        "callout c: a coroutine goes on after it was cancelled; it is left to itself"
    ]
    stubborn.release.set()
    assert until(lambda: stubborn.refused == 6)
    assert replayed.replay.injected == []


def test_in_replay_one_is_not_late_within_the_least_time(tmp_path: pathlib.Path) -> None:
    class Slow:
        async def classify(self, c: Any) -> None:
            await asyncio.sleep(0.02)
            c.block()

    assert Decided(tmp_path, late_policy(on_late="permit"), {"c": Slow()}).send(PACKET)["reason"] == "callout"


@pytest.mark.parametrize("ends", ["cancelled", "fails"])
def test_what_is_reinjected_is_decided_however_the_coroutine_ends(tmp_path: pathlib.Path, ends: str) -> None:
    class Reinjects:
        injects = True

        async def classify(self, c: Any) -> None:
            c.reinject()
            c.permit()
            if ends == "fails":
                raise ValueError("no")
            await asyncio.get_running_loop().create_future()

    replayed = Decided(tmp_path, late_policy(on_late="permit"), {"c": Reinjects()})
    line = replayed.send(PACKET)
    assert (line["verdict"], line["reason"], line["injected"]) == ("block", "callout", 1)
    assert replayed.replay.replayer.context.errors == ({"c": 1} if ends == "fails" else {})


def test_where_no_packet_may_wait_replay_does_not_ask_a_coroutine_either(tmp_path: pathlib.Path) -> None:
    class Asked:
        n = 0

        async def classify(self, c: Any) -> None:
            self.n += 1

    for layer in ("ale_flow_established", "stream"):
        asked, packet = Asked(), FOUR if layer[0] == "a" else SEGMENT
        auth = "filters: [{name: auth, layer: ale_auth_recv_accept, action: permit}, "
        text = ACTING.format(layer=layer, kind="unknown").replace("filters: [", auth)
        replayed = Decided(tmp_path, text, {"c": asked})
        replayed.send(packet)
        assert (replayed.replay.replayer.context.errors, asked.n) == ({"c": 1}, 0)

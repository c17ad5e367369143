"""Callouts whose classify is a coroutine: the packet is parked, one loop of the daemon runs them, and what they answer
when they return decides.

A coroutine does not get the engine's own context, which is another packet's by then, but a copy of what that
offers.  In replay it is waited for.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any

from wfpd.callouts.loop import LOOP, Loop
from wfpd.errors import ActionRefused
from wfpd.model.layers import LAYER

logger = logging.getLogger("wfpd.callouts")

LEAST = 0.25
"""Seconds that a coroutine has in replay, however short `late_after` is: a busy machine may take them for nothing."""

Classify = Callable[[Any], Coroutine[Any, Any, object]]
Bytes = bytes | bytearray | memoryview
_COPIED = ("action", "write_right", "filter", "filter_context", "provider_context", "layer", "hook", "direction",
           "kind", "clear_action_right", "flow_id", "flow_context", "injection_state")  # fmt: skip
_REPLIES = (None, "none", "tcp_reset", "icmp_unreachable")
_DIRECTIONS = ("outbound", "inbound", "forward")


class WaitingContext:
    """The `c` of a coroutine: a copy, so valid for ever.  What it does after its packet was decided is refused."""

    hook: str
    layer: str
    kind: str
    write_right: bool

    def __init__(self, c: Any) -> None:
        for name in _COPIED:
            setattr(self, name, getattr(c, name))
        self.values: dict[str, Any] = dict(c.values.items())
        self.metadata: dict[str, Any] = dict(c.metadata.items())
        self._draft = c.draft()
        self._injection: Any = None
        self._no_injection: tuple[str, str] = ("", "")
        try:
            self._injection = c.injection_handle
        except ActionRefused as refused:  # Said where it is asked for.
            self._no_injection = (refused.message, refused.hint)
        self.handle: Any = None
        """Of the parked packet."""
        self._reinjected = False
        self.verdict: str | None = None
        self.clear_right = False
        self.reply: str | None = None
        self.absorb = False
        self.reset_both: bool | None = None

    # --- the packet

    @property
    def packet(self) -> memoryview:
        """The IP packet, as modify() and write() have left it."""
        return memoryview(self._draft.packet)

    @property
    def payload(self) -> memoryview:
        """What follows the transport header."""
        return memoryview(self._draft.payload)

    @property
    def payload_offset(self) -> int | None:
        """Where `payload` begins in `packet`; None if nothing of it is known."""
        found: int | None = self._draft.payload_offset
        return found

    def scapy(self) -> Any:
        """As the engine's context has it."""
        from scapy.layers.inet import IP
        from scapy.layers.inet6 import IPv6

        packet = self._draft.packet
        return (IPv6 if packet[0] >> 4 == 6 else IP)(packet)

    # --- answers

    def permit(self, *, clear_right: bool = False) -> None:
        """Answer PERMIT."""
        self._answer("permit", clear_right)

    def block(
        self, *, clear_right: bool = False, absorb: bool = False, reply: str | None = None,
        reset_both: bool | None = None,
    ) -> None:  # fmt: skip
        """Answer BLOCK."""
        if reply not in _REPLIES:
            raise ValueError(f"reply={reply!r}: one of none, tcp_reset, icmp_unreachable")
        if reset_both and reply != "tcp_reset":
            raise ValueError("reset_both goes with reply='tcp_reset'")
        self._answer("block", clear_right)
        self.reply, self.absorb, self.reset_both = reply, absorb, reset_both

    def continue_(self, *, clear_right: bool = False) -> None:
        """Answer CONTINUE: what stood when it was asked stands."""
        self._answer(None, clear_right)

    def _answer(self, verdict: str | None, clear_right: bool) -> None:
        self.verdict, self.clear_right = verdict, clear_right
        self.reply, self.absorb, self.reset_both = None, False, None

    def complete(self) -> None:
        """Give the answer to the parked packet, with what it becomes."""
        self.handle.complete(
            self.verdict or "continue", reply=self.reply, clear_right=self.clear_right, absorb=self.absorb,
            reset_both=self.reset_both, packet=self._draft.packet if self._draft.changed else None,
        )  # fmt: skip

    # --- modifying

    def modify(self, packet: Bytes) -> None:
        """What the packet becomes when the coroutine returns.  Raises ActionRefused, and it stays as it was."""
        self._undecided()
        self._draft.modify(packet)

    def write(self, offset: int, data: Bytes) -> None:
        """The packet has these bytes at `offset` from the IP header; as modify()."""
        self._undecided()
        self._draft.write(offset, data)

    def _undecided(self) -> None:
        if not self.handle.waits:
            raise ActionRefused("the packet has its verdict already", hint="answer within late_after")

    def set_flow_context(self, layer: str, value: object) -> None:
        """Refused."""
        raise ActionRefused("a coroutine cannot set a flow context: the flow may be gone when it returns",
                            hint="set it in a classify that is no coroutine, which may pend() then")  # fmt: skip

    def remove_flow_context(self, layer: str) -> None:
        """Refused."""
        raise ActionRefused("a coroutine cannot remove a flow context: another packet's callout may use it meanwhile",
                            hint="remove it in a classify that is no coroutine, which may pend() then")  # fmt: skip

    # --- injection

    @property
    def injection_handle(self) -> Any:
        """As the engine's context has it."""
        if self._injection is None:
            message, hint = self._no_injection
            raise ActionRefused(message, hint=hint)
        return self._injection

    def inject(self, packet: Bytes, *, direction: str | None = None) -> bool:
        """As the engine's context has it, at once."""
        if direction is None:
            direction = "forward" if self.hook == "forward" else "outbound"
        if direction not in _DIRECTIONS:
            raise ValueError(f"direction={direction!r}: one of outbound, inbound, forward")
        handle = self.injection_handle
        if not self._reinjected:
            self._undecided()
        return bool(handle.inject(packet, direction=direction, clone=False))

    def reinject(self, packet: Bytes | None = None) -> bool:
        """Clone, drop and reinject, at once: the packet is blocked for good, whatever is answered afterwards."""
        self._check_reinject(packet)
        direction = {"forward": "forward", "output": "outbound", "postrouting": "outbound"}.get(self.hook, "inbound")
        sent = self.injection_handle.inject(
            self._draft.packet if packet is None else packet, direction=direction, clone=True
        )
        absorbs = LAYER[self.layer.rsplit("_v", 1)[0]].absorb
        self.handle.complete("block", reply=None, clear_right=True, absorb=absorbs, packet=None)
        self._reinjected = True
        return bool(sent)

    def _check_reinject(self, packet: Bytes | None) -> None:
        if self.hook == "prerouting":
            raise ActionRefused(f"nothing can be reinjected at {self.layer} of {self.hook}",
                                hint="use a layer of input, output or forward, and modify() before")  # fmt: skip
        if self.kind == "inspection":
            raise ActionRefused("a callout of kind inspection cannot drop a packet",
                                hint="name it by a filter of kind terminating or unknown")  # fmt: skip
        if not self.write_right:
            raise ActionRefused("the action right is clear: another callout has taken the packet",
                                hint="look at c.write_right, and wait for what the other one injects")  # fmt: skip
        if packet is None and not self._draft.whole:
            raise ActionRefused("the copy of the packet is cut", hint="say `modifies = True` in the callout's class")
        if self._draft.gso:
            raise ActionRefused("a GSO packet is several packets", hint="use modify(), or a proxy")
        self._undecided()


class AtOnce:
    """In place of the handle of a parked packet, where it is waited for: keeps the answer."""

    def __init__(self) -> None:
        self.waits = True
        self.answer: dict[str, Any] = {}

    def complete(self, verdict: str, **words: Any) -> bool:
        """As a parked packet's."""
        first, self.waits = self.waits, False
        if first:
            self.answer = {"verdict": verdict, **words}
        return first

    def tell(self, c: Any) -> None:
        """The engine's own context is answered."""
        verdict, packet, reply = (self.answer.get(word) for word in ("verdict", "packet", "reply"))
        words = {word: bool(self.answer.get(word)) for word in ("clear_right", "absorb")}
        if packet is not None:
            c.modify(packet)
        if verdict == "permit":
            c.permit(clear_right=words["clear_right"])
        elif verdict == "block":
            c.block(reply=reply, reset_both=self.answer.get("reset_both"), **words)
        else:
            c.continue_(clear_right=words["clear_right"])


class Waiting:
    """What is called in place of a coroutine function."""

    def __init__(self, name: str, classify: Classify, loop: Loop | None = None) -> None:
        self._name, self._classify = name, classify
        self._loop = LOOP if loop is None else loop
        self._told = False

    def __call__(self, c: Any) -> None:
        if c.action == "block" and not c.write_right:
            return  # Blocked for good: nothing is left to decide.
        late = c.late_ns
        if late is None:
            c.check_pends()
            self._at_once(c)
            return
        copy, word, failed = WaitingContext(c), c.error_word, c.failed
        copy.handle = c.pend()
        self._loop.start(lambda: self._decide(copy, late, word, failed))

    def _at_once(self, c: Any) -> None:
        copy, handle = WaitingContext(c), AtOnce()
        copy.handle = handle
        raised: list[BaseException] = []
        left = self._loop.left
        in_time = self._loop.finish(lambda: self._awaited(copy, raised), max(c.late_after, LEAST))
        error = raised[0] if raised and not isinstance(raised[0], asyncio.CancelledError) else None
        if in_time and not raised:
            copy.complete()
        handle.waits = False
        if self._loop.left > left and not self._told:
            self._told = True
            logger.warning("callout %s: a coroutine goes on after it was cancelled; it is left to itself", self._name)
        c.waited(not handle.answer and (error is None or not in_time))
        if handle.answer:
            handle.tell(c)
        if error is not None and in_time and not handle.answer:
            raise error
        if error is not None:
            c.failed(self._name, error)  # In vain: the packet has its answer, or is late.

    async def _awaited(self, copy: WaitingContext, raised: list[BaseException]) -> None:
        try:
            await self._classify(copy)
        except BaseException as error:
            raised.append(error)

    async def _decide(
        self, copy: WaitingContext, late: int, word: str, failed: Callable[[str, BaseException], object]
    ) -> None:
        try:
            async with asyncio.timeout(max(0.0, (late - time.monotonic_ns()) / 1e9)):
                await self._classify(copy)
            copy.complete()
        except (TimeoutError, asyncio.CancelledError) as error:
            if time.monotonic_ns() >= late or isinstance(error, asyncio.CancelledError):
                self._loop.cancelled += 1
                return  # on_late has decided.
            failed(self._name, error)  # The callout's own timeout.
            copy.handle.fail(word)
        except BaseException as error:
            failed(self._name, error)
            copy.handle.fail(word)

"""Callouts whose classify is a coroutine: the packet is parked, one loop of the daemon runs them, and what they answer
when they return decides.

A coroutine does not get the engine's own context, which is another packet's by then, but a copy of what that
offers.  Where nothing can be parked (replay) it runs to its end at once.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

MOST_TASKS = 4096
"""That wait at once; the parking queue has its own limit."""

Classify = Callable[[Any], Coroutine[Any, Any, object]]
_COPIED = ("action", "write_right", "filter", "filter_context", "provider_context", "layer", "hook", "direction",
           "kind", "clear_action_right", "flow_id", "flow_context")  # fmt: skip
_REPLIES = (None, "none", "tcp_reset", "icmp_unreachable")


class WaitingContext:
    """The `c` of a coroutine: a copy, so valid for ever."""

    def __init__(self, c: Any) -> None:
        for name in _COPIED:
            setattr(self, name, getattr(c, name))
        self.values: dict[str, Any] = dict(c.values.items())
        self.metadata: dict[str, Any] = dict(c.metadata.items())
        self._bytes = bytes(c.packet)
        self.packet = memoryview(self._bytes)
        size = len(c.payload)
        first = c.payload_offset if size else 0
        self.payload = self.packet[first : first + size]
        self.verdict: str | None = None
        self.clear_right = False
        self.reply: str | None = None
        self.absorb = False

    def scapy(self) -> Any:
        """As the engine's context has it."""
        from scapy.layers.inet import IP
        from scapy.layers.inet6 import IPv6

        return (IPv6 if self._bytes[0] >> 4 == 6 else IP)(self._bytes)

    def permit(self, *, clear_right: bool = False) -> None:
        """Answer PERMIT."""
        self.verdict, self.clear_right, self.reply, self.absorb = "permit", clear_right, None, False

    def block(self, *, clear_right: bool = False, absorb: bool = False, reply: str | None = None) -> None:
        """Answer BLOCK."""
        if reply not in _REPLIES:
            raise ValueError(f"reply={reply!r}: one of none, tcp_reset, icmp_unreachable")
        self.verdict, self.clear_right, self.reply, self.absorb = "block", clear_right, reply, absorb

    def continue_(self, *, clear_right: bool = False) -> None:
        """Answer CONTINUE: what stood when it was asked stands."""
        self.verdict, self.clear_right, self.reply, self.absorb = None, clear_right, None, False

    def complete(self, handle: Any) -> None:
        """Give the answer to the parked packet."""
        handle.complete(
            self.verdict or "continue", reply=self.reply, clear_right=self.clear_right, absorb=self.absorb
        )  # fmt: skip


class Loop:
    """The daemon's one event loop, in a thread of its own from the first coroutine on."""

    def __init__(self, most: int = MOST_TASKS) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting = 0
        self.cancelled = 0
        """Coroutines whose packet was decided before they returned."""

    @property
    def waiting(self) -> int:
        """Coroutines that have not returned."""
        return self._waiting

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._run, args=(self._loop,), name="wfpd-asyncio", daemon=True).start()
            return self._loop

    @staticmethod
    def _run(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
        finally:
            loop.close()

    def start(self, job: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a coroutine beside the caller.  RuntimeError: as many wait as may."""
        loop = self._running()
        with self._lock:
            if self._waiting >= self._most:
                raise RuntimeError(f"{self._most} coroutines wait already")
            self._waiting += 1
        # By the future: a coroutine that is cancelled before its first step runs none of its own code.
        asyncio.run_coroutine_threadsafe(job(), loop).add_done_callback(self._ended)

    def _ended(self, _future: object) -> None:
        with self._lock:
            self._waiting -= 1

    def close(self) -> None:
        """Cancel what waits and end the thread."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is not None:
            loop.call_soon_threadsafe(self._cancel_all, loop)

    @staticmethod
    def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.call_soon(loop.call_soon, loop.stop)  # After the tasks have been told.


LOOP = Loop()
"""Of this process."""


class Waiting:
    """What is called in place of a coroutine function."""

    def __init__(self, name: str, classify: Classify, loop: Loop | None = None) -> None:
        self._name, self._classify = name, classify
        self._loop = LOOP if loop is None else loop

    def __call__(self, c: Any) -> None:
        if c.action == "block" and not c.write_right:
            return  # Blocked for good: nothing is left to decide.
        late = c.late_ns
        if late is None:
            self._at_once(c)
            return
        copy, word, failed = WaitingContext(c), c.error_word, c.failed
        handle = c.pend()
        self._loop.start(lambda: self._decide(copy, handle, late, word, failed))

    def _at_once(self, c: Any) -> None:
        c.check_pend()  # What could not wait live.
        copy = WaitingContext(c)
        asyncio.run(_awaited(self._classify(copy)))
        if copy.verdict == "permit":
            c.permit(clear_right=copy.clear_right)
        elif copy.verdict == "block":
            c.block(clear_right=copy.clear_right, absorb=copy.absorb, reply=copy.reply)
        else:
            c.continue_(clear_right=copy.clear_right)

    async def _decide(
        self, copy: WaitingContext, handle: Any, late: int, word: str, failed: Callable[[str, BaseException], object]
    ) -> None:
        try:
            async with asyncio.timeout(max(0.0, (late - time.monotonic_ns()) / 1e9)):
                await self._classify(copy)
            copy.complete(handle)
        except (TimeoutError, asyncio.CancelledError) as error:
            if time.monotonic_ns() >= late or isinstance(error, asyncio.CancelledError):
                self._loop.cancelled += 1
                return  # on_late has decided.
            failed(self._name, error)  # The callout's own timeout.
            handle.fail(word)
        except BaseException as error:
            failed(self._name, error)
            handle.fail(word)


async def _awaited(answer: Coroutine[Any, Any, object]) -> None:
    await answer

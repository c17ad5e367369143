"""The one event loop of this process, in a thread of its own, in which the coroutines of callouts run."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

MOST_TASKS = 4096
"""That wait at once; the parking queue has its own limit."""
GRACE = 0.25
"""Seconds in which a coroutine that is cancelled ends, or is left to itself."""

Job = Callable[[], Coroutine[Any, Any, None]]


class Loop:
    """Its thread begins with the first coroutine."""

    def __init__(self, most: int = MOST_TASKS, grace: float = GRACE) -> None:
        self._most, self._grace = most, grace
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting = 0
        self._answers: threading.Event | None = None
        """Set once a loop that did not react does; None: it reacts."""
        self.cancelled = 0
        """Coroutines whose packet was decided before they returned."""
        self.left = 0
        """Of those that were waited for: they went on after they were cancelled."""

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

    def start(self, job: Job) -> None:
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

    def finish(self, job: Job, seconds: float) -> bool:
        """Run a coroutine and wait for its end; false: it was cancelled after `seconds`.

        One that goes on all the same is left to itself.  While it does not even let the loop react, every other one is
        late at once.
        """
        if self._answers is not None and not self._answers.is_set():
            self.cancelled += 1
            return False
        self._answers = None
        loop, ended = self._running(), threading.Event()
        future = asyncio.run_coroutine_threadsafe(_signalling(job, ended), loop)
        try:
            if ended.wait(seconds):
                return True
        finally:
            future.cancel()  # Of no effect on one that has ended.
        self.cancelled += 1
        if not ended.wait(self._grace):
            self.left += 1
            self._ask(loop)
        return False

    def _ask(self, loop: asyncio.AbstractEventLoop) -> None:
        """Whether the loop reacts."""
        answers = threading.Event()
        loop.call_soon_threadsafe(answers.set)
        if not answers.wait(self._grace):
            self._answers = answers

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


async def _signalling(job: Job, ended: threading.Event) -> None:
    try:
        await job()
    finally:
        ended.set()


LOOP = Loop()
"""Of this process."""

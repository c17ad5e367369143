"""The loop of coroutines: as many as may wait beside their callers, and those that are waited for end or are left."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from wfpd.callouts.loop import Loop


@pytest.fixture(name="loop")
def _loop() -> Iterator[Loop]:
    loop = Loop(2, grace=0.05)
    yield loop
    loop.close()


def until(true: Callable[[], bool]) -> bool:
    end = time.monotonic() + 10
    while not true() and time.monotonic() < end:
        time.sleep(0.002)
    return true()


async def for_ever() -> None:
    await asyncio.get_running_loop().create_future()


def test_no_more_wait_than_may_and_the_end_cancels_them(loop: Loop) -> None:
    loop.start(for_ever)
    loop.start(for_ever)
    with pytest.raises(RuntimeError, match="2 coroutines wait"):
        loop.start(for_ever)
    assert loop.waiting == 2
    loop.close()
    assert until(lambda: loop.waiting == 0)


def test_one_that_is_waited_for_ends_in_its_time(loop: Loop) -> None:
    seen: list[str] = []

    async def job() -> None:
        await asyncio.sleep(0.001)
        seen.append(threading.current_thread().name)

    assert loop.finish(job, 60) and loop.finish(job, 60)
    assert (seen, loop.cancelled, loop.left) == (["wfpd-asyncio"] * 2, 0, 0)


def test_one_that_never_ends_is_cancelled(loop: Loop) -> None:
    seen: list[str] = []

    async def job() -> None:
        try:
            await for_ever()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    assert not loop.finish(job, 0.02)
    assert (loop.cancelled, loop.left) == (1, 0) and until(lambda: seen == ["cancelled"])


def test_one_that_goes_on_when_it_is_cancelled_is_left_and_others_run(loop: Loop) -> None:
    release = threading.Event()

    async def stubborn() -> None:
        while not release.is_set():
            try:
                await asyncio.sleep(0.005)
            except asyncio.CancelledError:
                continue

    async def job() -> None: ...

    assert not loop.finish(stubborn, 0.02)
    assert (loop.cancelled, loop.left) == (1, 1)
    assert loop.finish(job, 60)
    release.set()


def test_while_one_holds_the_loop_up_others_are_late_at_once_and_run_afterwards(loop: Loop) -> None:
    release = threading.Event()
    seen: list[Any] = []

    async def holds() -> None:
        release.wait(60)

    async def job() -> None:
        seen.append("ran")

    assert not loop.finish(holds, 0.02)
    assert not loop.finish(job, 3600)  # It is not waited for.
    assert (loop.cancelled, loop.left, seen) == (2, 1, [])
    release.set()
    assert until(lambda: loop.finish(job, 60)) and set(seen) == {"ran"}

"""By times that the test gives, on a thread of its own: whoever runs it may have no right to real-time priority."""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Callable

import pytest

from wfpd.dataplane._priority import Turns

WINDOW = 50_000_000
FIFO = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
ORDINARY = os.SCHED_OTHER | os.SCHED_RESET_ON_FORK


def is_permitted() -> bool:
    return os.geteuid() == 0 or resource.getrlimit(resource.RLIMIT_RTPRIO)[0] >= 1


def in_a_thread(work: Callable[[], None]) -> None:
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


def story(work: Callable[[Turns], None]) -> None:
    """`work` with turns that began at 0, in a thread that may be real-time."""

    def run() -> None:
        turns = Turns(0)
        assert turns.status == 0
        work(turns)

    if is_permitted():
        in_a_thread(run)
        return
    in_a_thread(lambda: pytest.fail("has the right") if Turns(0).status == 0 else None)
    pytest.skip("no right to real-time priority")


def test_a_worker_begins_as_real_time_and_nothing_it_starts_inherits_it() -> None:
    def work(turns: Turns) -> None:
        assert turns.raised and os.sched_getscheduler(0) == FIFO and os.sched_getparam(0).sched_priority == 1

    story(work)


def test_one_that_was_busy_for_most_of_a_window_is_ordinary_until_it_has_waited_for_most_of_one() -> None:
    def work(turns: Turns) -> None:
        turns.waited(WINDOW // 2 - 1)
        turns.turn(WINDOW)
        assert not turns.raised and os.sched_getscheduler(0) == ORDINARY
        turns.turn(2 * WINDOW)
        assert not turns.raised
        turns.waited(WINDOW // 2)
        turns.turn(3 * WINDOW)
        assert turns.raised and os.sched_getscheduler(0) == FIFO

    story(work)


def test_nothing_changes_within_a_window_or_when_the_clock_is_behind() -> None:
    def work(turns: Turns) -> None:
        turns.turn(WINDOW - 1)
        assert turns.raised
        turns.waited(WINDOW)
        turns.turn(WINDOW)
        turns.turn(WINDOW // 2)
        assert turns.raised

    story(work)


def test_python_never_runs_at_real_time_priority() -> None:
    def work(turns: Turns) -> None:
        turns.lend()
        assert os.sched_getscheduler(0) == ORDINARY
        turns.take_back()
        assert turns.raised and os.sched_getscheduler(0) == FIFO

    story(work)


def test_one_that_is_busy_is_not_raised_by_python_having_run() -> None:
    def work(turns: Turns) -> None:
        turns.turn(WINDOW)
        turns.lend()
        turns.take_back()
        assert not turns.raised and os.sched_getscheduler(0) == ORDINARY

    story(work)


def test_without_the_right_a_worker_stays_ordinary() -> None:
    def work() -> None:
        turns = Turns(0)
        assert turns.status != 0 and not turns.raised
        turns.waited(WINDOW)
        turns.turn(WINDOW)
        turns.lend()
        turns.take_back()
        assert not turns.raised and os.sched_getscheduler(0) == os.SCHED_OTHER

    read, write = os.pipe()
    child = os.fork()
    if child == 0:  # The right is given up for good.
        said = b"failed"
        try:
            resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))
            if os.geteuid() == 0:
                os.setresuid(65534, 65534, 65534)
            work()
            said = b"passed"
        finally:
            os.write(write, said)
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    assert os.read(read, 16) == b"passed"
    os.close(read)

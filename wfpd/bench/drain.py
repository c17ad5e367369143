"""CPU a packet of draining a queue that was filled beforehand.

Each contender is a process that serves a queue of its own.  It is stopped while its queue is filled and then
continued; its CPU time, by the scheduler's account, is divided by the packets.  Contenders take turns, round
by round: machines are shared and noisy, and only a ratio within one round means something.  They live
through all rounds, so what is measured is a program that has been running for a while.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from netfilterqueue import NetfilterQueue

from wfpd.bench.network import Ring, Sender
from wfpd.dataplane import Engine, Host, Snapshot, configure_queue
from wfpd.errors import KernelError
from wfpd.netfilter.host import read_host
from wfpd.netfilter.namespace import enter

HEADERS = 2048
"""Bytes of a packet that are copied, as the daemon asks for where no filter reads payload."""
LENGTH = 65536 + 64
"""Packets a queue holds."""
SETTLE_SECONDS = 0.05
"""A queue that has not grown for so long is as full as it gets."""
PATIENCE = 30.0
"""Seconds for anything that a contender is waited for."""
_PR_SET_PDEATHSIG = 1

Report = Callable[[], dict[str, int]]
Work = Callable[[NetfilterQueue], tuple[Callable[[], object], Report]]
"""From a bound and configured queue: what serves it for ever, and what tells the counters."""
Works = dict[str, tuple[Work, Callable[[Any], None] | None]]
"""Contenders by name, each with the callback that netfilterqueue calls, if it does."""


@dataclass(frozen=True, slots=True)
class Drained:
    """One contender's turn."""

    nanoseconds: int
    """CPU time of all its threads."""
    packets: int

    @property
    def each(self) -> float:
        """Nanoseconds a packet."""
        return self.nanoseconds / self.packets


def cpu_ns(pid: int) -> int:
    """CPU nanoseconds of every thread of a process, by the scheduler's account."""
    total = 0
    for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):  # The thread has ended meanwhile.
            total += int(path.read_text().split()[0])
    return total


def states(pid: int) -> set[str]:
    """R, S, T ... of every thread of a process."""
    found = set()
    for path in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(OSError):
            found.add(path.read_text().rpartition(")")[2].split()[0])
    return found


def wait_for(condition: Callable[[], object], what: str, seconds: float = PATIENCE) -> None:
    """Poll; KernelError if it never holds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise KernelError(f"{what} did not happen within {seconds:g} s")
        time.sleep(0.001)


# ---- contenders


class Consumer:
    """A child process that serves one queue of the gate, until it is closed."""

    def __init__(self, ring: Ring, queue: int, work: Work, *, callback: Callable[[Any], None] | None = None,
                 copy_bytes: int = HEADERS) -> None:  # fmt: skip
        self.queue = queue
        asked, self._ask = os.pipe()
        self._answers, answer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            _child(ring, queue, work, callback or empty_callback, copy_bytes, asked, answer)
        os.close(asked)
        os.close(answer)
        self._answer_file = os.fdopen(self._answers, "r", encoding="utf-8")
        said = self._answer_file.readline()
        if said != "ready\n":
            self.close()
            raise KernelError(f"queue {queue} is not served: {said.strip() or 'its process ended'}")

    def counters(self) -> dict[str, int]:
        """What the contender counts; empty if it counts nothing."""
        os.write(self._ask, b"?")
        found: dict[str, int] = json.loads(self._answer_file.readline())
        return found

    def close(self) -> None:
        """End the process; the kernel then drops what is queued."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
        os.close(self._ask)
        self._answer_file.close()


def _child(ring: Ring, number: int, work: Work, callback: Callable[[Any], None], copy_bytes: int, asked: int,
           answer: int) -> NoReturn:  # fmt: skip
    """Serve until killed, at the latest when the parent ends."""
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, signal.SIG_IGN)  # The parent decides.
        assert ring.gate.netns is not None
        enter(ring.gate.netns)
        queue = NetfilterQueue()
        queue.bind(number, callback, max_len=LENGTH)
        configure_queue(queue.get_fd(), number, length=LENGTH, copy_bytes=copy_bytes, fail_open=False,
                        error_verdict=1)  # fmt: skip
        serve, report = work(queue)
        threading.Thread(target=_answer, args=(asked, answer, report), daemon=True).start()
        os.write(answer, b"ready\n")
        serve()
    except BaseException as error:  # told to the parent
        os.write(answer, f"{type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(1)


def _answer(asked: int, answer: int, report: Report) -> None:
    """Tell the counters as often as somebody asks."""
    while os.read(asked, 1):
        os.write(answer, json.dumps(report()).encode() + b"\n")


def engine(snapshot: Snapshot, number: int, hook: str, **options: Any) -> Work:
    """The packet loop of wfpd; `options` are Engine's."""

    def work(queue: NetfilterQueue) -> tuple[Callable[[], object], Report]:
        loop = Engine(1, **options)
        loop.swap(snapshot)
        loop.set_host(_host())
        loop.add_queue(number, 0, queue.get_fd(), hook)
        return lambda: loop.run_worker(0), lambda: loop.counters()["queues"][number]["packets"]

    return work


def library(queue: NetfilterQueue) -> tuple[Callable[[], object], Report]:
    """netfilterqueue: the callback given to Consumer decides every packet."""
    return queue.run, dict


def empty_callback(packet: Any) -> None:
    """The cheapest callback there is for netfilterqueue."""
    packet.accept()


def _host() -> Host:
    """The gate's interfaces; addresses of every type are unicast there."""
    interfaces = [(i.index, os.fsencode(i.name), i.iana_type, i.is_loopback, 0) for i in read_host().interfaces]
    return Host(interfaces, [], [], [], 1)


# ---- turns


class Drain:
    """Fills and drains the queues of a ring, again and again, with the same packets."""

    def __init__(self, ring: Ring, sender: Sender, packets: Sequence[bytes]) -> None:
        self.ring = ring
        self.sender = sender
        self.packets = packets

    def turn(self, queue: int, pid: int, n: int | None = None, at_once: int = LENGTH,
             account: Callable[[int], int] = cpu_ns) -> Drained:  # fmt: skip
        """The first `n` packets (None: all) drained by the process, `at_once` at a time.

        `account` reads the CPU time that counts, in nanoseconds.
        """
        packets = self.packets[:n]
        spent = drained = 0
        self.ring.direct(queue)
        for start in range(0, len(packets), at_once):
            part = packets[start : start + at_once]
            os.kill(pid, signal.SIGSTOP)
            wait_for(lambda: states(pid) <= {"T"}, "stopping a contender")
            self.sender.send(part)
            drained += self.settled(queue, len(part))
            before = account(pid)
            os.kill(pid, signal.SIGCONT)
            wait_for(lambda: self.ring.waiting(queue) == 0 and states(pid) <= {"S"}, "emptying the queue")
            spent += account(pid) - before
        return Drained(spent, drained)

    def turns(
        self, served: Mapping[str, Consumer], account: Callable[[int], int] = cpu_ns
    ) -> dict[str, partial[Drained]]:
        """A turn of each contender, with all packets."""
        return {name: partial(self.turn, one.queue, one.pid, account=account) for name, one in served.items()}

    def settled(self, queue: int, expected: int) -> int:
        """Packets in the queue once no more come, at the latest when all are there; KernelError if there are none."""
        waiting, since = -1, time.monotonic()
        while time.monotonic() - since < SETTLE_SECONDS:
            found = self.ring.waiting(queue)
            if found != waiting:
                waiting, since = found, time.monotonic()
            if waiting >= expected:
                break
            time.sleep(0.001)
        if waiting < 1:
            raise KernelError(
                f"no packet came to the {self.ring.hook} hook",
                hint="packets with loopback, multicast or link-local addresses are not routed",
            )
        return waiting


Contender = Callable[[], Drained]
Rounds = list[dict[str, Drained]]


@contextlib.contextmanager
def consumers(ring: Ring, works: Works, copy_bytes: int = HEADERS) -> Iterator[dict[str, Consumer]]:
    """A process for each, on queues 0, 1 ...; all ended at the end."""
    with contextlib.ExitStack() as stack:
        found = {}
        for queue, (name, (work, callback)) in enumerate(works.items()):
            found[name] = Consumer(ring, queue, work, callback=callback, copy_bytes=copy_bytes)
            stack.callback(found[name].close)
        yield found


def rounds(contenders: Mapping[str, Contender], count: int) -> Rounds:
    """A round that is not counted, then `count` rounds of every contender, each beginning with another one."""
    names = list(contenders)
    found = []
    for number in range(count + 1):
        turn = number % len(names)
        done = {name: contenders[name]() for name in names[turn:] + names[:turn]}
        found.append({name: done[name] for name in names})
    return found[1:]


def median(found: Sequence[Mapping[str, Drained]], name: str) -> float:
    """Nanoseconds a packet, in the median round."""
    return statistics.median(each[name].each for each in found)


def ratio(found: Sequence[Mapping[str, Drained]], name: str, other: str) -> float:
    """What `name` costs in terms of `other`, round by round, in the median: 0.5 is half the cost."""
    return statistics.median(each[name].each / each[other].each for each in found)

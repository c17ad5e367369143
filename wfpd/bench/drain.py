"""CPU a packet of draining a queue that was filled beforehand.

The queue is filled while nobody reads it; then one thread drains it, and its own CPU time, by the
scheduler's account, is divided by the packets.  Contenders take turns, round by round: machines are
shared and noisy, and only a ratio within one round means something.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from netfilterqueue import NetfilterQueue

from wfpd.bench.network import Ring, Sender
from wfpd.dataplane import Engine, Host, Snapshot, configure_queue
from wfpd.errors import KernelError
from wfpd.netfilter.host import read_host
from wfpd.netfilter.namespace import call_in

HEADERS = 2048
"""Bytes of a packet that are copied, as the daemon asks for where no filter reads payload."""
SETTLE_SECONDS = 0.05
"""A queue that has not grown for so long is as full as it gets."""


@dataclass(frozen=True, slots=True)
class Drained:
    """One contender's turn."""

    nanoseconds: int
    """CPU time of the thread that drained the queue."""
    packets: int
    blocked: int = 0

    @property
    def each(self) -> float:
        """Nanoseconds a packet."""
        return self.nanoseconds / self.packets


Contender = Callable[[], Drained]


class Drain:
    """Fills and drains one queue of a ring, again and again, with the same packets."""

    def __init__(self, ring: Ring, sender: Sender, packets: Sequence[bytes], copy_bytes: int = HEADERS) -> None:
        self.ring = ring
        self.sender = sender
        self.packets = packets
        self.copy_bytes = copy_bytes
        self._host = call_in(ring.gate.netns, _host)

    @contextlib.contextmanager
    def filled(self, callback: Callable[[Any], None] | None = None) -> Iterator[tuple[NetfilterQueue, int]]:
        """The bound and configured queue, full, and how many packets are in it."""
        queue: NetfilterQueue = call_in(self.ring.gate.netns, NetfilterQueue)  # Its socket belongs to the namespace.
        length = len(self.packets) + 64
        call_in(self.ring.gate.netns, queue.bind, self.ring.queue, callback or _accept, max_len=length)
        try:
            configure_queue(queue.get_fd(), self.ring.queue, length=length, copy_bytes=self.copy_bytes,
                            fail_open=False, error_verdict=1)  # fmt: skip
            self.sender.send(self.packets)
            yield queue, self.settled(len(self.packets))
        finally:
            queue.unbind()

    def settled(self, expected: int) -> int:
        """Packets in the queue once no more come, at the latest when all are there; KernelError if there are none."""
        waiting, since = -1, time.monotonic()
        while time.monotonic() - since < SETTLE_SECONDS:
            found = self.ring.waiting()
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

    def engine(self, snapshot: Snapshot, **options: Any) -> Drained:
        """The packet loop of wfpd; `options` are Engine's."""
        engine = Engine(1, **options)
        engine.swap(snapshot)
        engine.set_host(self._host)
        with self.filled() as (queue, n):
            engine.add_queue(self.ring.queue, 0, queue.get_fd(), self.ring.hook)
            engine.stop()  # The worker ends when the queue is empty.
            spent = _cpu_of(lambda: engine.run_worker(0))
        counted = engine.counters()["queues"][self.ring.queue]["packets"]
        decided = sum(counted.values())
        if decided < n:  # A late one of the kernel's own, such as an MLD report, may come on top.
            raise KernelError(f"{n} packets were queued, and the packet loop decided {counted}")
        return Drained(spent, decided, counted["block"])

    def library(self, callback: Callable[[Any], None]) -> Drained:
        """netfilterqueue with a callback that decides every packet."""
        with self.filled(callback) as (queue, n):
            return Drained(_cpu_of(lambda: queue.run(block=False)), n)


def _accept(packet: Any) -> None:
    """The empty callback."""
    packet.accept()


def _host() -> Host:
    """The gate's interfaces; addresses of every type are unicast there."""
    interfaces = [(i.index, os.fsencode(i.name), i.iana_type, i.is_loopback, 0) for i in read_host().interfaces]
    return Host(interfaces, [], [], [], 1)


def _cpu_of(work: Callable[[], None]) -> int:
    """CPU nanoseconds of `work` in a thread of its own; raises what it raised."""
    spent: list[int] = []
    failures: list[BaseException] = []

    def run() -> None:
        start = time.thread_time_ns()
        try:
            work()
        except BaseException as error:  # handed to the caller
            failures.append(error)
        spent.append(time.thread_time_ns() - start)

    thread = threading.Thread(target=run, name="wfpd-bench", daemon=True)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return spent[0]


empty_callback = _accept
"""The cheapest callback there is for netfilterqueue."""


def rounds(contenders: Mapping[str, Contender], count: int) -> list[dict[str, Drained]]:
    """`count` rounds of every contender, each round beginning with another one."""
    names = list(contenders)
    found = []
    for number in range(count):
        turn = number % len(names)
        found.append({name: contenders[name]() for name in names[turn:] + names[:turn]})
    return found


def median(found: Sequence[Mapping[str, Drained]], name: str) -> float:
    """Nanoseconds a packet, in the median round."""
    return statistics.median(each[name].each for each in found)


def ratio(found: Sequence[Mapping[str, Drained]], name: str, other: str) -> float:
    """How much cheaper `other` is than `name` costs, round by round, in the median: 0.5 is half the cost."""
    return statistics.median(each[name].each / each[other].each for each in found)

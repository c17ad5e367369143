"""How long the packet loop pauses while large policies are built and published beside it.

    python -m bench.bench_pause [--filters 100000] [--rebuilds 100] [--json]

The loop serves a socket whose other end plays the kernel: a process that sends a packet and waits for its verdict,
over and over; the longest round trip is at least the longest time between two batches.  From each is taken
what either side waited for a processor, by the scheduler's account.  What is left holds what a machine below
this one takes away; "asleep" does not: where the loop was woken more often than once for a packet, it is the time in
which it had no processor and waited for none, but for a lock, a page or the interpreter.  Rebuilds come in
blocks of ten, with as long a time without any after each; no root needed.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import gc
import itertools
import json
import mmap
import os
import socket
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench import workloads
from bench.report import Table, main, settings
from bench.surroundings import switching_as_the_daemon
from wfpd.compiler.pack import pack
from wfpd.dataplane import Engine, Snapshot
from wfpd.model.policy import Action, Callout, Policy, Word, default_key

QUEUE = 3
PACKET, FORWARD, IPV4 = 0x0300, 2, 0x0800
ID_AT = 24
"""Of the packet's id in its message."""
LONG = 500_000
"""Nanoseconds."""
BLOCK = 10
"""Rebuilds without a break."""
QUIET, REBUILDING, OVER = range(3)


@dataclass
class Trips:
    """Round trips in one situation; milliseconds."""

    count: int = 0
    longest: float = 0.0
    running: float = 0.0
    """The longest, without waiting for a processor."""
    asleep: float = 0.0
    """The longest in which the loop neither had a processor nor waited for one, nor for the packet."""
    above: int = 0
    """Those above 1 ms."""


def messages(packets: list[bytes]) -> list[bytearray]:
    """The packets as the kernel gives them to a queue at forward."""

    def attribute(kind: int, value: bytes) -> bytes:
        raw = struct.pack("=HH", 4 + len(value), kind) + value
        return raw + bytes(-len(raw) % 4)

    found = []
    for packet in packets:
        body = struct.pack(">BBH", 2, 0, QUEUE)
        body += attribute(1, struct.pack(">IHB", 0, IPV4, FORWARD)) + attribute(10, packet)
        found.append(bytearray(struct.pack("=IHHII", 16 + len(body), PACKET, 0, 0, 0) + body))
    return found


class Situation:
    """A number that two processes see."""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE)

    @property
    def now(self) -> int:
        """One of QUIET, REBUILDING, OVER."""
        return self._page[0]

    @now.setter
    def now(self, value: int) -> None:
        self._page[0] = value


def account(path: str) -> Callable[[], tuple[int, int, int]]:
    """Nanoseconds that a task has had a processor, and has waited for one, so far; how often it was given one."""
    file = os.open(path, os.O_RDONLY)

    def read() -> tuple[int, int, int]:
        had, waited, times = os.pread(file, 64, 0).split()
        return int(had), int(waited), int(times)

    return read


class Watch:
    """The clocks of a round trip; milliseconds."""

    def __init__(self, loop: str) -> None:
        self._loop, self._us = account(loop), account("/proc/thread-self/schedstat")
        self._last = self._read()

    def _read(self) -> tuple[int, int, int, int]:
        had, waited, times = self._loop()
        return time.perf_counter_ns(), waited + self._us()[1], had + time.thread_time_ns(), times

    def trip(self) -> tuple[float, float, float]:
        """It has ended: its length, without waiting for a processor, and what the loop slept within it."""
        began, waited, had, times = self._last
        self._last = self._read()
        length, running = self._last[0] - began, self._last[0] - began - (self._last[1] - waited)
        asleep = 0
        if running > LONG and self._last[3] - times > 1:  # Woken for the packet, and once more.
            time.sleep(0.001)  # The loop's account is complete when it waits for the next packet.
            asleep = max(0, running - (self._loop()[0] + time.thread_time_ns() - had))
            self._last = self._read()
        return length / 1e6, running / 1e6, asleep / 1e6


def play_kernel(end: socket.socket, situation: Situation, watch: Watch, packets: list[bytearray]) -> list[Trips]:
    """Send and wait until OVER; the trips while QUIET and while REBUILDING."""
    gc.disable()
    end.settimeout(30)
    found = [Trips(), Trips()]
    for number, packet in enumerate(itertools.cycle(packets), 1):
        now = situation.now
        if now == OVER:
            return found
        struct.pack_into(">I", packet, ID_AT, number)
        end.send(packet)
        end.recv(4096)
        trips, (length, running, asleep) = found[now], watch.trip()
        trips.count += 1
        trips.longest = max(trips.longest, length)
        trips.running = max(trips.running, running)
        trips.asleep = max(trips.asleep, asleep)
        trips.above += asleep > 1
    return found


@contextlib.contextmanager
def serving(engine: Engine, packets: list[bytearray], results: list[Trips]) -> Iterator[Situation]:
    """The loop and its peer, until the block ends; then `results` has the peer's."""
    situation, (ours, peers) = Situation(), socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    engine.add_queue(QUEUE, 0, ours.fileno(), "forward")
    thread = threading.Thread(target=engine.run_worker, args=(0,))
    loop, loop_of = os.pipe()
    with tempfile.TemporaryFile("w+") as report:
        child = os.fork()  # Ahead of the thread.
        if child == 0:
            with contextlib.suppress(BaseException):
                watch = Watch(os.read(loop, 100).decode())
                trips = play_kernel(peers, situation, watch, packets)
                report.write(json.dumps([dataclasses.asdict(item) for item in trips]))
                report.flush()
            os._exit(0)
        thread.start()
        os.write(loop_of, f"/proc/{os.getpid()}/task/{thread.native_id}/schedstat".encode())
        try:
            yield situation
        finally:
            situation.now = OVER
            os.waitpid(child, 0)
            engine.stop(drain=0.1)
            thread.join()
        report.seek(0)
        results.extend(Trips(**item) for item in json.loads(report.read() or "[]"))
    for end in (ours, peers):
        end.close()
    for fd in (loop, loop_of):
        os.close(fd)


def measure(filters: int, rebuilds: int, callout: bool) -> list[Trips]:
    """Trips without rebuilds and beside them; `callout`: every packet is shown to a Python callout."""
    of = workloads.rules("access", filters)
    packets = messages(workloads.udp_packets(of, 4096, 512))
    policy = workloads.policy(of)
    if callout:
        policy = _inspected(policy)
    asked = itertools.count()
    packed, callouts = pack(policy), [lambda context: next(asked)] if callout else []

    def build(generation: int, previous: Snapshot | None) -> Snapshot:
        return Snapshot(packed, callouts, generation=generation, previous=previous, on_error=Word.PERMIT,
                        on_malformed=Word.PERMIT, on_late=Word.PERMIT, flows_full=Word.PERMIT)  # fmt: skip

    engine, results = Engine(1), list[Trips]()
    engine.swap(build(1, None))
    with serving(engine, packets, results) as situation:
        for block in range(0, rebuilds, BLOCK):
            began = time.monotonic()
            situation.now = REBUILDING
            time.sleep(0.05)
            for number in range(block, min(rebuilds, block + BLOCK)):
                assert engine.swap(build(number + 2, engine.snapshot), timeout=10)
            situation.now = QUIET
            time.sleep(max(0.2, time.monotonic() - began))
    assert len(results) == 2 and results[QUIET].count, "no packet came back"
    assert not callout or next(asked) >= sum(trips.count for trips in results), "the callout was not asked"
    return results


def _inspected(policy: Policy) -> Policy:
    shown = workloads.with_filter(policy, Action.CALLOUT_INSPECTION, callout="c")
    return dataclasses.replace(shown, callouts=(Callout("c", default_key("file", "callout", "c"), "c"),))


def bench(given: argparse.Namespace) -> list[Table]:
    """One table."""
    assert __doc__ is not None
    columns = ["", "round trips", "longest, ms", "waits for a processor taken off", "asleep", "above 1 ms"]
    table = Table(f"The packet loop while {given.filters:,} filters are rebuilt", __doc__.rpartition("\n\n")[2].strip(),
                  columns)  # fmt: skip
    for name, callout in (("filters alone", False), ("a Python callout on every packet", True)):
        with switching_as_the_daemon():
            results = measure(given.filters, given.rebuilds, callout)
        for when, trips in zip(("no rebuild", f"{given.rebuilds} rebuilds"), results, strict=True):
            table.add(f"{name}, {when}", trips.count, trips.longest, trips.running, trips.asleep, str(trips.above))
    return [table]


def arguments() -> argparse.ArgumentParser:
    """Its options."""
    return settings("bench_pause", __doc__, filters=100_000, rebuilds=100)


if __name__ == "__main__":
    sys.exit(main(arguments(), bench))

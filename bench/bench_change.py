"""One filter more or less beside a large policy: how long until it is decided by, and what packets pay meanwhile.

    python -m bench.bench_change [--filters 100000] [--changes 10000] [--rounds 3] [--json]

The first table is of changes one after the other, as fast as they are taken, with the background at work as in the
daemon: while it builds anew, up to all of them lie beside the base.  A change is visible when `change`
returns, which is after the store that the next batch reads.  Time in which the thread waited for a processor
(/proc/thread-self/schedstat) is taken off; packing one filter, which its giver does, is a row of its own.

The second table is of packets: classification with so many filters beside the base, by the linear search of none,
as a multiple of the same packets without any.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from bench import workloads
from bench.report import Table, main, settings
from bench.surroundings import switching_as_the_daemon
from wfpd.compiler.pack import pack
from wfpd.control.tables import Tables
from wfpd.dataplane import Engine, Snapshot
from wfpd.dataplane._probe import classify_many
from wfpd.model.layers import LAYER
from wfpd.model.policy import Filter, Policy, Word

WORDS = dict.fromkeys(("on_error", "on_malformed", "on_late", "flows_full"), int(Word.PERMIT))
PACKETS = 4000
STEPS = ((0, 1), (1, 10), (10, 100), (100, 1000), (1000, 10_000))
"""Pending changes of a row: from, up to."""


class Subject:
    """A large policy that an engine runs, and filters to add to it."""

    def __init__(self, n_filters: int, n_more: int, background: bool) -> None:
        rules = workloads.rules("access", n_filters + n_more, seed=3)
        self.policy = workloads.policy(rules[:n_filters])
        self.engine = Engine(1)
        self.tables = Tables(self._publish, background=background)
        self.tables.replace(pack(self.policy), [], **WORDS)
        self.packets = workloads.packets(rules, PACKETS)
        more = workloads.policy(rules[n_filters:]).filters
        self.more = [dataclasses.replace(item, name=f"x{number}", key=uuid.UUID(int=(1 << 100) + number))
                     for number, item in enumerate(more)]  # fmt: skip

    def _publish(self, snapshot: Snapshot) -> None:
        self.engine.swap(snapshot, timeout=0)

    def packed(self, *filters: Filter) -> bytes:
        return pack(Policy(filters=filters, sublayers=self.policy.sublayers))


def _waited() -> int:
    """Nanoseconds in which this thread was ready and had no processor."""
    return int(Path("/proc/thread-self/schedstat").read_bytes().split()[1])


def _timed(step: object, *arguments: object, **named: object) -> int:
    """Nanoseconds, without those of waiting for a processor."""
    assert callable(step)
    waited, started = _waited(), time.perf_counter_ns()
    step(*arguments, **named)
    took = time.perf_counter_ns() - started
    return max(0, took - (_waited() - waited))


def _changes(n_filters: int, n_changes: int) -> tuple[list[int], list[tuple[int, int]], list[tuple[int, int]]]:
    """Nanoseconds of packing, and (pending before, nanoseconds) of each addition and of each removal."""
    subject = Subject(n_filters, n_changes, background=True)
    packing: list[int] = []
    parts = []
    for item in subject.more:
        started = time.perf_counter_ns()
        parts.append(subject.packed(item))
        packing.append(time.perf_counter_ns() - started)
    adding, removing = [], []
    try:
        for part in parts:
            adding.append((subject.tables.pending, _timed(subject.tables.change, part)))
        end = time.monotonic() + 60
        while subject.tables.pending and time.monotonic() < end:
            time.sleep(0.05)
        for item in subject.more:
            removing.append((subject.tables.pending, _timed(subject.tables.change, remove=[item.key.bytes])))
    finally:
        subject.tables.close()
    return packing, adding, removing


def visible(n_filters: int, n_changes: int, rounds: int) -> Table:
    """How long a change takes until packets are decided by it."""
    columns = ["step", "pending", "changes", "median, µs", "p99, µs", "p99 / median", "longest, µs"]
    found = Table(
        "A filter more or less",
        f"{n_filters:,} filters at one layer; {n_changes:,} changes of one filter each, one after the other, "
        f"{rounds} rounds. What waited for a processor is taken off.",
        columns,
    )
    packing: list[int] = []
    adding: list[tuple[int, int]] = []
    removing: list[tuple[int, int]] = []
    for _ in range(rounds):
        one, two, three = _changes(n_filters, n_changes)
        packing += one
        adding += two
        removing += three
    _row(found, "pack one filter", "-", packing)
    for name, times in (("add", adding), ("remove", removing)):
        _row(found, name, "any", [took for _, took in times])
        for low, high in STEPS:
            some = [took for pending, took in times if low <= pending < high]
            if some:
                _row(found, name, f"{low:,} to {high:,}", some)
    return found


def _row(table: Table, name: str, pending: str, times: Sequence[int]) -> None:
    ordered = sorted(times)
    median, late = statistics.median(ordered), ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]
    table.add(name, pending, f"{len(ordered):,}", median / 1e3, late / 1e3, late / median, ordered[-1] / 1e3)


def beside(n_filters: int, n_changes: int, rounds: int) -> Table:
    """What packets pay for filters beside the base."""
    found = Table(
        "Packets while filters lie beside the base",
        f"Classification alone, {n_filters:,} filters; medians of {rounds} paired rounds, as multiples of the same "
        "base without changes. Fresh ones are one part that is made anew with each change, folded ones another.",
        ["beside", "ns a packet", "times without"],
    )
    slot = LAYER["ipforward"].slot(4)
    subjects: list[tuple[str, Subject]] = [("nothing", Subject(n_filters, 0, background=False))]
    for name, count, fold in (("1 fresh", 1, False), ("64 fresh", 64, False), ("256 folded", 256, True),
                              (f"{n_changes:,} folded", n_changes, True)):  # fmt: skip
        subject = Subject(n_filters, count, background=False)
        for item in subject.more:
            subject.tables.change(subject.packed(item))
            if fold and len(subject.more) > 64 and subject.more.index(item) % 64 == 63:
                subject.tables.fold()
        if fold:
            subject.tables.fold()
        subjects.append((name, subject))
    gone = Subject(n_filters, 0, background=False)
    every = max(1, n_filters // n_changes)
    gone.tables.change(remove=[item.key.bytes for item in gone.policy.filters[::every]])
    subjects.append((f"{n_filters // every:,} of the base removed", gone))
    rows = workloads.table(subjects[0][1].packets)
    times: dict[str, list[float]] = {name: [] for name, _ in subjects}
    for _ in range(rounds):
        for name, subject in subjects:
            snapshot = subject.tables.snapshot
            assert snapshot is not None
            times[name].append(classify_many(snapshot, slot, workloads.FIELD_IDS, rows, 3))
    for name, taken in times.items():
        ratio = statistics.median(one / base for one, base in zip(taken, times["nothing"], strict=True))
        found.add(name, statistics.median(taken), ratio)
    return found


def arguments() -> argparse.ArgumentParser:
    """Its settings."""
    return settings("python -m bench.bench_change", __doc__, filters=100_000, changes=10_000, rounds=3)


def bench(given: argparse.Namespace) -> list[Table]:
    """Both tables."""
    with switching_as_the_daemon():
        return [visible(given.filters, given.changes, given.rounds), beside(given.filters, given.changes, given.rounds)]


if __name__ == "__main__":
    sys.exit(main(arguments(), bench))

"""What the engine adds to a change: reading it, checking it, packing it, and the switch.

    python -m bench.bench_engine [--filters 100000] [--changes 10000] [--json]

One filter after the other is added by a session, as text, beside a large policy, with the background at work as in the
daemon, and deleted again; a change is visible when the call returns, which is after the store that the next batch of
packets reads.  Then all of them in one transaction.  Time in which the thread waited for a processor is taken off.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import uuid

from bench.bench_change import STEPS, Subject, _row, _timed
from bench.report import Table, main, settings
from bench.surroundings import switching_as_the_daemon
from wfpd.bfe import Bfe, Kind
from wfpd.control.ground import TablesGround


def described(number: int) -> str:
    """A change that adds one filter of four conditions."""
    when = {"ip_protocol": "tcp", "ip_destination_port": [22, 1024 + number % 60000],
            "ip_source_address": f"10.{number >> 8 & 255}.{number & 255}.0/24",
            "ip_destination_address": "192.0.2.0/24"}  # fmt: skip
    entry = {"name": f"x{number}", "layer": "ipforward_v4", "action": "block", "when": when}
    return json.dumps({"version": 1, "filters": [entry]})


class Party:
    """A session beside a large policy."""

    def __init__(self, n_filters: int) -> None:
        self.subject = Subject(n_filters, 0, background=True)
        tables = self.subject.tables
        ground = TablesGround(
            tables,
            lambda packed, callouts, remove, _contexts: tables.change(packed, [], remove).generation,
            lambda slots: [(0, 0.0)] * len(slots),
            lambda: (),
        )
        self.session = Bfe(ground).open()

    def close(self) -> None:
        """End the background."""
        self.subject.tables.close()


def single(n_filters: int, n_changes: int) -> Table:
    """One change after the other."""
    columns = ["step", "pending", "changes", "median, µs", "p99, µs", "p99 / median", "longest, µs"]
    found = Table(
        "One filter of a session", f"{n_filters:,} filters of a file; text to tables, one at a time.", columns
    )
    party = Party(n_filters)
    adding, removing, keys = [], [], []
    try:
        for number in range(n_changes):
            text = described(number)
            pending = party.subject.tables.pending
            adding.append((pending, _timed(party.session.add_text, text)))
        page = party.session.list(Kind.FILTER, {"layer": "ipforward_v4", "provider": None}, 1000)
        while True:
            keys += [one["key"] for one in page.objects]
            if page.cursor is None:
                break
            page = party.session.next(page.cursor, 1000)
        for key in keys:
            pending = party.subject.tables.pending
            removing.append((pending, _timed(party.session.delete, Kind.FILTER, [uuid.UUID(key)])))
    finally:
        party.close()
    for name, times in (("add", adding), ("delete", removing)):
        _row(found, name, "any", [took for _, took in times])
        for low, high in STEPS:
            if some := [took for pending, took in times if low <= pending < high]:
                _row(found, name, f"{low:,} to {high:,}", some)
    return found


def together(n_filters: int, n_changes: int) -> Table:
    """All of them in one transaction."""
    found = Table("All in one transaction", f"{n_changes:,} filters beside {n_filters:,}; one switch.",
                  ["step", "ms", "µs a filter"])  # fmt: skip
    party = Party(n_filters)
    try:
        party.session.begin()
        texts = [described(number) for number in range(n_changes)]
        started = time.perf_counter_ns()
        for text in texts:
            party.session.add_text(text)
        between = time.perf_counter_ns()
        party.session.commit()
        ended = time.perf_counter_ns()
    finally:
        party.close()
    for name, took in (("read and check", between - started), ("commit", ended - between)):
        found.add(name, took / 1e6, took / 1e3 / n_changes)
    return found


def arguments() -> argparse.ArgumentParser:
    """Its settings."""
    return settings("python -m bench.bench_engine", __doc__, filters=100_000, changes=10_000)


def bench(given: argparse.Namespace) -> list[Table]:
    """Both tables."""
    with switching_as_the_daemon():
        return [single(given.filters, given.changes), together(given.filters, given.changes)]


if __name__ == "__main__":
    sys.exit(main(arguments(), bench))

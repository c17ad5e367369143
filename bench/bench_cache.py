"""The decision cache in front of the classifier: what a hit costs, and what it costs traffic that never hits.

    python -m bench.bench_cache [--filters 1000] [--rounds 9] [--json]

5-tuple filters at ipforward.  "hit": 256 conversations in turn.  "miss": no packet like one of the 65,536 before it.
"every other" and "three in four": as miss, but so many packets are one of 16: too few, and enough, for the
cache not to be left out.  Nanoseconds of CPU time a decision beyond reading the values, which is measured by
itself; with the cache, without it and values alone take turns, round by round; medians, the ratio's too.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from bench import workloads
from bench.policies import snapshot
from bench.report import Table, main, settings
from wfpd.dataplane import Snapshot
from wfpd.dataplane._cache import CacheDoor
from wfpd.model.layers import LAYER

CONVERSATIONS, DISTINCT = 256, 65536


def traffic(of: Sequence[workloads.Rule]) -> dict[str, memoryview]:
    """Packets by kind."""
    tried = workloads.packets(of, CONVERSATIONS)
    port = 2  # Of the source; another makes another conversation.
    ports = [(*tried[n % CONVERSATIONS][:port], n, *tried[n % CONVERSATIONS][port + 1 :]) for n in range(DISTINCT)]

    def mixed(known: tuple[bool, ...]) -> list[workloads.Packet]:
        turn = len(known)
        return [tried[(n // turn + n) % 16] if known[n % turn] else packet for n, packet in enumerate(ports)]

    kinds = {"hit": tried, "miss": ports, "every other": mixed((True, False)),
             "three in four": mixed((True, True, False, True))}  # fmt: skip
    return {name: workloads.table(packets) for name, packets in kinds.items()}


@dataclass
class Case:
    """One kind of traffic for one policy and cache."""

    taken: Snapshot
    slot: int
    rows: memoryview
    door: CacheDoor

    def ask(self, *, cached: bool, decided: bool = True) -> float:
        """Nanoseconds a packet."""
        turns = max(1, DISTINCT // len(self.rows))
        return self.door.decide_many(self.taken, self.slot, workloads.FIELD_IDS, self.rows, turns, cached=cached,
                                     decided=decided)  # fmt: skip


def measure(table: Table, family: int, filters: int, rounds: int) -> None:
    """A row for each kind of traffic."""
    of = workloads.rules("access", filters, bits=32 if family == 4 else 128)
    taken, slot = snapshot(workloads.policy(of, family), []), LAYER["ipforward"].slot(family)
    for kind, rows in traffic(of).items():
        case = Case(taken, slot, rows, CacheDoor())
        case.ask(cached=True)
        found = []
        for _ in range(rounds):
            values = case.ask(cached=False, decided=False)
            found.append((case.ask(cached=True) - values, case.ask(cached=False) - values))
        cached, plain = (statistics.median(side) for side in zip(*found, strict=True))
        table.add(f"IPv{family}, {kind}", cached, plain, statistics.median(a / b for a, b in found))


def bench(given: argparse.Namespace) -> list[Table]:
    """One table."""
    assert __doc__ is not None
    table = Table(f"The decision cache before {given.filters:,} filters", __doc__.rpartition("\n\n")[2].strip(),
                  ["", "with it, ns", "without, ns", "ratio"])  # fmt: skip
    for family in (4, 6):
        measure(table, family, given.filters, given.rounds)
    return [table]


def arguments() -> argparse.ArgumentParser:
    """Its options."""
    return settings("bench_cache", __doc__, filters=1000, rounds=9)


if __name__ == "__main__":
    sys.exit(main(arguments(), bench))

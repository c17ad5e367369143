"""What the flight recorder costs: CPU a packet of draining a full queue with it and without, in paired rounds.

    python -m bench.bench_recorder [--rounds 9] [--packets 4096] [--filters 10000] [--json FILE]

As bench_drain, which has the rest: 64-byte UDP packets that try ClassBench-like filters at forward, of which none or
every tenth is blocked; each engine is a process of its own on its own queue of the same ring.
`forward, all blocked, all new` blocks every packet, of as many conversations as packets: each is a record of its own.
"""

from __future__ import annotations

import argparse
import sys

from bench import workloads
from bench.bench_drain import policies
from bench.draining import BATCH, FLOWS, SHAPE, paired
from bench.policies import snapshot
from bench.report import Table, main, settings
from wfpd.bench.drain import Rounds, engine, median, ratio
from wfpd.dataplane import Snapshot
from wfpd.model.policy import Action

CASES = ("forward, everything permitted", "forward, 10 % blocked")
ALL_NEW = "forward, all blocked, all new"


def measured(made: Snapshot, packets: list[bytes], count: int) -> Rounds:
    """Rounds of one case."""
    without = engine(made, 0, "forward", batch=BATCH, recorder=0)
    return paired({"without": (without, None), "with": (engine(made, 1, "forward", batch=BATCH), None)}, packets, count)


def bench(given: argparse.Namespace) -> list[Table]:
    """Every case."""
    found = Table(
        "The flight recorder",
        f"CPU nanoseconds a packet, {given.filters:,} filters, {given.packets} packets a round; medians of "
        f"{given.rounds} paired rounds. `with / without` is the median of the rounds' ratios.",
        ["case", "without, ns", "with, ns", "with / without"],
    )
    rules = workloads.rules(SHAPE, given.filters)
    made = policies(given.filters)
    blocking = snapshot(workloads.with_filter(workloads.policy(rules), Action.BLOCK), [])
    for case in (*CASES, ALL_NEW):
        tenth = 10 if case == CASES[1] else 0
        flows = given.packets if case == ALL_NEW else FLOWS
        packets = workloads.udp_packets(rules, given.packets, flows, longer_every=tenth)
        taken = measured(made.get(case, blocking), packets, given.rounds)
        found.add(case, median(taken, "without"), median(taken, "with"), f"{ratio(taken, 'with', 'without'):.3f}")
    return [found]


def arguments() -> argparse.ArgumentParser:
    """The settings."""
    return settings("bench_recorder", __doc__, rounds=9, packets=4096, filters=10000)


if __name__ == "__main__":
    sys.exit(main(arguments(), bench))

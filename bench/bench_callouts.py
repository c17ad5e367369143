"""CPU a packet of a callout on every packet, on a full queue, beside none and beside today's tools, in paired rounds.

    python -m bench.bench_callouts [--rounds 9] [--packets 4096] [--filters 1000] [--json FILE]

The drain bench's queue at forward: 64-byte UDP packets that try ClassBench-like filters.  "limit" receives with
recvmmsg, gives one batch verdict and does nothing else.  The compiled callout is `wfpd.callouts.counting`, called
without the interpreter's lock; another one leaves every packet to its Python half, which is the dearest that one can
do. The Python one answers `continue_()`, the smallest answer there is. The last contender is a netfilterqueue callback
that accepts and does nothing else.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench import workloads
from bench.bench_drain import Watch
from bench.draining import BATCH, FLOWS, LIMIT, SHAPE, build_limit, limit_work, paired
from bench.peers import EMPTY
from bench.policies import snapshot
from bench.report import Table, against, main, settings
from wfpd.bench.drain import Rounds, Works, empty_callback, engine, library, median, ratio
from wfpd.callouts._told import Chooses
from wfpd.callouts.counting import Counting
from wfpd.callouts.registered import Registered
from wfpd.dataplane import Snapshot
from wfpd.model.policy import Action, Budget, Callout, default_key

NATIVE_BAR = 0.85
NONE, NATIVE, BUDGETED, PYTHON = "no callout", "compiled", "compiled, with a time budget", "Python"
ASKING = "compiled, asks Python about all"
BUDGET = Budget(time_ns=1_000_000_000)
ASK_PYTHON = 9


class Asks(Chooses):
    """Leaves every packet to Python."""

    def classify(self, c: Any) -> None:
        """The smallest answer."""
        c.continue_()


def policies(count: int) -> dict[str, Snapshot]:
    """The policy of each contender of ours."""
    plain = workloads.policy(workloads.rules(SHAPE, count))
    asking = workloads.with_filter(plain, Action.CALLOUT_INSPECTION, callout="watch")
    callout = Callout("watch", default_key("file", "callout", "watch"))
    asking = dataclasses.replace(asking, callouts=(callout,))
    callouts: dict[str, Any] = {
        NATIVE: Counting(),
        BUDGETED: Registered(dataclasses.replace(callout, budget=BUDGET), Counting()),
        ASKING: Asks(without=ASK_PYTHON),
        PYTHON: Watch().classify,
    }
    return {NONE: snapshot(plain, [])} | {name: snapshot(asking, [callout]) for name, callout in callouts.items()}


def measured(given: argparse.Namespace, directory: Path) -> Rounds:
    """All contenders in the same rounds."""
    works: Works = {LIMIT: (limit_work(build_limit(directory), 0), None)}
    for number, (name, made) in enumerate(policies(given.filters).items(), 1):
        works[name] = engine(made, number, "forward", batch=BATCH), None
    works[EMPTY] = library, empty_callback
    packets = workloads.udp_packets(workloads.rules(SHAPE, given.filters), given.packets, FLOWS)
    return paired(works, packets, given.rounds)


def bench(given: argparse.Namespace) -> list[Table]:
    """One table."""
    with tempfile.TemporaryDirectory() as directory:
        found = measured(given, Path(directory))
    table = Table(
        "A callout on every packet",
        f"CPU nanoseconds a packet of a process that drains a queue of {given.packets} 64-byte UDP packets at forward; "
        f"{given.filters:,} filters and one that asks the callout, batches of {BATCH}; medians of {given.rounds} "
        f"paired rounds. A compiled callout is to reach {NATIVE_BAR} of the limit loop, a Python one to be cheaper "
        "than the empty callback (above 1.00 in the last column but one).",
        ["contender", "CPU, ns a packet", "limit / it", "empty callback / it", "bar"],
    )
    for name in found[0]:
        of_limit, of_empty = ratio(found, LIMIT, name), ratio(found, EMPTY, name)
        reached = {NATIVE: against(of_limit, NATIVE_BAR), PYTHON: against(of_empty, 1.0)}.get(name, "-")
        table.add(name, median(found, name), f"{of_limit:.3f}", f"{of_empty:.3f}", reached)
    return [table]


def arguments() -> argparse.ArgumentParser:
    """The settings."""
    return settings("bench_callouts", __doc__, rounds=9, packets=4096, filters=1000)


if __name__ == "__main__":
    sys.exit(main(arguments(), bench))

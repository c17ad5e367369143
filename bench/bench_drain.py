"""CPU a packet of draining a queue that was filled beforehand, against doing nothing, in paired rounds.

    python -m bench.bench_drain [--rounds 9] [--packets 4096] [--filters 10000] [--json FILE]

64-byte UDP packets that try ClassBench-like filters fill a queue while its consumer, a process, is stopped;
then it is continued, and its CPU time, by the scheduler's own account, is divided by the packets.  "limit" receives
with recvmmsg, gives one batch verdict and does nothing else.  Every row has its own limit, measured in the
same rounds on the same packets; `limit / wfpd` is the median of the rounds' ratios: 1.00 is as cheap as
doing nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import dataclasses
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from bench import peers, workloads
from bench.draining import BATCH, FLOWS, LIMIT, SHAPE, SLOW, build_limit, limit_work, paired, serving
from bench.peers import EMPTY, EXAMPLE, SCAPY, WFPD
from bench.policies import snapshot
from bench.report import Table, against, main, settings
from wfpd.bench.drain import Rounds, Works, empty_callback, engine, library, median, ratio, rounds, wait_for
from wfpd.bench.traffic import SIZE
from wfpd.dataplane import Snapshot
from wfpd.model.policy import Action, Callout, default_key

FEW = 128
"""Packets at a time for netfilter's example, whose socket buffer is the system's default."""
CALLOUT = "wfpd, a Python callout on every packet"
SIZES = (0, 1000, 10_000, 100_000)
"""Filters of `by_filters`, at most ten times --filters."""
CASES = (
    ("forward, everything permitted", 0.90),
    ("forward, 10 % blocked", 0.75),
    ("input, every layer, flows", 0.70),
)


class Watch:
    """The Python callout: it is asked about every packet and lets it go on."""

    def classify(self, c: Any) -> None:
        """The smallest answer."""
        c.continue_()


def policies(count: int) -> dict[str, Snapshot]:
    """The policy of each case."""
    rules = workloads.rules(SHAPE, count)
    plain = workloads.policy(rules)
    blocking = workloads.with_filter(plain, Action.BLOCK, length=SIZE + 1)
    asking = workloads.with_filter(plain, Action.CALLOUT_INSPECTION, callout="watch")
    asking = dataclasses.replace(asking, callouts=(Callout("watch", default_key("file", "callout", "watch")),))
    made = [snapshot(policy, []) for policy in (plain, blocking, workloads.input_policy(rules))]
    return dict(zip((name for name, _ in CASES), made, strict=True)) | {"callout": snapshot(asking, [Watch().classify])}


@dataclasses.dataclass
class Programs:
    """What was built for the rounds."""

    limit: ctypes.CDLL
    example: Path
    snapshots: dict[str, Snapshot]

    def works(self, case: str, hook: str) -> Works:
        """Who takes part in a case, each with its callback: today's tools in the first one."""
        found: Works = {
            LIMIT: (limit_work(self.limit, 0), None),
            WFPD: (engine(self.snapshots[case], 1, hook, batch=BATCH), None),
        }
        if case == CASES[0][0]:
            found |= {
                CALLOUT: (engine(self.snapshots["callout"], 2, hook, batch=BATCH), None),
                EMPTY: (library, empty_callback),
                SCAPY: (library, peers.scapy_callback()),
            }
        return found

    def rounds(self, case: str, hook: str, packets: list[bytes], count: int) -> Rounds:
        """Measure a case."""
        with contextlib.ExitStack() as stack:
            drain, served = stack.enter_context(serving(self.works(case, hook), packets, hook))
            turns = drain.turns(served)
            if case == CASES[0][0]:
                turns[SCAPY] = partial(turns[SCAPY], n=max(1, len(packets) // SLOW))
                queue = len(turns)
                argv = [str(self.example), str(queue)]
                process = stack.enter_context(peers.running(drain.ring.gate.netns, argv, stdout=subprocess.DEVNULL))
                wait_for(lambda: drain.ring.bound(queue), "binding the queue by nf-queue")
                turns[EXAMPLE] = partial(drain.turn, queue, process.pid, at_once=FEW)
            return rounds(turns, count)


def by_filters(given: argparse.Namespace, limit: ctypes.CDLL) -> Table:
    """The first case with more and more filters, all in the same rounds."""
    counts = sorted({0, *(min(count, 10 * given.filters) for count in SIZES)})
    found = Table(
        "By number of filters",
        f"The first case again, forward and everything permitted, with {counts[0]} to {counts[-1]:,} filters.",
        ["filters", "CPU, ns a packet", "above the limit's, ns", "limit / wfpd"],
    )
    rules = workloads.rules(SHAPE, counts[-1])
    works: Works = {LIMIT: (limit_work(limit, 0), None)}
    for number, count in enumerate(counts):
        made = snapshot(workloads.policy(rules[:count]), [])
        works[f"{count:,}"] = engine(made, number + 1, "forward", batch=BATCH), None
    taken = paired(works, workloads.udp_packets(rules, given.packets, FLOWS), given.rounds)
    for name in list(works)[1:]:
        above = median(taken, name) - median(taken, LIMIT)
        found.add(name, median(taken, name), above, f"{ratio(taken, LIMIT, name):.3f}")
    return found


def tables(given: argparse.Namespace) -> tuple[Table, Table]:
    """Empty ones."""
    bars = Table(
        "Draining a full queue",
        f"CPU nanoseconds a packet of a process that drains a queue of {given.packets} 64-byte UDP packets of {FLOWS} "
        f"conversations; {given.filters:,} filters (at input dealt to the {len(workloads.INPUT_LAYERS)} layers), one "
        f"queue, one worker, batches of {BATCH}; medians of {given.rounds} paired rounds. *Limit* receives with "
        "recvmmsg, gives one batch verdict and does nothing else; 1.00 would be as cheap as doing nothing.",
        ["case", "limit, ns", "wfpd, ns", "limit / wfpd", "bar"],
    )
    others = Table(
        "Beside what is used today",
        "The same queue at forward, in the same rounds: an empty netfilterqueue callback, one that reads the packet "
        "with Scapy, and netfilter's nf-queue.c. A Python callout is to be cheaper than the empty callback.",
        ["contender", "CPU, ns a packet", "times wfpd's"],
    )
    return bars, others


def measure(given: argparse.Namespace, programs: Programs) -> list[Table]:
    """Every case, in rounds of its own."""
    bars, others = tables(given)
    rules = workloads.rules(SHAPE, given.filters)
    for case, bar in CASES:
        packets = workloads.udp_packets(rules, given.packets, FLOWS, longer_every=10 if "blocked" in case else 0)
        found = programs.rounds(case, case.split(",")[0], packets, given.rounds)
        reached = ratio(found, LIMIT, WFPD)
        bars.add(case, median(found, LIMIT), median(found, WFPD), f"{reached:.3f}", against(reached, bar))
        for name in found[0] if case == CASES[0][0] else ():
            others.add(name, median(found, name), ratio(found, name, WFPD))
    return [bars, others]


def bench(given: argparse.Namespace) -> list[Table]:
    """Build what is to be built, and measure."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory)
        programs = Programs(build_limit(path), peers.build_nf_queue(path), policies(given.filters))
        return [*measure(given, programs), by_filters(given, programs.limit)]


def arguments() -> argparse.ArgumentParser:
    """The settings."""
    return settings("bench_drain", __doc__, rounds=9, packets=4096, filters=10000)


if __name__ == "__main__":
    sys.exit(main(arguments(), bench))

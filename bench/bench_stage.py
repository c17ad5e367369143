"""What a staged policy costs the packets, and what comparing costs beside them, in paired rounds.

    python -m bench.bench_stage [--rounds 9] [--packets 4096] [--filters 1000] [--json]

64-byte UDP packets that try ClassBench-like filters at ipforward fill a queue while its consumer is stopped;
then it is continued.  The staged policy is the running one.  "worker": CPU time a packet of the
thread that decides; the ratio is the median of the rounds' ratios to no stage.  "comparing": that of the thread
that compares, for each packet that was compared, beside the rounds.
"""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from netfilterqueue import NetfilterQueue

from bench import workloads
from bench.draining import BATCH, FLOWS, SHAPE, serving
from bench.policies import snapshot
from bench.report import Table, main, settings
from wfpd.bench.drain import Report, Work, Works, engine, median, ratio, rounds
from wfpd.dataplane import Engine, Flows, Snapshot, Stage

SAMPLE = 1_000_000
"""One flow in so many: none of these."""
NONE, ALL = "no stage", "every packet staged"


def staged_engine(taken: Snapshot, number: int, **options: int) -> Work:
    """wfpd's packet loop with a stage, which compares in a thread of its own."""

    def work(queue: NetfilterQueue) -> tuple[Callable[[], object], Report]:
        loop = Engine(1, batch=BATCH)
        loop.swap(taken)
        loop.add_queue(number, 0, queue.get_fd(), "forward")
        stage = Stage(taken, Flows(1024), workers=2, **options)
        loop.stage(stage)
        spent = [0]
        threading.Thread(target=_compare, args=(stage, spent), daemon=True).start()
        return lambda: loop.run_worker(0), lambda: _counts(stage, spent[0])

    return work


def _compare(stage: Stage, spent: list[int]) -> None:
    """`spent`: its CPU time so far, in nanoseconds."""
    while True:
        taken = stage.turn()
        spent[0] = time.thread_time_ns()
        if not taken:
            time.sleep(0.005)


def _counts(stage: Stage, spent: int) -> dict[str, int]:
    found = stage.totals()
    return {"seen": found["seen"], "compared": found["compared"], "nanoseconds": spent}


def worker_ns(pid: int) -> int:
    """CPU nanoseconds of a process's first thread, which decides."""
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0])


def bench(given: argparse.Namespace) -> list[Table]:
    """One table."""
    assert __doc__ is not None
    rules = workloads.rules(SHAPE, given.filters)
    taken = snapshot(workloads.policy(rules), [])
    works: Works = {
        NONE: (engine(taken, 0, "forward", batch=BATCH), None),
        "no flow sampled": (staged_engine(taken, 1, sample=SAMPLE), None),
        ALL: (staged_engine(taken, 2), None),
    }
    table = Table(f"A staged policy of {given.filters:,} filters", __doc__.rpartition("\n\n")[2].strip(),
                  ["", "worker, ns", "worker / no stage", "comparing, ns", "compared"])  # fmt: skip
    with serving(works, workloads.udp_packets(rules, given.packets, FLOWS)) as (drain, served):
        found = rounds(drain.turns(served, account=worker_ns), given.rounds)
        for name, one in served.items():
            counts = one.counters()
            compared = counts.get("compared", 0)
            each = f"{counts['nanoseconds'] / compared:,.0f}" if compared else "-"
            told = f"{compared:,} of {counts['seen']:,}" if "seen" in counts else "-"
            table.add(name, median(found, name), f"{ratio(found, name, NONE):.3f}", each, told)
    return [table]


def arguments() -> argparse.ArgumentParser:
    """The settings."""
    return settings("bench_stage", __doc__, rounds=9, packets=4096, filters=1000)


if __name__ == "__main__":
    sys.exit(main(arguments(), bench))

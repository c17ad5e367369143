"""Classification and table building on generated 5-tuple filters: `python -m bench.bench_classify [count ...]`."""

from __future__ import annotations

import statistics
import sys
import time

from bench import workloads
from wfpd.compiler.pack import pack
from wfpd.dataplane import Snapshot
from wfpd.dataplane._classify import build_seconds, classify_many, table_stats
from wfpd.model.layers import LAYER

ROUNDS = 9


def measure(shape: str, count: int, family: int, sublayers: int) -> str:
    """One line: nanoseconds a packet (median of rounds), build milliseconds, sizes."""
    rules = workloads.rules(shape, count, bits=32 if family == 4 else 128)
    started = time.perf_counter()
    packed = pack(workloads.policy(rules, family, sublayers))
    snapshot = Snapshot(packed, [], generation=1, on_error=1, on_malformed=1, on_late=1, flows_full=1)
    whole = time.perf_counter() - started
    slot = LAYER["ipforward"].slot(family)
    rows = workloads.table(workloads.packets(rules, 5000))
    times = [classify_many(snapshot, slot, workloads.FIELD_IDS, rows, 2) for _ in range(ROUNDS)]
    stats = table_stats(snapshot, slot)
    return (
        f"{shape:9} v{family} {count:7} filters {sublayers} sublayers: {statistics.median(times):7.0f} ns  "
        f"build {1e3 * build_seconds(snapshot):7.1f} ms  {stats['bytes'] / count:5.0f} B/filter  "
        f"copies {stats['copies'] / count:4.2f}  leaf {stats['largest_leaf']:5}  depth {stats['depth']:2}  "
        f"forks {stats['forks']:4}  pack {whole:.1f} s"
    )


def main(arguments: list[str]) -> None:
    """Print one line for each shape, family and number of sublayers."""
    for count in [int(text) for text in arguments] or [1000, 10000]:
        for shape in workloads.SHAPES:
            for family, sublayers in ((4, 1), (4, 4), (6, 1)):
                print(measure(shape, count, family, sublayers), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])

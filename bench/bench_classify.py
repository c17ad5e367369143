"""Classification and table building, against a linear search in C: `python -m bench.bench_classify`.

Each set is answered by the tables and by `linear_scan.c`, every answer compared; then both are timed in
turn, round by round, in CPU time of the thread.  Filling a packet's values is not counted.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import math
import statistics
import subprocess
import tempfile
import time
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from bench import application_rules, classbench, hostile_rules, workloads
from wfpd.compiler.pack import pack
from wfpd.dataplane import Snapshot
from wfpd.dataplane._probe import build_seconds, classify_many, table_stats
from wfpd.model.layers import LAYER
from wfpd.model.policy import Policy

WORD = 0xFFFFFFFF
PACKETS = 5000


@dataclass
class Workload:
    """Filters, packets for them, and the same for the linear search."""

    group: str
    name: str
    count: int
    sublayers: int
    policy: Policy
    slot: int
    fields: Sequence[int]
    rows: memoryview
    texts: Sequence[bytes]
    n_dims: int
    columns: array[int]
    """(low, span) in each dimension, box by box."""
    rules: array[int]
    """The rule of each box."""
    points: array[int]


@dataclass
class Row:
    """What was measured of one workload."""

    group: str
    name: str
    count: int
    sublayers: int
    ns: float
    """A packet, median of the rounds."""
    linear_ns: float
    ratio: float
    """Linear over ours, median of the rounds."""
    build_ms: float
    publish_ms: float
    """From packed arrays to a snapshot."""
    bytes_a_filter: float
    copies: float
    largest_leaf: int
    depth: int
    forks: int


def five_tuples(group: str, name: str, rules: Sequence[workloads.Rule], packets: Sequence[workloads.Packet],
                family: int, sublayers: int) -> Workload:  # fmt: skip
    """A 5-tuple set at ipforward."""
    bits = 32 if family == 4 else 128
    columns, points = array("I"), array("I")
    for rule in rules:
        for position, (low, high) in enumerate(rule):
            columns.extend(_bounds(low, high, bits if position < 2 else 32))
    for packet in packets:
        for position, value in enumerate(packet):
            points.extend(_words(value, bits if position < 2 else 32))
    return Workload(
        group, name, len(rules), sublayers, workloads.policy(rules, family, sublayers), LAYER["ipforward"].slot(family),
        workloads.FIELD_IDS, workloads.table(packets), (), 3 + 2 * bits // 32, columns, array("I", range(len(rules))),
        points,
    )  # fmt: skip


def applications(count: int, family: int, sublayers: int, n_packets: int = PACKETS) -> Workload:
    """Filters shaped like those of a Windows host, at ale_auth_connect."""
    bits = 32 if family == 4 else 128
    of = application_rules.rules(count, bits=bits)
    packets = application_rules.packets(of, n_packets, count, bits=bits)
    widths = [bits if "address" in name else 32 for name in application_rules.FIELDS]
    columns, owners, points, rows = array("I"), array("I"), array("I"), array("Q")
    for index, rule in enumerate(of):
        spans = [rule.get(name, ((0, 2**width - 1),))
                 for name, width in zip(application_rules.FIELDS, widths, strict=True)]  # fmt: skip
        for box in product(*spans):
            owners.append(index)
            for (low, high), width in zip(box, widths, strict=True):
                columns.extend(_bounds(low, high, width))
    for packet in packets:
        for value, width in zip(packet, widths, strict=True):
            points.extend(_words(value, width))
            rows.extend((value >> 64, value & (2**64 - 1)))
    return Workload(
        "applications", f"applications v{family}", count, sublayers,
        application_rules.policy(of, count, family, sublayers), LAYER[application_rules.LAYER_NAME].slot(family),
        application_rules.FIELD_IDS, memoryview(rows).cast("B").cast("Q", (len(packets), 2 * len(widths))),
        application_rules.texts(count), sum(width // 32 for width in widths), columns, owners, points,
    )  # fmt: skip


def _words(value: int, bits: int) -> list[int]:
    return [value >> shift & WORD for shift in range(bits - 32, -1, -32)]


def _bounds(low: int, high: int, bits: int) -> Iterator[int]:
    """(low, span) by words of a prefix or of a range within one word."""
    for one, other in zip(_words(low, bits), _words(high, bits), strict=True):
        yield from (one, other - one)


class Linear:
    """`linear_scan.c`, compiled when first needed."""

    def __init__(self) -> None:
        self.directory = tempfile.TemporaryDirectory(prefix="wfpd-bench-")
        library = Path(self.directory.name) / "linear_scan.so"
        source = Path(__file__).with_name("linear_scan.c")
        subprocess.run(["cc", "-O3", "-shared", "-fPIC", "-o", library, source], check=True)
        self.scan = ctypes.CDLL(str(library)).linear_scan

    def run(self, work: Workload, n_packets: int) -> tuple[float, array[int]]:
        """Nanoseconds a packet, and each packet's rule in each sublayer or -1."""
        found = array("i", bytes(4 * n_packets * work.sublayers))

        def at(numbers: array[int]) -> ctypes.c_void_p:
            return ctypes.c_void_p(numbers.buffer_info()[0])

        started = time.thread_time_ns()
        self.scan(at(work.columns), at(work.rules), len(work.rules), work.n_dims, work.sublayers, at(work.points),
                  n_packets, at(found))  # fmt: skip
        return (time.thread_time_ns() - started) / n_packets, found


def expected(work: Workload, found: array[int]) -> list[list[int]]:
    """The linear search's rules as filters of the snapshot: by sublayer, in it by importance."""
    sizes = [len(range(rank, work.count, work.sublayers)) for rank in range(work.sublayers)]
    first = [sum(sizes[:rank]) for rank in range(work.sublayers)]
    answers = [found[at : at + work.sublayers] for at in range(0, len(found), work.sublayers)]
    return [[first[rank] + rule // work.sublayers for rank, rule in enumerate(answer) if rule >= 0]
            for answer in answers]  # fmt: skip


def measure(work: Workload, linear: Linear, rounds: int) -> Row:
    """Check every answer, then time both in turn.  AssertionError at a wrong answer."""
    packed = pack(work.policy)
    started = time.thread_time()
    snapshot = Snapshot(packed, [], generation=1, on_error=1, on_malformed=1, on_late=1, flows_full=1)
    publish = time.thread_time() - started
    n_packets = work.rows.shape[0]
    checked = min(n_packets, max(100, 60_000_000 // len(work.rules)))
    _, found = linear.run(work, checked)
    answers = classify_many(snapshot, work.slot, work.fields, work.rows[:checked], texts=work.texts)
    assert answers == expected(work, found), f"{work.name}: the tables and the linear search disagree"
    few = max(50, checked // 20)
    pairs = []
    for _ in range(rounds):
        ours = classify_many(snapshot, work.slot, work.fields, work.rows, 1, texts=work.texts)
        pairs.append((ours, linear.run(work, few)[0]))
    sizes = table_stats(snapshot, work.slot)
    return Row(
        work.group, work.name, work.count, work.sublayers, statistics.median(ours for ours, _ in pairs),
        statistics.median(theirs for _, theirs in pairs), statistics.median(theirs / ours for ours, theirs in pairs),
        1e3 * min(build_seconds(snapshot) for _ in range(3)), 1e3 * publish, sizes["bytes"] / work.count,
        sizes["copies"] / sizes["boxes"], sizes["largest_leaf"], sizes["depth"], sizes["forks"],
    )  # fmt: skip


def generated(counts: Sequence[int], n_packets: int = PACKETS) -> Iterator[Workload]:
    """Our own sets: 5-tuples of both families, applications, hostile ones."""
    for count in counts:
        for shape, family, sublayers in product(workloads.SHAPES, (4, 6), (1, 4)):
            rules = workloads.rules(shape, count, bits=32 if family == 4 else 128)
            yield five_tuples(
                f"5-tuple v{family}", shape, rules, workloads.packets(rules, n_packets), family, sublayers
            )
        for family, sublayers in product((4, 6), (1, 4)):
            yield applications(count, family, sublayers, n_packets)
        for kind in hostile_rules.KINDS:
            rules = hostile_rules.rules(kind, min(count, 10_000))
            yield five_tuples("hostile", kind, rules, workloads.packets(rules, n_packets), 4, 1)


def published(directory: Path) -> Iterator[Workload]:
    """The ClassBench-format sets of a directory, with their own packets where there are any."""
    for path in classbench.sets(directory):
        rules = classbench.rules(path)
        packets = [packet for packet, _ in classbench.trace(path)] or workloads.packets(rules, PACKETS)
        for sublayers in (1, 4):
            yield five_tuples("ClassBench", classbench.name(path), rules, packets, 4, sublayers)


def line(row: Row) -> str:
    """One row for a terminal."""
    return (
        f"{row.name:18} {row.group:10} {row.count:7} filters {row.sublayers} sublayers: {row.ns:7.0f} ns, linear "
        f"{row.linear_ns:8.0f} ns, x {row.ratio:6.1f}  build {row.build_ms:6.1f} ms  "
        f"publish {row.publish_ms:6.1f} ms  {row.bytes_a_filter:5.0f} B/filter  copies {row.copies:4.2f}  "
        f"leaf {row.largest_leaf:5}  depth {row.depth:2}  forks {row.forks:4}"
    )


def means(rows: Sequence[Row]) -> Iterator[str]:
    """Geometric means over the sets of one group, size and number of sublayers."""
    keys = sorted({(row.group, len(str(row.count)), row.sublayers) for row in rows})
    for group, digits, sublayers in keys:
        own = [row for row in rows if (row.group, len(str(row.count)), row.sublayers) == (group, digits, sublayers)]

        def mean(values: Sequence[float]) -> float:
            return math.exp(statistics.fmean(math.log(max(value, 1e-9)) for value in values))

        yield (
            f"mean of {len(own):2} {group:12} sets of about {10 ** (digits - 1):7} filters, {sublayers} sublayers: "
            f"{mean([row.ns for row in own]):6.0f} ns, x {mean([row.ratio for row in own]):6.1f} linear, "
            f"build {mean([row.build_ms for row in own]):6.1f} ms, "
            f"{mean([row.bytes_a_filter for row in own]):4.0f} B/filter"
        )


def main() -> None:
    """Print a line for each set, then means."""
    parser = argparse.ArgumentParser(prog="python -m bench.bench_classify", description=__doc__)
    parser.add_argument("counts", nargs="*", type=int, default=[1000, 10000], help="filters (default: 1000 10000)")
    parser.add_argument("--sets", type=Path, metavar="DIRECTORY", help="ClassBench-format sets instead of our own")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--packets", type=int, default=PACKETS, help="packets of each generated set")
    parser.add_argument("--json", action="store_true", help="one object a line, no means")
    parser.add_argument("--write", type=Path, metavar="DIRECTORY",
                        help="also write classification-figures.md and classification.svg there")  # fmt: skip
    arguments = parser.parse_args()
    linear, rows = Linear(), []
    for work in published(arguments.sets) if arguments.sets else generated(arguments.counts, arguments.packets):
        rows.append(measure(work, linear, arguments.rounds))
        print(json.dumps(rows[-1].__dict__) if arguments.json else line(rows[-1]), flush=True)
    if not arguments.json:
        print(*means(rows), sep="\n")
    if arguments.write:
        from bench.classify_figures import write

        write(rows, arguments.write)


if __name__ == "__main__":
    main()

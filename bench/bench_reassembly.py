"""What reassembly costs: nanoseconds a byte, by the size of segments and the way in which they come.

    python -m bench.bench_reassembly [--rounds 9] [--bytes 4000000] [--json FILE]

One direction by itself, without a visit or a callout; every byte that is in order is decided at once.  `swapped`:
each two segments change places.  `twice`: every segment comes again, and is compared.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time

from bench.report import Table, main, settings
from wfpd.dataplane._reassembly import Reassembler

SIZES = (64, 536, 1448, 65160)
Segments = list[tuple[int, bytes]]


def in_order(size: int, total: int) -> Segments:
    """Segments of one size, one after the other."""
    stream = random.Random(1).randbytes(total)
    return [(at % 2**32, stream[at : at + size]) for at in range(0, total - size + 1, size)]


def swapped(segments: Segments) -> Segments:
    """Each two in the other order."""
    return [segments[i ^ 1] if i ^ 1 < len(segments) else segments[i] for i in range(len(segments))]


def twice(segments: Segments) -> Segments:
    """Each two times."""
    return [segment for segment in segments for _ in range(2)]


WAYS = {"in order": lambda given: given, "swapped": swapped, "twice": twice}


def nanoseconds(segments: Segments, rounds: int) -> tuple[float, float]:
    """Median a byte of the stream, and a segment."""
    taken = []
    for _ in range(rounds):
        half = Reassembler(0)
        started = time.thread_time_ns()
        length = half.feed(segments)
        taken.append(time.thread_time_ns() - started)
    return statistics.median(taken) / length, statistics.median(taken) / len(segments)


def bench(given: argparse.Namespace) -> list[Table]:
    """Every size and way."""
    found = Table(
        "Reassembly",
        f"CPU nanoseconds, streams of {given.bytes:,} bytes; medians of {given.rounds} rounds.",
        ["segments", "bytes each", "ns a byte", "ns a segment"],
    )
    for way, arrange in WAYS.items():
        for size in SIZES:
            byte, segment = nanoseconds(arrange(in_order(size, given.bytes)), given.rounds)
            found.add(way, str(size), f"{byte:.3f}", segment)
    return [found]


def arguments() -> argparse.ArgumentParser:
    """The settings."""
    return settings("bench_reassembly", __doc__, rounds=9, bytes=4_000_000)


if __name__ == "__main__":
    sys.exit(main(arguments(), bench))

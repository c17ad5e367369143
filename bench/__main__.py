"""Every bench, and its tables into docs/benchmarks.md: `python -m bench` as root (two to four minutes)."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

from bench import bench_callouts, bench_drain, bench_replay, bench_stream
from bench.peers import ROOT

BENCHES: tuple[ModuleType, ...] = (bench_drain, bench_callouts, bench_replay, bench_stream)
DOCUMENT = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- measured: begin -->\n", "<!-- measured: end -->\n"


def machine() -> str:
    """What was measured on, in one sentence."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":", 1)[1].strip() for line in lines if "model name" in line), platform.machine())
    load = os.getloadavg()[0]
    return (
        f"{datetime.now(UTC):%Y-%m-%d}: {cpu}, {os.cpu_count()} cores, Linux {platform.release()}, Python "
        f"{platform.python_version()}; load {load:.1f} at the start."
    )


def sections() -> Iterator[str]:
    """Each bench's tables, measured as they are asked for."""
    for module in BENCHES:
        print(f"{module.__name__} ...", file=sys.stderr, flush=True)
        for table in module.bench(module.arguments().parse_args([])):
            print(table.text() + "\n", flush=True)
            yield table.markdown()


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure everything and replace what stands between the marks."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--document", type=Path, default=DOCUMENT, help="file to write into (default: %(default)s)")
    given = parser.parse_args(arguments)
    text = given.document.read_text()
    head, rest = text.split(BEGIN)
    _, tail = rest.split(END)
    measured = "\n".join((machine(), "", *sections()))
    given.document.write_text(head + BEGIN + "\n" + measured + "\n" + END + tail)
    print(f"written to {given.document}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

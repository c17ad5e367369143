"""Benches, and their tables into docs/benchmarks.md: `python -m bench [NAME ...]` as root (all: two to four minutes).

Each has a place of its own in the document, which says when and on what it was measured: one of them can be measured
again by itself.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

from bench import bench_callouts, bench_drain, bench_reassembly, bench_replay, bench_stream, bench_tls
from bench.peers import ROOT

BENCHES: tuple[ModuleType, ...] = (
    bench_drain,
    bench_callouts,
    bench_tls,
    bench_reassembly,
    bench_replay,
    bench_stream,
)
"""The rest and why it is not here: bench/README.md."""
DOCUMENT = ROOT / "docs" / "benchmarks.md"
BUSY = 0.5
"""Load average from which on others are said to share the machine."""


def name_of(module: ModuleType) -> str:
    """`bench_drain`."""
    return module.__name__.rpartition(".")[2]


def marks(name: str) -> tuple[str, str]:
    """The lines of the document between which the tables of a bench stand."""
    return f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->\n"


def machine() -> str:
    """What is measured on, in one sentence."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":", 1)[1].strip() for line in lines if "model name" in line), platform.machine())
    load = os.getloadavg()[0]
    shared = ": a shared machine, only ratios mean something" if load > BUSY else ""
    return (
        f"{datetime.now(UTC):%Y-%m-%d}: {cpu}, {os.cpu_count()} cores, Linux {platform.release()}, Python "
        f"{platform.python_version()}; load {load:.1f} at the start{shared}."
    )


def sections(module: ModuleType, rounds: int | None) -> Iterator[str]:
    """A bench's tables, measured as they are asked for."""
    settings = [] if rounds is None else ["--rounds", str(rounds)]
    print(f"{name_of(module)} ...", file=sys.stderr, flush=True)
    for table in module.bench(module.arguments().parse_args(settings)):
        print(table.text() + "\n", flush=True)
        yield table.markdown()


def replaced(text: str, name: str, measured: str) -> str:
    """The document with this between the bench's marks."""
    begin, end = marks(name)
    head, rest = text.split(begin)
    _, tail = rest.split(end)
    return head + begin + "\n" + measured + "\n" + end + tail


def _named(name: str) -> ModuleType:
    for module in BENCHES:
        if name_of(module) == name:
            return module
    raise argparse.ArgumentTypeError(f"{name} is none of {', '.join(map(name_of, BENCHES))}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and replace each bench's tables as soon as there are new ones."""
    parser = argparse.ArgumentParser(prog="bench", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("benches", nargs="*", type=_named, metavar="NAME",
                        help=f"of {', '.join(map(name_of, BENCHES))} (default: all)")  # fmt: skip
    parser.add_argument("--rounds", type=int, help="of each bench (default: its own)")
    parser.add_argument("--document", type=Path, default=DOCUMENT, help="file to write into (default: %(default)s)")
    given = parser.parse_args(arguments)
    where = machine()
    for module in given.benches or BENCHES:
        measured = "\n".join((where, "", *sections(module, given.rounds)))
        text = given.document.read_text()
        given.document.write_text(replaced(text, name_of(module), measured))
    print(f"written to {given.document}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

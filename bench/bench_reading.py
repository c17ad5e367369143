"""From the text of a policy to a table that decides, and what it takes in memory.

    python -m bench.bench_reading [--full] [--filters 1000] [--values 10000] [--rounds 3] [--json]

Each row is a process of its own.  "read and packed" is what the compiling child does; "published" is what
the daemon does: compile in a child, map its tables and build the snapshot.  Beside them, in the same rounds,
what loading the same bytes as plain Python objects takes: yaml.CSafeLoader (much the slowest, so it reads a
tenth of the filters, and its row says so) and json.loads; for a set file, one inet_pton for each line.
CPU seconds are of the process and of its child.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from socket import AF_INET, AF_INET6, inet_pton

import yaml

from bench.report import Table, main, settings
from bench.texts import policy_json, policy_yaml, set_policy, set_text
from bench.workloads import rules
from wfpd.compiler.pack import pack
from wfpd.config import load_policy
from wfpd.control.compile_child import compile_in_child
from wfpd.dataplane import Snapshot
from wfpd.model.policy import Word

ROOT = Path(__file__).parents[1]
FULL = {"filters": 100_000, "values": 1_000_000}
OBJECTS_PART = 10
"""yaml.CSafeLoader gets this part of the filters."""


def _packed(path: str) -> None:
    pack(load_policy(path, trust="warn"))


def _published(path: str) -> Snapshot:
    compiled = compile_in_child(path, trust="warn")
    return Snapshot(compiled.packed, [], generation=1, on_error=Word.PERMIT, on_malformed=Word.PERMIT,
                    on_late=Word.PERMIT, flows_full=Word.PERMIT)  # fmt: skip


def _yaml_objects(path: str) -> None:
    yaml.load(Path(path).read_bytes(), yaml.CSafeLoader)


def _json_objects(path: str) -> None:
    json.loads(Path(path).read_bytes())


def _lines(path: str) -> None:
    for line in Path(path).read_text().split():
        inet_pton(AF_INET6 if ":" in line else AF_INET, line)


WAYS: dict[str, Callable[[str], object]] = {
    "packed": _packed, "published": _published, "yaml": _yaml_objects, "json": _json_objects, "lines": _lines,
}  # fmt: skip


def measure(way: str, path: str) -> dict[str, float]:
    """Here: seconds of CPU and of the clock, MiB at most and more than before; the children's MiB at most."""
    before, cpu, began = _status("VmRSS"), _cpu(), time.perf_counter()
    kept = WAYS[way](path)
    found = {
        "cpu": _cpu() - cpu,
        "seconds": time.perf_counter() - began,
        "more": _status("VmRSS") - before,
        "peak": _status("VmHWM"),
        "child": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
    }
    del kept
    return found


def _cpu() -> float:
    """Of this process and of the children that ended."""
    return sum(os.times()[:4])


def _status(name: str) -> float:
    """A line of this process's status, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024


def _apart(way: str, path: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.bench_reading", "--measure", way, str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def cases(folder: Path, filters: int, values: int) -> list[tuple[str, str, Path]]:
    """(row, way, file) of everything that is measured; the files are written."""

    def file(name: str, text: str) -> Path:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    of = rules("access", filters)
    by_yaml, by_json = file("p.yaml", policy_yaml(of)), file("p.json", policy_json(of))
    part = file("part.yaml", policy_yaml(of[: max(1, filters // OBJECTS_PART)]))
    found = [
        (f"YAML, {filters:,} filters: read and packed", "packed", by_yaml),
        (f"YAML, {filters:,} filters: published", "published", by_yaml),
        (f"yaml.CSafeLoader, {max(1, filters // OBJECTS_PART):,} of them", "yaml", part),
        (f"JSON, {filters:,} filters: read and packed", "packed", by_json),
        (f"JSON, {filters:,} filters: published", "published", by_json),
        ("json.loads", "json", by_json),
    ]
    for name, bits in (("IPv4", 32), ("IPv6", 128)):
        listed = file(f"{name}/values.txt", set_text(values, bits))
        found += [
            (f"set file, {values:,} {name} addresses: read and packed", "packed", file(f"{name}/p.yaml", set_policy())),
            (f"inet_pton of each {name} address", "lines", listed),
        ]
    return found


def bench(given: argparse.Namespace) -> list[Table]:
    """One table."""
    sizes = FULL if given.full else {"filters": given.filters, "values": given.values}
    assert __doc__ is not None
    table = Table("Reading a policy", __doc__.partition("\n\n")[2].partition("\n\n")[2].strip(),
                  ["", "CPU seconds", "seconds", "MiB more after", "peak MiB", "peak MiB of the child"])  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="wfpd-bench-") as folder:
        wanted = cases(Path(folder), **sizes)
        rounds = [[_apart(way, path) for _, way, path in wanted] for _ in range(given.rounds)]
    for (row, _, _), results in zip(wanted, zip(*rounds, strict=True), strict=True):
        middle = {name: statistics.median(result[name] for result in results) for name in results[0]}
        table.add(row, *(middle[name] for name in ("cpu", "seconds", "more", "peak", "child")))
    return [table]


def arguments() -> argparse.ArgumentParser:
    """Its options."""
    parser = settings("bench_reading", __doc__, filters=1000, rounds=3)
    parser.add_argument("--values", type=int, default=10_000, help="values of a set file")
    parser.add_argument("--full", action="store_true", help="100,000 filters, 1,000,000 values")
    parser.add_argument("--measure", nargs=2, metavar=("WAY", "FILE"), help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    if "--measure" in sys.argv:
        print(json.dumps(measure(*arguments().parse_args().measure)))
        sys.exit()
    sys.exit(main(arguments(), bench))

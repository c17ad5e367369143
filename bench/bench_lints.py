"""The lints of `wfpd check` against reading the same policy.

    python -m bench.bench_lints [--filters 1000 10000 100000] [--rounds 3] [--sets DIRECTORY] [--json]

With a directory of rule sets in ClassBench's format, a second table has what is said of each: how many rules never
decide, and of how many of these that is false, which is counted by cutting the rules that are named out of each.

Generated 5-tuple filters at ipforward in one sublayer, as JSON.  Every fiftieth is repeated as a part of itself behind
all others, so that there is something to find.  "reading" is from the file to packed records; "lints" is everything
after it: building the search tables once more and every lint.  "boxes" is of that the part that looks for filters that
can never decide.  CPU seconds of the process, which reads and looks at one policy after the other; medians.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from bench import classbench, workloads
from bench.report import Table, main, settings
from bench.texts import policy_json
from bench.workloads import Rule, rules
from wfpd.compiler.pack import pack
from wfpd.config import load_policy
from wfpd.dataplane import shadows
from wfpd.explaining import bare_snapshot
from wfpd.linting import lint_policy
from wfpd.model.layers import LAYER

SHAPES = ("access", "firewall")
REPEATED = 50


def with_parts(of: list[Rule]) -> list[Rule]:
    """The rules, the last ones of them parts of some that come before."""
    n = max(1, len(of) // REPEATED)
    parts = []
    for one, two, three, (low, high), five in of[:n]:
        parts.append((one, two, three, (low, (low + high) // 2), five))
    return of[: len(of) - n] + parts


def uncovered(rule: Rule, covers: Sequence[Rule]) -> list[Rule]:
    """What of a rule's packets is left when those of all the others are taken away: disjoint boxes."""
    left = [rule]
    for cover in covers:
        left = [part for box in left for part in _cut(box, cover)]
    return left


def _cut(box: Rule, cover: Rule) -> list[Rule]:
    if any(high < low2 or low > high2 for (low, high), (low2, high2) in zip(box, cover, strict=True)):
        return [box]
    parts, rest = [], list(box)
    for axis, (low2, high2) in enumerate(cover):
        low, high = rest[axis]
        for begin, end in ((low, low2 - 1), (high2 + 1, high)):
            if begin <= end:
                parts.append(cast("Rule", (*rest[:axis], (begin, end), *rest[axis + 1 :])))
        rest[axis] = (max(low, low2), min(high, high2))
    return parts


def alarms(directory: Path) -> Table:
    """What is said of each set of a directory, and what of it is false."""
    table = Table("Alarms on rule sets", "By the rules that are named with each.",
                  ["", "rules", "never decide", "never match", "not decided", "false"])  # fmt: skip
    slot = LAYER["ipforward"].slot(4)
    for path in classbench.sets(directory):
        of = classbench.rules(path)
        found = shadows(bare_snapshot(workloads.policy(of)), slot)
        false = sum(bool(uncovered(of[index], [of[other] for other in by])) for index, by, *_ in found["shadowed"])
        table.add(classbench.name(path), f"{len(of):,}", f"{len(found['shadowed']):,}", f"{len(found['never']):,}",
                  f"{len(found['undecided']):,}", str(false))  # fmt: skip
    return table


def measure(path: str, slot: int) -> tuple[float, float, float, int, int]:
    """CPU seconds of reading, of all lints and of their search, then what was found and not decided."""
    began = time.process_time()
    policy = load_policy(path, trust="warn")
    packed = pack(policy)
    read = time.process_time()
    found = lint_policy(policy, packed)
    linted = time.process_time()
    taken = bare_snapshot(policy, packed)
    built = time.process_time()
    shadows(taken, slot)
    done = time.process_time()
    return read - began, linted - read, done - built, len(found.lints), len(found.undecided)


def bench(given: argparse.Namespace) -> list[Table]:
    """One table, and one more where sets are given."""
    assert __doc__ is not None
    table = Table("Lints", " ".join(__doc__.rpartition("\n\n")[2].split()),
                  ["", "reading: s", "lints: s", "of reading", "boxes: s", "lints", "not decided"])  # fmt: skip
    slot = LAYER["ipforward"].slot(4)
    with tempfile.TemporaryDirectory(prefix="wfpd-bench-") as folder:
        for shape in SHAPES:
            for count in given.filters:
                path = Path(folder) / f"{shape}-{count}.json"
                path.write_text(policy_json(with_parts(rules(shape, count))))
                results = [measure(str(path), slot) for _ in range(given.rounds)]
                read, lints, boxes = (statistics.median(result[at] for result in results) for at in range(3))
                table.add(f"{shape}, {count:,} filters", f"{read:.3f}", f"{lints:.3f}", lints / read, f"{boxes:.4f}",
                          f"{results[0][3]:,}", f"{results[0][4]:,}")  # fmt: skip
    return [table, *([] if given.sets is None else [alarms(given.sets)])]


def arguments() -> argparse.ArgumentParser:
    """Its options."""
    parser = settings("bench_lints", __doc__, rounds=3)
    parser.add_argument("--filters", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--sets", type=Path, metavar="DIRECTORY", help="rule sets in ClassBench's format")
    return parser


if __name__ == "__main__":
    sys.exit(main(arguments(), bench))

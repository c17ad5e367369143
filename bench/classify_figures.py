"""The table and the plot of docs/classification.md, from the rows of bench_classify."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.report import Table

if TYPE_CHECKING:
    from bench.bench_classify import Row

WIDTH, HEIGHT, LEFT, TOP, BOTTOM, RIGHT = 720, 420, 60, 20, 40, 230
COLOURS = {"5-tuple v4": "#1b6ca8", "5-tuple v6": "#2f9e77", "applications": "#c0563b", "ClassBench": "#1b6ca8"}


def write(rows: Sequence[Row], directory: Path) -> None:
    """Write classification-figures.md and classification.svg."""
    text = [
        "# Classification, measured", "",
        "Made by `python -m bench.bench_classify --write docs`; the rules of measuring are in `bench/README.md`.", "",
        "![nanoseconds a packet](classification.svg)", "",
        table(rows).markdown(),
    ]  # fmt: skip
    (directory / "classification-figures.md").write_text("\n".join(text))
    (directory / "classification.svg").write_text(plot(rows))


def table(rows: Sequence[Row]) -> Table:
    """One row a set."""
    columns = ["set", "filters", "sublayers", "ns a packet", "linear ns", "times faster", "build ms",
               "bytes a filter", "copies", "largest leaf", "depth"]  # fmt: skip
    found = Table("Every set", "Medians of paired rounds, CPU time of one thread; every answer was compared.", columns)
    for row in rows:
        found.add(
            f"{row.name} ({row.group})", f"{row.count:,}", str(row.sublayers), row.ns, row.linear_ns, row.ratio,
            row.build_ms, row.bytes_a_filter, row.copies, f"{row.largest_leaf:,}", str(row.depth),
        )  # fmt: skip
    return found


Series = dict[int, float]
"""Nanoseconds by number of filters."""


def series(rows: Sequence[Row]) -> dict[tuple[str, str], Series]:
    """Geometric means over the sets of a group that has several sizes: ours by sublayers, and the linear scan."""
    found: dict[tuple[str, str], Series] = {}
    for group in dict.fromkeys(row.group for row in rows):
        own = [row for row in rows if row.group == group and group in COLOURS]
        for sublayers in sorted({row.sublayers for row in own}):
            plural = "s" if sublayers > 1 else ""
            some = [row for row in own if row.sublayers == sublayers]
            found[group, f"{sublayers} sublayer{plural}"] = _means({}, some, "ns")
            if sublayers == 1:
                found[group, "linear scan in C"] = _means({}, some, "linear_ns")
    return found


def _means(into: Series, rows: Sequence[Row], figure: str) -> Series:
    for count in sorted({_rounded(row.count) for row in rows}):
        values = [math.log(max(getattr(row, figure), 0.1)) for row in rows if _rounded(row.count) == count]
        into[count] = math.exp(sum(values) / len(values))
    return into


def _rounded(count: int) -> int:
    """Sets of about one size are one point."""
    return int(10 ** round(math.log10(count), 1)) if count else 0


def _time(power: int) -> str:
    """10 to the power of so many nanoseconds."""
    return f"{10**power} ns" if power < 3 else f"{10 ** (power - 3)} µs"


def plot(rows: Sequence[Row]) -> str:
    """Nanoseconds a packet against the number of filters, both logarithmic: ours and the linear scan."""
    lines = series(rows)
    counts = sorted({count for line in lines.values() for count in line})
    values = [value for line in lines.values() for value in line.values()]
    low, high = math.floor(math.log10(min(values, default=10))), math.ceil(math.log10(max(values, default=1e5)))
    first, last = math.log10(min(counts, default=1)), math.log10(max(counts, default=10))

    def at(count: float, value: float) -> tuple[float, float]:
        x = LEFT + (math.log10(count) - first) / max(last - first, 0.01) * (WIDTH - LEFT - RIGHT)
        y = HEIGHT - BOTTOM - (math.log10(value) - low) / max(high - low, 1) * (HEIGHT - BOTTOM - TOP)
        return round(x, 1), round(y, 1)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">',
        "<title>Nanoseconds a packet against the number of filters</title>",
        "<style>text {font-size: 11px} polyline {fill: none; stroke-width: 2}</style>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for power in range(low, high + 1):
        _, y = at(10**first, 10**power)
        out.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}" stroke="#ddd"/>')
        out.append(f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{_time(power)}</text>')
    for count in counts:
        x, _ = at(count, 10**low)
        out.append(f'<text x="{x}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{count:,}</text>')
    for number, ((group, kind), line) in enumerate(lines.items()):
        dash = {"1 sublayer": "none", "linear scan in C": "2 4"}.get(kind, "8 3")
        style = f'stroke="{COLOURS[group]}" stroke-dasharray="{dash}"'
        points = " ".join(f"{x},{y}" for x, y in (at(count, value) for count, value in line.items()))
        out.append(f'<polyline points="{points}" {style}/>')
        out += [f'<circle cx="{x}" cy="{y}" r="3" fill="{COLOURS[group]}"/>'
                for x, y in (at(count, value) for count, value in line.items())]  # fmt: skip
        y = TOP + 14 * number + 10
        out.append(f'<polyline points="{WIDTH - RIGHT + 20},{y - 4} {WIDTH - RIGHT + 50},{y - 4}" {style}/>')
        out.append(f'<text x="{WIDTH - RIGHT + 56}" y="{y}">{group}, {kind}</text>')
    out.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">filters</text>')
    return "\n".join([*out, "</svg>", ""])

"""The table and the plot of docs/classification.md, from the rows of bench_classify."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.report import Table

if TYPE_CHECKING:
    from bench.bench_classify import Row

WIDTH, HEIGHT, LEFT, BOTTOM = 720, 360, 60, 90
COLOURS = ("#1b6ca8", "#8fbfe0", "#c0563b", "#e3ae9e")


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


def plot(rows: Sequence[Row]) -> str:
    """Bars of nanoseconds a packet: a place for each set, a bar for each size and number of sublayers."""
    names = list(dict.fromkeys((row.group, row.name) for row in rows))
    kinds = sorted({(row.count, row.sublayers) for row in rows})[: len(COLOURS)]
    shown = [row for row in rows if (row.count, row.sublayers) in kinds]
    top = max((row.ns for row in shown), default=1.0)
    scale = (HEIGHT - BOTTOM - 40) / top
    place = (WIDTH - LEFT - 10) / max(1, len(names))
    bar = 0.8 * place / max(1, len(kinds))
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">',
        "<style>text {font-size: 11px}</style>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    base = HEIGHT - BOTTOM
    for step in range(5):
        value = top * step / 4
        y = base - value * scale
        out.append(f'<line x1="{LEFT}" x2="{WIDTH - 10}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        out.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.0f} ns</text>')
    for row in shown:
        x = LEFT + names.index((row.group, row.name)) * place + kinds.index((row.count, row.sublayers)) * bar
        height = row.ns * scale
        colour = COLOURS[kinds.index((row.count, row.sublayers))]
        out.append(
            f'<rect x="{x:.1f}" y="{base - height:.1f}" width="{bar:.1f}" height="{height:.1f}" fill="{colour}"/>'
        )
    for index, (group, name) in enumerate(names):
        x = LEFT + (index + 0.4) * place
        label = name if name.startswith(group) else f"{name}, {group}"
        out.append(f'<text x="{x:.1f}" y="{base + 12}" text-anchor="end" transform="rotate(-35 {x:.1f} {base + 12})">'
                   f"{label}</text>")  # fmt: skip
    for index, (count, sublayers) in enumerate(kinds):
        x = LEFT + index * 165
        out.append(f'<rect x="{x}" y="8" width="10" height="10" fill="{COLOURS[index]}"/>')
        plural = "s" if sublayers > 1 else ""
        out.append(f'<text x="{x + 15}" y="17">{count:,} filters, {sublayers} sublayer{plural}</text>')
    return "\n".join([*out, "</svg>", ""])

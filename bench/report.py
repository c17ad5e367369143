"""What a bench has measured: tables for a terminal, for docs/benchmarks.md, and as JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field


@dataclass
class Table:
    """One table: every row has a cell for every column."""

    title: str
    what: str
    """How it was measured, in sentences."""
    columns: list[str]
    rows: list[list[str]] = field(default_factory=list)

    def add(self, *cells: str | float) -> None:
        """A row; numbers are shown with what makes sense of their size."""
        shown = [cell if isinstance(cell, str) else number(cell) for cell in cells]
        assert len(shown) == len(self.columns), shown
        self.rows.append(shown)

    def text(self) -> str:
        """For a terminal."""
        widths = [max(map(len, column)) for column in zip(self.columns, *self.rows, strict=True)]
        lines = [self.title, *(_line(row, widths) for row in (self.columns, *self.rows))]
        return "\n".join(lines)

    def markdown(self) -> str:
        """For docs/benchmarks.md."""
        marks = ["---", *("--:" for _ in self.columns[1:])]
        rows = ["| " + " | ".join(row) + " |" for row in (self.columns, marks, *self.rows)]
        return "\n".join([f"## {self.title}", "", self.what, "", *rows, ""])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = (cell.ljust(width) if i == 0 else cell.rjust(width)
                    for i, (cell, width) in enumerate(zip(cells, widths, strict=True)))  # fmt: skip
    return "  ".join([first, *rest]).rstrip()


def number(value: float) -> str:
    """`12,345`, `67.8` or `0.91`."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}" if value >= 20 else f"{value:.2f}"


def against(value: float, bar: float) -> str:
    """A bar and whether it is reached."""
    return f"≥ {bar:.2f}: {'yes' if value >= bar else 'no'}"


def settings(name: str, document: str | None, **numbers: int) -> argparse.ArgumentParser:
    """A bench's parser: `document` begins with what it measures; an option for each number, with its default."""
    parser = argparse.ArgumentParser(prog=name, description=(document or "").partition("\n")[0])
    for option, default in numbers.items():
        parser.add_argument(f"--{option}", type=int, default=default)
    return parser


Bench = Callable[[argparse.Namespace], list[Table]]


def main(parser: argparse.ArgumentParser, bench: Bench, arguments: Sequence[str] | None = None) -> int:
    """Measure and print; `--json` prints the tables for programs."""
    parser.add_argument("--json", action="store_true", help="print JSON for programs")
    given = parser.parse_args(arguments)
    tables = bench(given)
    if given.json:
        print(json.dumps([asdict(table) for table in tables]))
    else:
        print("\n\n".join(table.text() for table in tables))
    sys.stdout.flush()
    return 0

"""Tables and values as a person reads them: aligned, harmless to a terminal, cut only where one is."""

from __future__ import annotations

import json
import shutil
import sys
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

NOTHING = "-"
"""Stands for what an object does not have."""


class Column(NamedTuple):
    """One column: its title, the text of an object, and whether it is a number."""

    title: str
    text: Callable[[Mapping[str, Any]], str]
    right: bool = False


def harmless(text: str) -> str:
    """The text with everything escaped that could move the cursor or end the line."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def width_of(text: str) -> int:
    """Columns of a terminal that a printable text takes."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
               for char in text)  # fmt: skip


def cut(text: str, width: int, mark: str = "…") -> str:
    """The text, or its beginning and a mark of one column, in at most `width` columns."""
    if width_of(text) <= width:
        return text
    kept, used = "", 1
    for char in text:
        used += width_of(char)
        if used > width:
            break
        kept += char
    return f"{kept}{mark}" if width > 0 else ""


def padded(text: str, width: int, right: bool = False) -> str:
    """The text with spaces up to `width` columns."""
    spaces = " " * (width - width_of(text))
    return spaces + text if right else text + spaces


def terminal_width() -> int | None:
    """Columns of the terminal that standard output is; None if it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


class Table:
    """Rows below their titles.  The first rows settle the widths, so that many can be printed as they come."""

    def __init__(self, columns: Sequence[Column], width: int | None = None) -> None:
        """`width` in columns cuts each line; None cuts nothing."""
        self._columns = columns
        self._width = width
        self._widths: list[int] = []

    def lines(self, objects: Iterable[Mapping[str, Any]]) -> list[str]:
        """The lines of these objects, with the titles if they are the first."""
        rows = [[harmless(column.text(item)) for column in self._columns] for item in objects]
        if not self._widths:
            rows.insert(0, [column.title for column in self._columns])
            self._widths = [max(map(width_of, cells)) for cells in zip(*rows, strict=True)]
        return [self._line(row) for row in rows]

    def _line(self, cells: list[str]) -> str:
        parts = [padded(cell, width, column.right)
                 for cell, width, column in zip(cells, self._widths, self._columns, strict=True)]  # fmt: skip
        line = "  ".join(parts).rstrip()
        return line if self._width is None else cut(line, self._width)


def value(found: object) -> str:
    """Any value of an object: texts as they are, the rest as JSON, nothing as a dash."""
    if found is None or found == "":
        return NOTHING
    if isinstance(found, bool):
        return "yes" if found else "no"
    if isinstance(found, list) and all(isinstance(item, str | int) for item in found):
        return ", ".join(map(str, found)) or NOTHING
    return found if isinstance(found, str) else json.dumps(found, separators=(", ", ": "), ensure_ascii=False)


def of(name: str) -> Callable[[Mapping[str, Any]], str]:
    """The text of a key of an object."""
    return lambda item: value(item.get(name))


def ago(then: object, now: float) -> str:
    """A time in Unix seconds as a person says it: `3 s ago`; `never` if there was none."""
    if not isinstance(then, int | float) or isinstance(then, bool):
        return "never"
    past = max(0, int(now - then))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if past >= size:
            return f"{past // size} {unit} ago"
    return f"{past} s ago"


def number(found: object) -> int | None:
    """A number, also where it is written as text (0x…); None for anything else."""
    if isinstance(found, bool) or not isinstance(found, int | str):
        return None
    try:
        return int(found, 0) if isinstance(found, str) else found
    except ValueError:
        return None


def weight(found: object, bits: int) -> str:
    """An effective weight of so many bits in hexadecimal."""
    known = number(found)
    return value(found) if known is None else f"0x{known:0{bits // 4}x}"


def conditions(when: object) -> str:
    """`when` on one line: FIELD=VALUE, as a command line takes it."""
    if not isinstance(when, Mapping):
        return "" if when is None else value(when)
    return " ".join(f"{name}={_condition(found)}" for name, found in when.items())


def _condition(found: object) -> str:
    if isinstance(found, list) and all(isinstance(item, str | int) for item in found):
        return f"[{','.join(map(str, found))}]"
    return json.dumps(found, separators=(",", ":"), ensure_ascii=False) if isinstance(found, Mapping) else value(found)

"""Statuses inside, exceptions outside: the interpreter is entered in one module, and nothing raises
on the packet path."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "ext").rglob("*.pyx"))


def raises_on_packet_path(text: str) -> list[int]:
    """Line numbers of `raise` whose innermost function is a `cdef` marked `noexcept` or `nogil`.

    A `cdef` without these marks is a `def` door's own helper: it holds the GIL and says `except`.
    """
    found, stack = [], [(-1, False)]
    lines = [line.split("#")[0].rstrip() for line in text.splitlines()]
    for number, code in enumerate(lines, 1):
        if not code:
            continue
        indent = len(code) - len(code.lstrip())
        while indent <= stack[-1][0] and not code.lstrip().startswith(")"):
            stack.pop()
        if re.match(r"\s*(def|cpdef|cdef)\b[^=]*\(", code):
            signature = re.match(r"(?s).*?:\n", "\n".join(lines[number - 1 :]) + "\n")
            words = signature.group() if signature else code
            stack.append((indent, bool(re.search(r"\b(noexcept|nogil)\b", words)) and "cdef" in words))
        elif re.match(r"\s*raise\b", code) and stack[-1][1]:
            found.append(number)
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_only_the_engine_takes_the_gil_back(path: Path) -> None:
    if path.stem == "_engine":
        return
    assert not re.findall(r"^[^#\n]*\bwith gil\b", path.read_text(), re.MULTILINE)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_no_function_of_the_packet_path_raises(path: Path) -> None:
    assert raises_on_packet_path(path.read_text()) == []


def test_the_search_for_raises_finds_one_in_a_noexcept_cdef() -> None:
    door = "def a():\n    raise X\n"
    packet_path = "cdef int b(int c,\n    int d) noexcept nogil:\n    raise Y\n"
    helper = "cdef int e(f) except -1:\n    raise Z\n"
    text = door + packet_path + helper
    assert raises_on_packet_path(text) == [5]

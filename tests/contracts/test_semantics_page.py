"""Every test that docs/semantics.md names is there, in the file that it names."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "semantics.md"
SPAN = re.compile(r"`((?:[\w/]+\.py(?:::|:\s+))?test_\w+)`")
"""One test, with its file or without, in backticks that may run over a line's end."""
MIN_NAMED = 200


@cache
def by_file() -> dict[Path, frozenset[str]]:
    """The tests of each file."""
    return {path: frozenset(re.findall(r"^ *(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE))
            for path in (ROOT / "tests").rglob("test_*.py")}  # fmt: skip


def missing(text: str) -> list[str]:
    """What is named and is nowhere; a name without a file may be in any."""
    found = []
    for named in SPAN.findall(text):
        file, _, name = named.rpartition(":")
        ending = f"/{file.rstrip(':')}" if file else ""
        if not any(name.strip() in tests for path, tests in by_file().items() if str(path).endswith(ending)):
            found.append(named)
    return found


def test_the_tests_that_pin_a_decision_are_there() -> None:
    text = PAGE.read_text()
    assert len(SPAN.findall(text)) >= MIN_NAMED
    assert missing(text) == []


def test_one_that_is_nowhere_or_in_another_file_is_found() -> None:
    own = "test_one_that_is_nowhere_or_in_another_file_is_found"
    assert missing(f"`{own}`, `contracts/test_semantics_page.py:\n  {own}`") == []
    assert missing(f"`test_no_such`, `contracts/test_format.py: {own}`") == [
        "test_no_such", f"contracts/test_format.py: {own}"]  # fmt: skip

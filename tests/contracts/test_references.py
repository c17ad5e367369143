"""What comments and pages cite can be found: in this repository, or under a public name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLACES = ("ext", "wfpd", "tests", "bench", "docs", "systemd", ".ci")
TEXT = {".py", ".pyi", ".pyx", ".pxd", ".pxi", ".h", ".c", ".md", ".sh", ".service", ".toml", ""}
PAGE = re.compile(r"(?<![\w*/<])((?:[\w.-]+/)*[\w-]+\.md)\b")
UNNAMED = re.compile(
    r"\b(?:the|of|by|as|see) (?:contract|design|spec|reference)\b[ ,(]+(?:section )?\d"
    r"|\b(?:contract|design|kernel|style|wfp),?(?: section)? \d"
    r"|\b[Cc]ontract, section|\(design,|\bkernel,? F\d",
)
"""A numbered place of a page that does not say which page it is."""


def files() -> list[Path]:
    """Texts of the repository, data and corpora left out."""
    top = sorted(path for path in ROOT.iterdir() if path.is_file() and path.suffix in {".md", ".py", ".toml"})
    found = [path for place in PLACES for path in sorted((ROOT / place).rglob("*")) if path.is_file()]
    kept = [path for path in found if path.suffix in TEXT and not {"data", "corpus", "__pycache__"} & set(path.parts)]
    return top + kept


def missing_pages(path: Path) -> list[str]:
    """Markdown pages that a file names and that are nowhere from here, from the top, or in docs/."""
    named = PAGE.findall(path.read_text(errors="replace"))
    folders = (path.parent, ROOT, ROOT / "docs")
    return [name for name in named if not any((folder / name).exists() for folder in folders)]


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_page_that_is_cited_is_in_the_repository(path: Path) -> None:
    if path == Path(__file__).resolve():
        return
    assert not missing_pages(path)
    assert not UNNAMED.findall(path.read_text(errors="replace"))


def test_a_page_that_is_nowhere_and_a_numbered_place_of_one_are_found(tmp_path: Path) -> None:
    page = tmp_path / "a.py"
    page.write_text("# as nowhere.md says, and README.md, docs/config.md\n")
    assert missing_pages(page) == ["nowhere.md"]
    for text in ("(contract, section 8)", "(wfp 3.2)", "kernel F14", "of the reference, section 2.5"):
        assert UNNAMED.search(text)
    assert not UNNAMED.search("RFC 2675, section 4")

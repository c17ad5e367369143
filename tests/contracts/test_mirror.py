"""Tests mirror sources, and the files at the top are a fixed list."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOP = {
    ".ci", ".gitignore", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "MANIFEST.in", "Makefile", "README.md",
    "SECURITY.md", "bench", "docs", "ext", "pyproject.toml", "setup.py", "systemd", "tests", "wfpd",
}  # fmt: skip
CACHES = {".hypothesis", ".pytest_cache", ".mypy_cache", ".ruff_cache", "__pycache__", "wfpd.egg-info"}
WHOLE = {"wfpd/__main__.py", "wfpd/lab/__main__.py", "wfpd/lab/errors.py", "wfpd/errors.py"}
"""Tested by the commands and the story that consist of them, not by a unit test of their own."""


def sources() -> dict[str, Path]:
    """Each source's expected test, by path from tests/unit."""
    found = {}
    for path in (ROOT / "wfpd").rglob("*.py"):
        name = str(path.relative_to(ROOT))
        if path.name == "__init__.py" or name in WHOLE or not path.read_text().strip():
            continue
        inner = path.relative_to(ROOT / "wfpd")
        found[str(inner.with_name(f"test_{inner.name.lstrip('_')}"))] = path
    for path in (ROOT / "ext").rglob("*.pyx"):
        inner = path.relative_to(ROOT / "ext" / "wfpd")
        found[str(inner.with_name(f"test_{inner.stem.lstrip('_')}.py"))] = path
    return found


@pytest.mark.parametrize(("test", "source"), sorted(sources().items()))
def test_every_source_has_its_test(test: str, source: Path) -> None:
    own = [ROOT / "tests" / kind / test for kind in ("unit", "integration")]
    assert any(path.exists() for path in own), f"{source.relative_to(ROOT)} has no tests/unit/{test}"


def test_the_files_at_the_top_are_the_known_ones() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    found = {name.split("/")[0] for name in listed.stdout.splitlines()}
    if not found:  # Another build mode's copy, inside a checkout: git tracks nothing of it.
        found = {path.name for path in ROOT.iterdir() if path.name != "build" and path.name not in CACHES}
    assert found
    assert found <= TOP

"""Folders point one way.  import-linter cannot see compiled modules, so this reads the lines themselves."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYTHON = sorted((ROOT / "wfpd").rglob("*.py"))
CYTHON = sorted((ROOT / "ext").rglob("*.p[yx][xd]"))
LEAVES = {"_cursor", "_types"}
"""Cimported by everybody; they cimport nothing but each other and libc."""


def identify(path: Path) -> str:
    """The test's id: the path from the root."""
    return str(path.relative_to(ROOT))


def cimported(path: Path) -> set[str]:
    """Names of our own modules that a .pyx or .pxd cimports."""
    lines = re.findall(r"^\s*from\s+(?:\.|wfpd\.dataplane\.)(_\w+)\s+cimport", path.read_text(), re.MULTILINE)
    return set(lines) - {path.stem}


@pytest.mark.parametrize("path", PYTHON, ids=identify)
def test_nobody_imports_a_compiled_module_but_through_the_door(path: Path) -> None:
    if path.is_relative_to(ROOT / "wfpd" / "dataplane"):
        return
    assert not re.findall(r"^\s*(?:from|import)\s+wfpd\.dataplane\._\w+", path.read_text(), re.MULTILINE)


@pytest.mark.parametrize("path", CYTHON, ids=identify)
def test_the_packet_path_knows_no_policy_and_no_files(path: Path) -> None:
    found = re.findall(r"^\s*(?:from|import)\s+(wfpd\.\w+)", path.read_text(), re.MULTILINE)
    assert set(found) <= {"wfpd.dataplane", "wfpd.errors"}


@pytest.mark.parametrize("path", [path for path in CYTHON if path.stem in LEAVES], ids=identify)
def test_types_and_cursor_cimport_nothing_above_them(path: Path) -> None:
    assert cimported(path) <= LEAVES


def test_cimports_make_no_circle() -> None:
    edges: dict[str, set[str]] = {}
    for path in CYTHON:
        edges.setdefault(path.stem, set()).update(cimported(path))
    while edges:
        free = {name for name, needs in edges.items() if not needs & edges.keys()}
        assert free, f"these cimport one another: {sorted(edges)}"
        edges = {name: needs for name, needs in edges.items() if name not in free}

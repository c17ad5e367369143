"""Folders point one way.  import-linter cannot see compiled modules, so this reads the lines themselves."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYTHON = sorted((ROOT / "wfpd").rglob("*.py"))
CYTHON = sorted((ROOT / "ext" / "wfpd" / "dataplane").rglob("*.p[yx][xd]"))
ELSEWHERE = sorted(set((ROOT / "ext" / "wfpd").rglob("*.p[yx][xdi]")) - set((ROOT / "ext/wfpd/dataplane").rglob("*")))
LEAVES = {"_cursor", "_types"}
"""Cimported by everybody; they cimport nothing but each other and libc."""


def identify(path: Path) -> str:
    """The test's id: the path from the root."""
    return str(path.relative_to(ROOT))


def cimported(path: Path) -> set[str]:
    """Names of our own modules that a .pyx or .pxd cimports, itself left out."""
    lines = re.findall(r"^\s*from\s+(?:\.|wfpd\.dataplane\.)(_\w+)\s+cimport", path.read_text(), re.MULTILINE)
    return set(lines) - {path.stem}


@pytest.mark.parametrize("path", PYTHON, ids=identify)
def test_nobody_imports_a_compiled_module_but_through_the_door(path: Path) -> None:
    if path.is_relative_to(ROOT / "wfpd" / "dataplane"):
        return
    assert not re.findall(r"^\s*(?:from|import)\s+wfpd\.dataplane\._\w+", path.read_text(), re.MULTILINE)


@pytest.mark.parametrize("path", CYTHON, ids=identify)
def test_the_packet_path_imports_the_vocabulary_and_nothing_that_reads_policies_or_files(path: Path) -> None:
    text = re.sub(r"^from wfpd\.callouts\.(?:api|_capsule) cimport", "", path.read_text(), flags=re.MULTILINE)
    found = re.findall(r"^\s*(?:from|import)\s+(wfpd\.\w+)", text, re.MULTILINE)
    assert set(found) <= {"wfpd.dataplane", "wfpd.errors", "wfpd.model"}


@pytest.mark.parametrize("path", ELSEWHERE, ids=identify)
def test_a_compiled_module_of_another_folder_imports_its_own_folder_and_what_is_below(path: Path) -> None:
    found = re.findall(r"^\s*(?:from|import|cimport)\s+(wfpd\.\w+)", path.read_text(), re.MULTILINE)
    own = ".".join(path.relative_to(ROOT / "ext").parts[:2])
    assert set(found) <= {own, "wfpd.errors", "wfpd.model"}


@pytest.mark.parametrize("path", [path for path in CYTHON if path.stem in LEAVES], ids=identify)
def test_types_and_cursor_cimport_nothing_above_them(path: Path) -> None:
    assert cimported(path) <= LEAVES


def stuck(edges: dict[str, set[str]]) -> list[str]:
    """The modules that are in a circle or stand above one; none if all can be put in an order."""
    while free := {name for name, needs in edges.items() if not needs & edges.keys()}:
        edges = {name: needs for name, needs in edges.items() if name not in free}
    return sorted(edges)


def test_declarations_cimport_one_another_in_no_circle() -> None:
    assert not stuck({path.stem: cimported(path) for path in CYTHON if path.suffix == ".pxd"})


def test_modules_load_one_another_in_no_circle() -> None:
    edges: dict[str, set[str]] = {}
    for path in CYTHON:
        edges.setdefault(path.stem, set()).update(cimported(path))
    assert not stuck(edges)

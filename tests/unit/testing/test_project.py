"""Projects of `wfpd new-callout`: names, files, and all or nothing."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest

from wfpd.config import load_policy
from wfpd.errors import ControlError, UsageError
from wfpd.testing.project import TEMPLATES, Project


@pytest.mark.parametrize(
    ("name", "message"),
    [("", "is no name"), ("My", "is no name"), ("a--b", "is no name"), ("a_b", "is no name"), ("../a", "is no name"),
     ("1a", "is no name"), ("a" * 65, "is no name"), ("ä", "is no name"), ("a\n", "is no name"),
     ("class", "Python's own"), ("none", "Python's own"), ("json", "would hide"), ("wfpd", "would hide"),
     ("tests", "would hide")],
)  # fmt: skip
def test_a_name_that_cannot_be_one_is_refused(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Project(name).check()


def test_a_name_is_that_of_package_and_class() -> None:
    project = Project("my-2nd-callout")
    project.check()
    assert (project.package, project.class_name) == ("my_2nd_callout", "My2ndCallout")


@pytest.mark.parametrize("native", [False, True])
def test_all_is_filled_in_and_can_be_read(tmp_path: Path, native: bool) -> None:
    files = Project("my-callout", native).write(tmp_path / "my-callout")
    there = sorted(str(path.relative_to(tmp_path / "my-callout")) for path in tmp_path.rglob("*") if path.is_file())
    assert there == files
    for name in files:
        text = (tmp_path / "my-callout" / name).read_text()
        assert "@" not in text.replace("@pytest", "") and text.endswith("\n") and "\n\n\n\n" not in text
        if name.endswith(".py"):
            ast.parse(text)
    policy = load_policy(str(tmp_path / "my-callout" / "policy.yaml"), trust="warn")
    assert policy.callouts[0].use == "my_callout:MyCallout"
    assert ("setup.py" in files) is ("tests/test_halves.py" in files) is native and "tests/test_stream.py" in files


def test_no_template_is_left_over() -> None:
    used = {f"{name}.tmpl" for native in (False, True) for name in _names(native)}
    assert {path.name for path in TEMPLATES.iterdir()} == used


def _names(native: bool) -> list[str]:
    """The templates that a project reads."""
    read: list[str] = []

    class Noting(Project):
        def _filled(self, name: str) -> str:
            read.append(name)
            return super()._filled(name)

    Noting("a-b", native).files()
    return read


def test_what_exists_or_cannot_be_written_is_left_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(ControlError, match="exists already"):
        Project("there").write(tmp_path / "there")
    assert list((tmp_path / "there").iterdir()) == []
    with pytest.raises(ControlError, match="cannot make"):
        Project("a").write(tmp_path / "nowhere" / "a")
    (tmp_path / "file").touch()
    with pytest.raises(ControlError, match="exists already"):
        Project("file").write(tmp_path / "file")


@pytest.mark.parametrize("error", [OSError(28, os.strerror(28)), KeyboardInterrupt()])
def test_one_that_breaks_off_is_taken_away_again(tmp_path: Path, error: BaseException) -> None:
    def told(path: str) -> None:
        if path == "policy.yaml":
            raise error

    with pytest.raises(ControlError if isinstance(error, OSError) else KeyboardInterrupt):
        Project("a").write(tmp_path / "a", told)
    assert list(tmp_path.iterdir()) == []

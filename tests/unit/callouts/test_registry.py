"""Loading callouts: what is imported, from where, and what is said when it cannot be."""

from __future__ import annotations

import pathlib
import uuid

import pytest

from wfpd.callouts.registry import load_callouts
from wfpd.errors import Location, PolicyError
from wfpd.model.policy import Callout


def callout(use: str, **options: object) -> Callout:
    return Callout("one", uuid.uuid4(), use, options, location=Location("policy.yaml", 3))


def test_a_callout_without_use_is_not_registered() -> None:
    assert load_callouts([callout("")]) == [None]


def test_options_are_keyword_arguments() -> None:
    (classify,) = load_callouts([callout("wfpd.callouts.fixed:Fixed", answer="permit", clear_right="true")])
    assert classify is not None and classify.__self__.clear_right is True


@pytest.mark.parametrize("use", ["no_such_module:X", "wfpd.callouts.fixed:Nothing", "wfpd.callouts.fixed"])
def test_what_cannot_be_imported_is_an_error_of_the_policy(use: str) -> None:
    with pytest.raises(PolicyError, match=r"policy\.yaml:3"):
        load_callouts([callout(use)])


def test_the_working_directory_is_never_searched(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "planted_callout.py").write_text("class C:\n    def classify(self, c): pass\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(PolicyError):
        load_callouts([callout("planted_callout:C")])


def test_callout_path_is_searched(tmp_path: pathlib.Path) -> None:
    (tmp_path / "found_callout.py").write_text("class C:\n    def classify(self, c): pass\n")
    assert load_callouts([callout("found_callout:C")], [str(tmp_path)])[0] is not None

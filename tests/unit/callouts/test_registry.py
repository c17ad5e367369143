"""Loading callouts: what is imported, from where, and what is said when it cannot be."""

from __future__ import annotations

import pathlib
import sys
import uuid
from collections.abc import Iterator
from dataclasses import replace

import pytest

from wfpd.callouts.registry import Registry, load_callouts
from wfpd.errors import Location, PolicyError
from wfpd.model.policy import Callout


def callout(use: str, **options: object) -> Callout:
    return Callout("one", uuid.uuid4(), use, options, location=Location("policy.yaml", 3))


def test_a_callout_without_use_is_not_registered() -> None:
    assert load_callouts([callout("")]) == [None]


def test_options_are_keyword_arguments() -> None:
    (classify,) = load_callouts([callout("wfpd.callouts.fixed:Fixed", answer="permit", clear_right="true")])
    assert classify is not None and classify.instance.clear_right is True


@pytest.mark.parametrize("use", ["no_such_module:X", "wfpd.callouts.fixed:Nothing", "wfpd.callouts.fixed"])
def test_what_cannot_be_imported_is_an_error_of_the_policy(use: str) -> None:
    with pytest.raises(PolicyError, match=r"policy\.yaml:3"):
        load_callouts([callout(use)])


@pytest.mark.parametrize(
    ("use", "said"),
    [
        ("no_such_module:X", "the module is looked for"),
        ("wfpd.callouts.registry:_FOUND", "the module is looked for"),
        ("wfpd.callouts.fixed:Fixed", "the class is called with the options"),
    ],
)
def test_the_hint_is_of_what_failed(use: str, said: str) -> None:
    with pytest.raises(PolicyError, match=said):
        load_callouts([callout(use, no_such_option=1)])


def test_what_a_class_says_wrongly_of_itself_needs_no_hint() -> None:
    with pytest.raises(PolicyError, match="neither classify nor native") as raised:
        load_callouts([callout("builtins:dict")])
    assert "hint" not in str(raised.value)


def test_the_working_directory_is_never_searched(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "planted_callout.py").write_text("class C:\n    def classify(self, c): pass\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(PolicyError):
        load_callouts([callout("planted_callout:C")])


def test_callout_path_is_searched(tmp_path: pathlib.Path) -> None:
    (tmp_path / "found_callout.py").write_text("class C:\n    def classify(self, c): pass\n")
    assert load_callouts([callout("found_callout:C")], [str(tmp_path)])[0] is not None


STATEFUL = """class C:
    closed = []
    def __init__(self, step="1", fails=""):
        self.step, self.seen, self.fails = int(step), 0, fails
    def classify(self, c):
        self.seen += self.step
    def close(self):
        self.closed.append(self.step)
        if self.fails:
            raise RuntimeError(self.fails)
class Heir(C):
    def inherit(self, old):
        self.seen = old.seen
class Nothing:
    pass
class Odd(C):
    notify = 3
"""


@pytest.fixture(name="path")
def _path(tmp_path: pathlib.Path) -> Iterator[list[str]]:
    (tmp_path / "stateful_callout.py").write_text(STATEFUL)
    yield [str(tmp_path)]
    del sys.modules["stateful_callout"]


def test_an_instance_stays_while_key_use_and_options_do(path: list[str]) -> None:
    registry, one = Registry(), callout("stateful_callout:C", step="2")
    (first,) = registry.load([one], path)
    registry.keep([first])
    assert registry.load([replace(one, description="other", name="renamed")], path) == [first]
    (other,) = registry.load([replace(one, options={"step": "3"})], path)
    assert other is not first and other is not None and other.instance.seen == 0


def test_a_class_may_take_over_the_state_of_the_options_before(path: list[str]) -> None:
    registry, one = Registry(), callout("stateful_callout:Heir", step="2")
    (first,) = registry.load([one], path)
    assert first is not None
    first(None)
    registry.keep([first])
    (second,) = registry.load([replace(one, options={"step": "3"})], path)
    assert second is not None
    second(None)
    assert (second.instance.seen, second.number) == (5, first.number)


def test_an_instance_is_closed_once_when_the_last_holder_lets_go(path: list[str]) -> None:
    registry = Registry()
    (first,) = registry.load([callout("stateful_callout:C", step="7")], path)
    assert first is not None
    closed = first.instance.closed
    registry.keep([first])
    registry.keep([])
    assert closed == []
    del first
    assert closed == [7]


@pytest.mark.parametrize(
    ("name", "says"), [("Nothing", "neither classify nor native"), ("Odd", "notify is not callable")]
)
def test_a_class_that_is_no_callout_is_an_error_of_the_policy(path: list[str], name: str, says: str) -> None:
    with pytest.raises(PolicyError, match=says):
        load_callouts([callout(f"stateful_callout:{name}")], path)

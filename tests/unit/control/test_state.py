"""The state directory: words and rules come back as they were, or not at all."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from wfpd.control.state import MAX_BYTES, Kept, State, default_directory
from wfpd.model.policy import Faults, Word
from wfpd.netfilter.ruleset import QueueRule, RuleSet

FAULTS = Faults(on_absent=Word.BLOCK, late_after=0.25)
RULES = RuleSet((QueueRule("input", ("eth0",), (4, 6), 0, 1, "hosts", False),), bypass=False)


def saved(tmp_path: Path) -> State:
    state = State(tmp_path / "s")
    state.save(FAULTS, "ab", 3, RULES)
    return state


def test_words_and_rules_come_back_as_they_were_saved(tmp_path: Path) -> None:
    state = saved(tmp_path)
    assert state.load() == Kept(FAULTS, RULES)
    assert [path.name for path in state.directory.iterdir()] == ["words.json"]


def test_the_directory_is_its_owners_alone_whatever_it_was(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir(mode=0o755)
    state = saved(tmp_path)
    assert stat.S_IMODE(state.directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((state.directory / "words.json").stat().st_mode) == 0o600


@pytest.mark.parametrize("text", [
    "", "[]", '{"faults": {}}', '{"version": 2, "faults": {"on_absent": 1}}', "\xff", "[" * 100_000,
    '{"version": 2, "faults": null}', "null",
])  # fmt: skip
def test_a_damaged_file_is_as_none_and_is_said(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "words.json").write_text(text, encoding="latin-1")
    assert State(tmp_path).load() is None
    assert "cannot be used" in caplog.text


def test_without_a_file_nothing_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert State(tmp_path).load() is None
    assert caplog.text == ""


def change(state: State, **parts: object) -> None:
    path = state.directory / "words.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | parts))


def test_an_older_file_has_words_only_and_a_newer_one_is_not_guessed_at(tmp_path: Path) -> None:
    state = saved(tmp_path)
    change(state, version=1)
    assert state.load() == Kept(FAULTS, None)
    change(state, version=3)
    assert state.load() is None


def test_damaged_rules_leave_the_words(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = saved(tmp_path)
    change(state, rules={"rules": [{"hook": "input\n-A INPUT -j ACCEPT"}]})
    assert state.load() == Kept(FAULTS, None)
    assert "kept rules cannot be used" in caplog.text


def test_links_fifos_and_absurd_sizes_are_not_read(tmp_path: Path) -> None:
    state = saved(tmp_path)
    path = state.directory / "words.json"
    elsewhere = path.rename(tmp_path / "elsewhere.json")
    path.symlink_to(elsewhere)
    assert state.load() is None
    path.unlink()
    os.mkfifo(path)
    assert state.load() is None
    path.unlink()
    path.write_text(elsewhere.read_text() + " " * MAX_BYTES)
    assert state.load() is None
    elsewhere.rename(path)
    assert state.load() == Kept(FAULTS, RULES)


def test_systemds_directory_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/a:/b")
    assert str(default_directory()) == "/a"
    monkeypatch.delenv("STATE_DIRECTORY")
    assert str(default_directory()) == "/var/lib/wfpd"

"""One key, one act; an editor that is there, or what to do without one."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wfpd.lab import keys


class Told:
    """Stands for the story: notes what it is asked for."""

    def __init__(self, policy: Path) -> None:
        self.acts: list[str] = []
        self.words: list[str] = []
        self.service = SimpleNamespace(policy=policy)

    def say(self, text: str) -> None:
        self.words.append(text)

    def __getattr__(self, name: str) -> Any:
        return lambda: self.acts.append(name)


@pytest.fixture
def story(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Told:
    for name in ("VISUAL", "EDITOR"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "policy.yaml").write_text("version: 1\n")
    return Told(tmp_path / "policy.yaml")


def press(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    pressed = iter(text)
    monkeypatch.setattr(keys, "read_key", lambda: next(pressed, ""))


def test_each_key_is_one_act_and_others_are_none(story: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    press(monkeypatch, "prxdm\nq")
    keys.converse(story)  # type: ignore[arg-type]
    assert story.acts == ["probe", "reload", "show_last_drop", "show_metrics"]
    assert all(f"[{key}]" in keys.HELP for key in "erpdmq")


@pytest.mark.timeout(10)
def test_a_key_that_was_pressed_too_early_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = os.openpty()
    with open(theirs, encoding="ascii") as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        os.write(ours, b"p")
        time.sleep(0.1)  # The kernel hands it over in its own time.
        assert keys.read_key() == "p"
    os.close(ours)


def test_the_end_of_input_ends_it(story: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    press(monkeypatch, "")
    keys.converse(story)  # type: ignore[arg-type]
    assert story.acts == []


def test_editing_opens_the_policy_and_reloads_it(story: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITOR", "sed -i 's/version/edited/'")
    keys.edit(story)  # type: ignore[arg-type]
    assert story.service.policy.read_text() == "edited: 1\n"
    assert story.acts == ["reload"]


@pytest.mark.parametrize(
    ("chosen", "words"), [("", "no editor is installed"), ("nowhere-9", "nowhere-9 is not installed")]
)
def test_without_an_editor_it_says_how_else(
    story: Told, monkeypatch: pytest.MonkeyPatch, chosen: str, words: str
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    if chosen:
        monkeypatch.setenv("EDITOR", chosen)
    keys.edit(story)  # type: ignore[arg-type]
    assert story.words == [f"{words}: edit {story.service.policy} in another terminal, then press r"]
    assert story.acts == []


def test_an_installed_editor_is_found_where_none_is_chosen(
    story: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "vi").write_text("#!/bin/sh\n")
    (tmp_path / "vi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert keys.editor() == ["vi"]

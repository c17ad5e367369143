"""The service around the packet path: kept words, sinks, a policy that is refused."""

from __future__ import annotations

import logging
import pathlib

import pytest

from wfpd.control.state import State
from wfpd.daemon.service import BAD_POLICY, _refuse, make_sinks, obey_kept_words
from wfpd.errors import KernelError, PolicyError, Problem
from wfpd.model.policy import DaemonSettings, Faults, Policy, Word
from wfpd.observe.sinks import FileSink, Hub


def test_kept_words_speak_after_a_failed_start(tmp_path: pathlib.Path) -> None:
    state = State(tmp_path / "state")
    assert obey_kept_words(state) == ""
    state.save(Faults(on_absent=Word.BLOCK), "hash", 1)
    assert "purge" in obey_kept_words(state)
    state.save(Faults(), "hash", 2)
    assert obey_kept_words(state) == ""


def test_sinks_are_the_declared_ones_and_the_subscribers(tmp_path: pathlib.Path) -> None:
    hub = Hub()
    policy = Policy(daemon=DaemonSettings(events=({"type": "file", "path": str(tmp_path / "eve.json")},)))
    sinks = make_sinks(policy, hub)
    assert sinks[0] is hub and isinstance(sinks[1], FileSink)
    for sink in sinks:
        sink.close()


def test_a_refusal_is_logged_whole_and_has_its_exit_status(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    with caplog.at_level(logging.ERROR):
        assert _refuse(PolicyError([Problem("first"), Problem("second")])) == BAD_POLICY
        assert _refuse(KernelError("queue 0 is taken", hint="stop it")) == 3
    assert [record.message for record in caplog.records] == ["first", "second", "queue 0 is taken", "hint: stop it"]

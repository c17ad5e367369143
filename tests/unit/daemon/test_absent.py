"""After a failed start: whose on_absent counts, and what is done."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from wfpd.control.handover import Compiled
from wfpd.control.state import State
from wfpd.daemon import absent
from wfpd.errors import KernelError
from wfpd.model.layers import LAYER
from wfpd.model.policy import Attachment, Faults, Policy, Word
from wfpd.netfilter import rules
from wfpd.netfilter.ruleset import QueueRule, RuleSet

BLOCK, PERMIT = Faults(on_absent=Word.BLOCK), Faults()
RULE = QueueRule("forward", (), (4, 6), 3, 3, "hosts", True)


def compiled(faults: Faults) -> Compiled:
    policy = Policy(attach=(Attachment("forward", queues=(3, 3)),), faults=faults)
    return Compiled(policy, memoryview(b""), frozenset({LAYER["ipforward"].slot(4)}))


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path / "state")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[RuleSet]:
    """What `hold` was called with; it answers INSTALLED."""
    calls: list[RuleSet] = []

    def hold(ruleset: RuleSet, *_: object) -> rules.Held:
        calls.append(ruleset)
        return rules.Held.INSTALLED

    monkeypatch.setattr(rules, "hold", hold)
    return calls


def test_a_broken_policy_obeys_the_kept_words_and_rules(
    state: State, asked: list[RuleSet], caplog: pytest.LogCaptureFixture
) -> None:
    kept = RuleSet((RULE,), bypass=False)
    state.save(BLOCK, "hash", 1, kept)
    with caplog.at_level(logging.ERROR):
        assert absent.obey(state, None) is rules.Held.INSTALLED
    assert asked == [kept]
    for word in ("last accepted policy", "put in place", "forward", "wfpd purge"):
        assert word in caplog.text


@pytest.mark.parametrize("saved", [None, PERMIT])
def test_without_kept_words_or_with_permit_nothing_is_touched(
    state: State, asked: list[RuleSet], saved: Faults | None
) -> None:
    if saved is not None:
        state.save(saved, "hash", 1, RuleSet((RULE,)))
    assert absent.obey(state, None) is None
    assert asked == []


@pytest.mark.parametrize(("own", "kept"), [(BLOCK, PERMIT), (PERMIT, BLOCK)])
def test_a_policy_that_loaded_speaks_for_itself(state: State, asked: list[RuleSet], own: Faults, kept: Faults) -> None:
    state.save(kept, "hash", 1, RuleSet((RULE,), bypass=False))
    absent.obey(state, compiled(own))
    assert [(one.bypass, one.rules) for one in asked] == ([(False, (RULE,))] if own is BLOCK else [])


def test_words_of_an_older_version_keep_what_stands(state: State, asked: list[RuleSet]) -> None:
    state.save(BLOCK, "hash", 1, RuleSet((RULE,), bypass=False))
    path = state.directory / "words.json"
    path.write_text(path.read_text().replace('"version": 2', '"version": 1'))
    absent.obey(state, None)
    assert asked == [RuleSet(bypass=False)]


def test_rules_that_cannot_be_put_in_place_are_said(
    state: State, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def hold(*_: object) -> rules.Held:
        raise KernelError("no permission")

    monkeypatch.setattr(rules, "hold", hold)
    state.save(BLOCK, "hash", 1, RuleSet((RULE,), bypass=False))
    with caplog.at_level(logging.ERROR):
        assert absent.obey(state, None) is None
    assert "could not be put in place: no permission" in caplog.text

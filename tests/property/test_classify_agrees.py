"""The forest and the linear twin give the same filters, on drawn policies and on generated sets."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import application_rules, hostile_rules, workloads
from tests.builders import field_values, policies, slot, snapshot
from wfpd.dataplane import Snapshot
from wfpd.dataplane._probe import classify_many
from wfpd.model.policy import Action, FilterFlag

ALWAYS_END = {item.name.lower() for item in (Action.PERMIT, Action.BLOCK, Action.CALLOUT_TERMINATING)}


def needed(taken: Snapshot, found: list[int]) -> list[int]:
    """Of all matching filters those that arbitration can need."""
    kept, ended = [], set()
    for index in found:
        info = taken.filter_info(index)
        if info["sublayer"] in ended:
            continue
        kept.append(index)
        if info["action"] in ALWAYS_END and not info["flags"] & FilterFlag.AUDIT:
            ended.add(info["sublayer"])
    return kept


@settings(max_examples=80, deadline=None)
@given(policies(most=40), st.data())
def test_larger_drawn_policies_agree(policy: Any, data: st.DataObject) -> None:
    family = data.draw(st.sampled_from([4, 6]))
    taken, at = snapshot(policy), slot(family=family)
    for values in data.draw(st.lists(field_values(family), min_size=1, max_size=8)):
        assert taken.match(at, values) == needed(taken, taken.matches_slow(at, values))


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("sublayers", [1, 4, 20])
@pytest.mark.parametrize("audit", [False, True])
@pytest.mark.parametrize("shape", workloads.SHAPES)
def test_generated_sets_agree(shape: str, audit: bool, sublayers: int, family: int) -> None:
    rules = workloads.rules(shape, 300, seed=sublayers, bits=32 if family == 4 else 128)
    policy = workloads.policy(rules, family, sublayers, audit)
    taken, at = snapshot(policy), slot(family=family)
    packets = workloads.packets(rules, 40)
    answers = classify_many(taken, at, workloads.FIELD_IDS, workloads.table(packets))
    for packet, answer in zip(packets, answers, strict=True):
        values = dict(zip(workloads.FIELDS, packet, strict=True))
        assert answer == needed(taken, taken.matches_slow(at, values))


@pytest.mark.parametrize("family", [4, 6])
def test_absent_fields_agree(family: int) -> None:
    rules = workloads.rules("firewall", 500, bits=32 if family == 4 else 128)
    taken, at = snapshot(workloads.policy(rules, family, 3)), slot(family=family)
    for number, packet in enumerate(workloads.packets(rules, 200)):
        values = dict(zip(workloads.FIELDS, packet, strict=True))
        values.pop(workloads.FIELDS[number % 5])
        assert taken.match(at, values) == needed(taken, taken.matches_slow(at, values))


def first_matches(rules: list[workloads.Rule], packet: workloads.Packet, sublayers: int) -> list[int]:
    """Number of the first rule of each sublayer that has the packet inside, by looking at each rule."""
    found: dict[int, int] = {}
    for number, rule in enumerate(rules):
        if number % sublayers not in found and all(
            low <= value <= high for value, (low, high) in zip(packet, rule, strict=True)
        ):
            found[number % sublayers] = number
    return [found[sublayer] for sublayer in sorted(found)]


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("sublayers", [1, 4])
@pytest.mark.parametrize("shape", workloads.SHAPES)
def test_sets_of_a_thousand_rules_give_the_answers_of_a_plain_scan(shape: str, sublayers: int, family: int) -> None:
    rules = workloads.rules(shape, 1000, seed=7, bits=32 if family == 4 else 128)
    taken, packets = snapshot(workloads.policy(rules, family, sublayers)), workloads.packets(rules, 300, seed=7)
    names = [taken.filter_name(index) for index in range(taken.n_filters)]
    answers = classify_many(taken, slot(family=family), workloads.FIELD_IDS, workloads.table(packets))
    for packet, answer in zip(packets, answers, strict=True):
        assert [names[index] for index in answer] == [
            f"r{number}" for number in first_matches(rules, packet, sublayers)
        ]
    assert any(answers)


@pytest.mark.parametrize("kind", hostile_rules.KINDS)
@pytest.mark.parametrize("sublayers", [1, 4])
def test_hostile_sets_agree(kind: str, sublayers: int) -> None:
    rules = hostile_rules.rules(kind, 400)
    taken = snapshot(workloads.policy(rules, sublayers=sublayers))
    packets = workloads.packets(rules, 60)
    answers = classify_many(taken, slot(), workloads.FIELD_IDS, workloads.table(packets))
    for packet, answer in zip(packets, answers, strict=True):
        values = dict(zip(workloads.FIELDS, packet, strict=True))
        assert answer == needed(taken, taken.matches_slow(slot(), values))


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("sublayers", [1, 3, 20])
@pytest.mark.parametrize("seed", range(4))
def test_application_sets_agree(family: int, sublayers: int, seed: int) -> None:
    count, bits = 600, 32 if family == 4 else 128
    rules = application_rules.rules(count, seed, bits)
    at = slot(application_rules.LAYER_NAME, family)
    taken = snapshot(application_rules.policy(rules, count, family, sublayers))
    known = application_rules.texts(count)
    rng = random.Random(seed)
    for packet in application_rules.packets(rules, 60, count, seed, bits):
        values: dict[str, int | bytes] = dict(zip(application_rules.FIELDS, packet, strict=True))
        for name in application_rules.TEXT_FIELDS:
            values[name] = known[int(values[name])] if rng.random() < 0.9 else b"nobody knows this"
        for name in rng.sample(application_rules.FIELDS, rng.choice((0, 0, 1, 2))):
            del values[name]
        assert taken.match(at, values) == needed(taken, taken.matches_slow(at, values))

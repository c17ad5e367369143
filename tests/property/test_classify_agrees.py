"""The forest and the linear twin give the same filters, on drawn policies and on generated sets."""

from __future__ import annotations

import random
from array import array
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import application_rules, hostile_rules, workloads
from tests.builders import field_values, policies, slot, snapshot
from wfpd.dataplane import Snapshot
from wfpd.dataplane._probe import classify_many, table_stats
from wfpd.model.fields import FIELD
from wfpd.model.policy import Action, FilterFlag

ALWAYS_END = {item.name.lower() for item in (Action.PERMIT, Action.BLOCK)}


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


def match_without(taken: Snapshot, at: int, values: Mapping[str, int | bytes | None], gone: set[int]) -> list[int]:
    """What a search finds that ignores the filters of `gone`."""
    held = {name: value for name, value in values.items() if value is not None}
    texts = [value for value in held.values() if isinstance(value, bytes)]
    row = array("Q")
    for value in held.values():
        number = texts.index(value) if isinstance(value, bytes) else value
        row.extend((number >> 64, number & (2**64 - 1)))
    # A packet without values: a text that is not there.
    fields = [FIELD[name].id for name in held] or [FIELD["interface_name"].id]
    rows = memoryview(row or array("Q", (0, 0))).cast("B").cast("Q", (1, 2 * len(fields)))
    return classify_many(taken, at, fields, rows, texts=texts, gone=gone)[0]


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


def without(taken: Snapshot, found: list[int], gone: set[int]) -> list[int]:
    """What is needed of the matching filters where those of `gone` are not there."""
    return needed(taken, [index for index in found if index not in gone])


@settings(max_examples=80, deadline=None)
@given(policies(most=40), st.data())
def test_an_ignored_filter_brings_back_what_it_hid(policy: Any, data: st.DataObject) -> None:
    family = data.draw(st.sampled_from([4, 6]))
    taken, at = snapshot(policy), slot(family=family)
    gone = data.draw(st.sets(st.integers(0, taken.n_filters - 1))) if taken.n_filters else set()
    for values in data.draw(st.lists(field_values(family), min_size=1, max_size=8)):
        assert match_without(taken, at, values, gone) == without(taken, taken.matches_slow(at, values), gone)


@pytest.mark.parametrize("share", [0.002, 0.1, 0.6, 1.0])
@pytest.mark.parametrize("sublayers", [1, 4, 20])
@pytest.mark.parametrize("shape", [*workloads.SHAPES, *hostile_rules.KINDS])
def test_ignored_filters_of_generated_sets_bring_back_what_they_hid(shape: str, sublayers: int, share: float) -> None:
    """Besides a share of all filters, those that match are ignored one after the other."""
    own = shape in workloads.SHAPES
    rules = workloads.rules(shape, 500, seed=sublayers) if own else hostile_rules.rules(shape, 500)
    taken = snapshot(workloads.policy(rules, sublayers=sublayers))
    rng = random.Random(f"{shape} {sublayers} {share}")
    gone = {index for index in range(500) if rng.random() < share}
    for packet in workloads.packets(rules, 40):
        values = dict(zip(workloads.FIELDS, packet, strict=True))
        matching = taken.matches_slow(slot(), values)
        ignored = set(gone)
        for _ in range(5):
            answer = match_without(taken, slot(), values, ignored)
            assert answer == without(taken, matching, ignored)
            ignored.update(answer[:1])


@pytest.mark.parametrize("sublayers", [1, 3, 20])
def test_filters_behind_wide_ones_come_back_when_those_are_ignored(sublayers: int) -> None:
    """Every tenth filter is wide enough to hide what stands behind it in some part of the table."""
    rng = random.Random(sublayers)
    rules: list[workloads.Rule] = []
    for number in range(900):
        width = 12_000 if number % 10 == 0 else 300
        low, other = rng.randrange(65536 - width), rng.randrange(65536 - width)
        span = workloads.PORTS if number % 10 == 0 else (other, other + width)
        rules.append((hostile_rules.ANY, hostile_rules.ANY, (low, low + width), span, workloads.PROTOCOLS))
    taken = snapshot(workloads.policy(rules, sublayers=sublayers))
    assert table_stats(taken, slot())["hidden"] > (300 if sublayers == 1 else 0)
    wide = {number for number in range(900) if rules[number][3] == workloads.PORTS}
    names = {taken.filter_name(index): index for index in range(900)}
    for packet in workloads.packets(rules, 100):
        values = dict(zip(workloads.FIELDS, packet, strict=True))
        for share in (0.5, 1.0):
            gone = {names[f"r{number}"] for number in sorted(wide) if rng.random() < share}
            assert match_without(taken, slot(), values, gone) == without(
                taken, taken.matches_slow(slot(), values), gone
            )


def test_ignored_filters_of_a_list_with_many_parts_are_each_ignored_once() -> None:
    """Filters of several boxes, wide ones in front: matches of both forests, none of them twice."""
    rules = application_rules.rules(800, 3)
    at = slot(application_rules.LAYER_NAME)
    known = application_rules.texts(800)
    taken = snapshot(application_rules.policy(rules, 800, sublayers=3))
    rng = random.Random(7)
    for packet in application_rules.packets(rules, 100, 800, 3):
        values: dict[str, int | bytes] = dict(zip(application_rules.FIELDS, packet, strict=True))
        for name in application_rules.TEXT_FIELDS:
            values[name] = known[int(values[name])]
        gone = {index for index in range(800) if rng.random() < 0.3}
        assert match_without(taken, at, values, gone) == without(taken, taken.matches_slow(at, values), gone)

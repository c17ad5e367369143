"""What is said of shadowed filters against the filters asked point by point."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import workloads
from bench.bench_lints import uncovered
from bench.policies import snapshot as bench_snapshot
from tests.builders import (
    CALLOUT_ACTIONS,
    a_filter,
    a_policy,
    callout,
    equal,
    field_values,
    policies,
    slot,
    snapshot,
    sublayer,
    when,
    within,
)
from tests.oracle.arbitration import Answer, decide_layer
from tests.oracle.shadowing import deciding, ends, points, reached
from wfpd.dataplane import shadows
from wfpd.dataplane._probe import filter_boxes
from wfpd.model.conditions import Atom, Op
from wfpd.model.policy import Action, Filter, FilterFlag, Policy

RANKS = [sublayer("high", 0x9000), sublayer("low", 0x1000)]
CALLOUTS = [callout("there"), callout("missing", use="")]
TOP = 4


@st.composite
def small_filters(draw: st.DrawFn, name: str) -> Filter:
    """Ranges, lists, EMPTY and negations of a few numbers and texts: all of it boxes hold exactly."""
    named = []
    for field in ("ip_source_port", "ip_destination_port"):
        if draw(st.integers(0, 3)):
            pairs = draw(
                st.lists(st.tuples(st.integers(0, TOP), st.integers(0, TOP)).map(sorted), min_size=1, max_size=2)
            )
            tests = [within(*pair) for pair in pairs]
            if draw(st.integers(0, 5)) == 0:
                tests = [within(0, 65535)]
            kind = draw(st.integers(0, 9))
            named.append(when(field, *tests, *([Atom(Op.EMPTY)] if kind == 0 else []), negate=kind == 1))
    if draw(st.integers(0, 3)) == 0:
        text = Atom(Op.TEXT_EQUAL, text=draw(st.sampled_from([b"a", b"b"])))
        named.append(when("interface_name", text, negate=draw(st.booleans())))
    if draw(st.integers(0, 3)) == 0:
        low = draw(st.integers(0, 2))
        named.append(when("ip_source_address", within(low, draw(st.integers(low, 3)))))
    action = draw(st.sampled_from([Action.PERMIT, Action.BLOCK, Action.PERMIT, Action.BLOCK, *CALLOUT_ACTIONS]))
    flags = draw(st.sampled_from([FilterFlag(0)] * 6 + [FilterFlag.AUDIT, FilterFlag.CLEAR_ACTION_RIGHT]))
    on = draw(st.sampled_from(["there", "missing"])) if action in CALLOUT_ACTIONS else ""
    return a_filter(name, action, *named, flags=flags, callout=on, sublayer=draw(st.sampled_from(["high", "low"])),
                    weight=draw(st.integers(0, 2)))  # fmt: skip


@st.composite
def small_policies(draw: st.DrawFn) -> Policy:
    return a_policy([draw(small_filters(f"f{index}")) for index in range(draw(st.integers(1, 9)))], RANKS, CALLOUTS)


def told(policy: Policy, at: int, **limits: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """shadows() with names for numbers, and witnesses by name."""
    taken = snapshot(policy)
    found = shadows(taken, at, witnesses=True, **limits)
    name = taken.filter_name
    return {
        "shadowed": {name(i): ([name(k) for k in by], n, same) for i, by, n, same in found["shadowed"]},
        **{kind: {name(i) for i in found[kind]} for kind in ("never", "undecided", "open")},
        **{kind: {name(i): name(k) for i, k in found[kind]} for kind in ("useless", "veto")},
    }, {name(i): values for i, values in found["witnesses"].items()}  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(small_policies())
def test_a_filter_is_said_to_be_shadowed_exactly_if_no_point_reaches_it(policy: Policy) -> None:
    found, witnesses = told(policy, slot())
    assert not found["open"] and not found["undecided"]
    names = {item.name: item for item in policy.filters}
    assert set(witnesses) == deciding(policy, slot())
    assert set(witnesses) | set(found["shadowed"]) | found["never"] == set(names)
    for name, values in witnesses.items():
        assert name in reached(policy, slot(), values)
    for name, (by, n, _) in found["shadowed"].items():
        assert n >= 1 and all(ends(policy, names[k]) and names[k].sublayer == names[name].sublayer for k in by)
        if n <= len(by):  # Those that are named do it without any other.
            alone = a_policy([item for item in policy.filters if item.name in (name, *by)], RANKS, CALLOUTS)
            assert name not in deciding(alone, slot())


@settings(max_examples=200, deadline=None)
@given(policies(at=slot(), most=10), st.lists(field_values(4), max_size=20))
def test_whatever_the_conditions_are_no_point_reaches_what_is_said_to_be_shadowed(
    policy: Policy, packets: list[dict[str, Any]]
) -> None:
    found, witnesses = told(policy, slot())
    for values in packets:
        here = reached(policy, slot(), values)
        assert not {*found["shadowed"]} & {*here}
    for name, values in witnesses.items():
        assert name in reached(policy, slot(), values)


ANSWERS = [Answer(kind, clear) for kind in ("permit", "block", "continue") for clear in (False, True)]


def verdict(policy: Policy, values: dict[str, Any], answer: Answer) -> tuple[str, bool]:
    used = {item.name: item.use for item in policy.callouts}
    found = decide_layer(policy, slot(), values, lambda item: answer if used[item.callout] else None)
    return found.action, found.veto


@st.composite
def policies_with_a_wide_block(draw: st.DrawFn) -> Policy:
    """Often with permits below it that have no effect."""
    wide = when("ip_source_port", within(draw(st.integers(0, 1)), TOP))
    more = [draw(small_filters(f"f{index}")) for index in range(draw(st.integers(0, 5)))]
    block = a_filter("wide", Action.BLOCK, *draw(st.sampled_from([[], [wide]])), sublayer="high",
                     weight=draw(st.integers(1, 3)))  # fmt: skip
    permit = a_filter("in", Action.PERMIT, when("ip_source_port", within(1, 2)), sublayer="low", weight=1)
    return a_policy([block, permit, *more], RANKS, CALLOUTS)


@settings(max_examples=150, deadline=None)
@given(policies_with_a_wide_block())
def test_no_verdict_changes_without_a_permit_that_is_said_to_have_no_effect(policy: Policy) -> None:
    found, _ = told(policy, slot())
    if len(policy.filters) == 2:
        assert found["useless"] == {"in": "wide"}
    for name in found["useless"]:
        without = a_policy([item for item in policy.filters if item.name != name], RANKS, CALLOUTS)
        for values, answer in itertools.product(points(policy, slot()), ANSWERS):
            assert verdict(policy, values, answer)[0] == verdict(without, values, answer)[0]


@settings(max_examples=200, deadline=None)
@given(small_policies())
def test_a_callout_vetoes_only_where_it_is_said_that_one_may(policy: Policy) -> None:
    found, _ = told(policy, slot())
    hard = {item.name for item in policy.filters if item.action is Action.PERMIT
            and FilterFlag.CLEAR_ACTION_RIGHT in item.flags and FilterFlag.AUDIT not in item.flags}  # fmt: skip
    assert set(found["veto"]) <= hard
    for values in points(policy, slot()):
        vetoed = verdict(policy, values, Answer("block"))[1]
        said = {*found["veto"]} & {*reached(policy, slot(), values)}
        assert said or not vetoed or not {*reached(policy, slot(), values)} & hard


def _inside(rng: random.Random, boxes: list[list[tuple[int, int, int]]]) -> dict[str, int]:
    """Values of a point of one of the boxes."""
    tops = dict(zip(workloads.FIELDS, (2**32 - 1, 2**32 - 1, 65535, 65535, 255), strict=True))
    names = dict(zip(workloads.FIELD_IDS, workloads.FIELDS, strict=True))
    values = {names[field]: (low, min(high, tops[names[field]])) for field, low, high in rng.choice(boxes)}
    return {name: rng.choice((low, high, rng.randint(low, high))) for name, (low, high) in values.items()}


@pytest.mark.parametrize("shape", sorted(workloads.SHAPES))
@pytest.mark.parametrize("seed", [1, 2])
def test_sampling_confirms_every_alarm_and_every_other_filter_has_a_witness(shape: str, seed: int) -> None:
    rng = random.Random(seed)
    rules = [rule for rule in workloads.rules(shape, 400, seed) if rule[4] != (1, 1)]  # No ports in ICMP.
    for _ in range(100):  # Parts of rules, behind them.
        one, two, three, four, five = rng.choice(rules)
        low = rng.randint(*four)
        rules.append((one, two, three, (low, rng.randint(low, four[1])), five))
    taken = bench_snapshot(workloads.policy(rules), [])
    found = shadows(taken, slot(), witnesses=True)
    shadowed = {index for index, *_ in found["shadowed"]}
    assert len(shadowed) >= 50 and not found["undecided"] and not found["open"] and not found["never"]
    assert shadowed | set(found["witnesses"]) == set(range(len(rules)))
    for index, values in found["witnesses"].items():
        assert taken.match(slot(), values) == [index]
    for index, by, *_ in found["shadowed"]:
        boxes = filter_boxes(taken, index)
        deciding = {taken.match(slot(), _inside(rng, boxes))[0] for _ in range(30)}
        assert max(deciding) < index and max(by) < index
        assert not uncovered(rules[index], [rules[other] for other in by])


@given(st.lists(st.tuples(*[st.tuples(st.integers(0, 3), st.integers(0, 3)).map(sorted).map(tuple)] * 5), min_size=1,
                max_size=5))  # fmt: skip
def test_what_is_left_of_a_box_is_what_no_other_has(boxes: list[Any]) -> None:
    box, *covers = boxes
    left = uncovered(box, covers)

    def has(of: Any, point: tuple[int, ...]) -> bool:
        return all(low <= value <= high for value, (low, high) in zip(point, of, strict=True))

    for point in itertools.product(range(4), repeat=5):
        expected = has(box, point) and not any(has(cover, point) for cover in covers)
        assert sum(has(part, point) for part in left) == expected


def test_a_limit_of_work_is_said_and_nothing_is_guessed() -> None:
    parts = [
        a_filter(f"p{number}", Action.BLOCK, when("ip_source_port", equal(number)), weight=5) for number in range(50)
    ]
    whole = a_filter("whole", Action.BLOCK, when("ip_source_port", within(0, 49)), weight=1)
    policy = a_policy([*parts, whole])
    found, _ = told(policy, slot())
    assert found["shadowed"]["whole"][1:] == (50, True) and not found["undecided"]
    found, _ = told(policy, slot(), work_each=10)
    assert found["undecided"] == {"whole"} and not found["shadowed"]
    found, _ = told(policy, slot(), work=20)
    assert "whole" in found["undecided"] and not found["shadowed"]

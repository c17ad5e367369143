"""Counter slots: whose goes on, and when one is free again."""

from __future__ import annotations

import gc

import pytest

from tests.builders import a_filter, a_policy, snapshot
from wfpd.model.policy import Action

PERMIT = Action.PERMIT


def test_counters_go_on_and_a_slot_is_given_again_only_after_its_last_snapshot_is_gone() -> None:
    a, b, c = (a_filter(name, PERMIT) for name in "abc")
    first = snapshot(a_policy([a, b]))
    assert first.counter_slots() == [0, 1] and first.new_counter_slots() == (0, 1)
    second = snapshot(a_policy([b, c]), generation=2, previous=first)
    assert second.counter_slots() == [1, 2] and second.new_counter_slots() == (2,)
    third = snapshot(a_policy([b, a]), generation=3, previous=second)
    assert third.counter_slots() == [1, 3]  # `first` still counts in slot 0.
    del first
    gc.collect()
    fourth = snapshot(a_policy([b, a, a_filter("d", PERMIT)]), generation=4, previous=third)
    assert fourth.counter_slots() == [1, 3, 0]
    assert fourth.slots is third.slots and fourth.slots.size == 4


def test_filters_of_one_key_and_content_hand_on_their_counters_one_by_one() -> None:
    same = [a_filter("a", PERMIT, weight=1)] * 300
    first = snapshot(a_policy([*same, a_filter("b", PERMIT)]))
    second = snapshot(a_policy([*same[:200], a_filter("b", PERMIT)]), generation=2, previous=first)
    assert second.counter_slots() == [*range(200), 300]
    third = snapshot(a_policy([*same, a_filter("b", PERMIT)]), generation=3, previous=second)
    assert third.counter_slots()[:200] == [*range(200)]
    assert third.counter_slots()[300] == 300
    assert len(set(third.counter_slots())) == 301


def test_a_refused_successor_leaves_the_counters_as_they_were() -> None:
    first = snapshot(a_policy([a_filter("a", PERMIT)]))
    with pytest.raises(ValueError):
        snapshot(a_policy([a_filter("b", PERMIT)]), callouts=[None], generation=2, previous=first)
    gc.collect()
    second = snapshot(a_policy([a_filter("c", PERMIT)]), generation=2, previous=first)
    assert second.counter_slots() == [1] and second.slots.size == 2

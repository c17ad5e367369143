"""Why a layer answers as it does: what holds, what nearly does, and how the right moves."""

from __future__ import annotations

import pytest

from tests.builders import a_filter, a_policy, callout, equal, slot, snapshot, sublayer, when, within
from wfpd.dataplane import explain_values, filter_conditions
from wfpd.model.conditions import Atom, Condition, Op, Term
from wfpd.model.fields import FIELD
from wfpd.model.policy import Action, FilterFlag, ValueSet

TCP, TO_22, TO_80 = when("ip_protocol", equal(6)), *(when("ip_destination_port", equal(port)) for port in (22, 80))
SSH = {"ip_protocol": 6, "ip_destination_port": 22}


def names(taken, indexes):
    return [taken.filter_name(index) for index in indexes]


def near(taken, explained):
    return [(taken.filter_name(index), condition) for index, condition in explained["near"]]


def test_what_holds_behind_the_end_is_told_too():
    taken = snapshot(a_policy([
        a_filter("first", Action.BLOCK, TCP, weight=3), a_filter("other", Action.BLOCK, TO_80, weight=2),
        a_filter("behind", Action.PERMIT, TO_22, weight=1),
    ]))  # fmt: skip
    explained = explain_values(taken, slot(), SSH)
    assert names(taken, explained["matches"]) == ["first"]
    assert names(taken, explained["held"]) == ["first", "behind"]
    assert explained["values"] == SSH
    assert explained["slot"] == slot()


def test_a_near_miss_fails_in_one_condition_and_says_which():
    taken = snapshot(a_policy([
        a_filter("one", Action.BLOCK, TCP, TO_80), a_filter("two", Action.BLOCK, when("ip_protocol", equal(17)), TO_80),
        a_filter("only", Action.BLOCK, when("ip_protocol", equal(17))), a_filter("holds", Action.BLOCK, TCP, TO_22),
    ]))  # fmt: skip
    explained = explain_values(taken, slot(), SSH)
    assert near(taken, explained) == [("one", 1), ("only", 0)]
    condition = filter_conditions(taken, explained["near"][0][0])[1]
    assert condition == Condition(FIELD["ip_destination_port"].id, (Term((equal(80),)),))


def test_near_misses_are_the_best_of_each_sublayer():
    ranks = [sublayer("high", 0x9000), sublayer("low", 0x1000)]
    taken = snapshot(a_policy([
        a_filter(f"{rank}-{weight}", Action.BLOCK, TO_80, sublayer=rank, weight=weight)
        for rank in ("low", "high") for weight in range(9)
    ], ranks))  # fmt: skip
    assert near(taken, explain_values(taken, slot(), SSH, 2)) == [
        ("high-8", 0), ("high-7", 0), ("low-8", 0), ("low-7", 0),
    ]  # fmt: skip
    told = explain_values(taken, slot(), SSH)
    assert len(told["near"]) == 10
    assert [(taken.sublayer_name(index), *more) for index, *more in told["sublayers"]] == [
        ("high", 0x9000, 9),
        ("low", 0x1000, 9),
    ]
    assert explain_values(taken, slot(), SSH, 0)["near"] == []


def test_the_right_is_told_as_it_moves():
    ranks = [sublayer("a", 0x9003), sublayer("b", 0x9002), sublayer("c", 0x9001)]
    taken = snapshot(a_policy([
        a_filter("soft", Action.PERMIT, sublayer="a"),
        a_filter("hard", Action.PERMIT, sublayer="b", flags=FilterFlag.CLEAR_ACTION_RIGHT),
        a_filter("too-late", Action.BLOCK, sublayer="c"),
    ], ranks))  # fmt: skip
    steps = explain_values(taken, slot(), {})["steps"]
    assert [(names(taken, [s["filter"]])[0], s["said"], s["stands"], s["action"], s["right"]) for s in steps] == [
        ("soft", "permit", True, "permit", True), ("hard", "permit", True, "permit", False),
        ("too-late", "block", False, "permit", False),
    ]  # fmt: skip
    assert not any(step["veto"] for step in steps)


def test_callouts_answer_as_given_and_a_veto_is_marked():
    ranks = [sublayer("a", 0x9003), sublayer("b", 0x9002)]
    taken = snapshot(a_policy([
        a_filter("hard", Action.PERMIT, sublayer="a", flags=FilterFlag.CLEAR_ACTION_RIGHT),
        a_filter("looks", Action.CALLOUT_INSPECTION, sublayer="b", callout="c", weight=5),
        a_filter("watching", Action.PERMIT, sublayer="b", weight=4, flags=FilterFlag.AUDIT),
        a_filter("vetoes", Action.CALLOUT_UNKNOWN, sublayer="b", callout="c", weight=3),
        a_filter("behind", Action.CALLOUT_UNKNOWN, sublayer="b", callout="c", weight=2),
    ], ranks, [callout("c")]))  # fmt: skip
    answers = [("permit", False), ("block", False)]
    steps = explain_values(taken, slot(), {}, answers=answers)["steps"]
    assert [step["said"] for step in steps] == ["permit", "continue", "audit", "block", "not_reached"]
    assert [step["answer"] for step in steps] == [None, answers[0], None, answers[1], None]
    assert [step["veto"] for step in steps] == [False, False, False, True, False]
    assert (steps[-1]["action"], steps[-1]["right"]) == ("block", False)
    unanswered = explain_values(taken, slot(), {})["steps"]
    assert [step["said"] for step in unanswered] == ["permit", "continue", "audit", "continue", "continue"]


@pytest.mark.parametrize(("flags", "said"), [(FilterFlag(0), "block"),
                                             (FilterFlag.PERMIT_IF_CALLOUT_UNREGISTERED, "permit")])  # fmt: skip
def test_a_callout_that_is_not_there_says_what_its_filter_declares(flags, said):
    item = a_filter("gone", Action.CALLOUT_TERMINATING, callout="c", flags=flags)
    taken = snapshot(a_policy([item], callouts=[callout("c", use="")]))
    assert [(step["said"], step["answer"]) for step in explain_values(taken, slot(), {})["steps"]] == [(said, None)]


def test_values_are_the_models():
    looks = [when(name, Atom(Op.EMPTY)) for name in ("interface_name", "ip_source_address", "ip_protocol")]
    taken = snapshot(a_policy([a_filter("a", Action.BLOCK, *looks, at=slot(family=6))]))
    given = {"interface_name": b"eth0", "ip_source_address": 2**127 + 5, "ip_protocol": None}
    assert explain_values(taken, slot(family=6), given)["values"] == given


def test_conditions_come_back_as_they_were_given():
    tests = (Atom(Op.TEXT_RANGE, text=b"a", text_high=b"c"), Atom(Op.TEXT_RANGE, text=b"x"), Atom(Op.EMPTY),
             Atom(Op.TEXT_GLOB, text=b"eth*"), Atom(Op.IN_SET, set="names"))  # fmt: skip
    given = (
        Condition(FIELD["interface_name"].id, (Term(tests), Term((Atom(Op.TEXT_EQUAL, text=b"lo"),), True))),
        Condition(FIELD["ip_source_address"].id, (Term((within(2**100, 2**101),)),)),
        Condition(FIELD["tcp_flags"].id, (Term((Atom(Op.ALL_SET, 2),)),)),
    )
    sets = [ValueSet("names", "text", texts=(b"a", b"b"))]
    item = a_filter("a", Action.BLOCK, *given, at=slot(family=6))
    assert filter_conditions(snapshot(a_policy([item], sets=sets)), 0) == given


def test_a_slot_without_filters_and_numbers_out_of_range():
    taken = snapshot(a_policy([a_filter("a", Action.BLOCK)]))
    assert explain_values(taken, slot(family=6), {}) == {
        "slot": slot(family=6), "sublayers": [], "values": {}, "held": [], "near": [], "order": [], "matches": [],
        "steps": [],
    }  # fmt: skip
    with pytest.raises(IndexError):
        explain_values(taken, 64, {})
    with pytest.raises(IndexError):
        filter_conditions(taken, 1)
    with pytest.raises(KeyError):
        explain_values(snapshot(a_policy([a_filter("a", Action.CALLOUT_UNKNOWN, callout="c")],
                                         callouts=[callout("c")])), slot(), {}, answers=[("maybe", False)])  # fmt: skip

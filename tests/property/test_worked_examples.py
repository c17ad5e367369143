"""Worked examples of Microsoft's "Filter Arbitration" and its merge table: by the twin and by the engine.

Notation: `S1[...] > S2[...]` by falling weight of sublayers, inside by falling weight of filters; P permit, P! permit
with CLEAR_ACTION_RIGHT, B block; Cp, Cb, Cc a callout (unknown) that permits, blocks, continues, `!` with the right
cleared; I. inspection, T. terminating with the same answers; x unregistered: Cx, Tx, Ix; Txp with
PERMIT_IF_CALLOUT_UNREGISTERED.
An `@` behind a filter gives it a condition on destination port 80.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.builders import a_filter, a_policy, callout, equal, slot, snapshot, sublayer, when
from tests.oracle.arbitration import Answer, Outcome, decide_layer
from wfpd.compiler.pack import ranked
from wfpd.dataplane._arbitrate import arbitrate_layer
from wfpd.model.policy import Action, Filter, FilterFlag, Policy

PORT_80, PORT_81 = {"ip_destination_port": 80}, {"ip_destination_port": 81}
KINDS = {"C": Action.CALLOUT_UNKNOWN, "I": Action.CALLOUT_INSPECTION, "T": Action.CALLOUT_TERMINATING}
ANSWERS = {"p": "permit", "b": "block", "c": "continue"}


def _filter(text: str, name: str, **members: Any) -> Filter:
    conditions = (when("ip_destination_port", equal(80)),) if text.endswith("@") else ()
    text = text.rstrip("@")
    if text[0] in "PB":
        flags = FilterFlag.CLEAR_ACTION_RIGHT if text.endswith("!") else FilterFlag(0)
        return a_filter(name, Action.PERMIT if text[0] == "P" else Action.BLOCK, *conditions, flags=flags, **members)
    flags = FilterFlag.PERMIT_IF_CALLOUT_UNREGISTERED if text.endswith("xp") else FilterFlag(0)
    return a_filter(name, KINDS[text[0]], *conditions, callout=text, flags=flags, **members)


def written(text: str) -> Policy:
    """The policy that the notation means; a filter's name is its text and its place: `P!1.0`."""
    filters, sublayers, callouts = [], [], {}
    for rank, inside in enumerate(re.findall(r"\[([^\]]*)\]", text), 1):
        sublayers.append(sublayer(f"S{rank}", 0x7000 - rank))
        for place, item in enumerate(part for part in inside.split(", ") if part):
            filters.append(_filter(item, f"{item}{rank}.{place}", sublayer=f"S{rank}", weight=100 - place))
            if item[0] in KINDS:
                named = item.rstrip("@")
                callouts[named] = callout(named, use="" if "x" in named else "module:Class")
    return a_policy(filters, sublayers, list(callouts.values()))


def answer(item: Filter) -> Answer | None:
    """What the notation's callout says."""
    if "x" in item.callout:
        return None
    return Answer(ANSWERS[item.callout[1]], item.callout.endswith("!"))


def by_engine(policy: Policy, values: dict[str, Any]) -> Outcome:
    order = ranked(policy)
    taken = snapshot(policy)
    seen: list[tuple[str | None, bool]] = []

    def ask(index: int, action: str | None, right: bool) -> dict[str, object]:
        seen.append((action, right))
        said = answer(order[index])
        assert said is not None
        return {"kind": said.kind, "clear_right": said.clear_right}

    found = arbitrate_layer(taken, taken.match(slot(), values), ask)
    name = None if found["filter"] is None else order[found["filter"]].name
    called = [order[index].name for index in found["callouts"]]
    return Outcome(found["action"], found["right"], found["reason"], name, found["veto"], called, seen, found["audit"])


def by_twin(policy: Policy, values: dict[str, Any]) -> Outcome:
    return decide_layer(policy, slot(), values, answer)


DECIDERS = pytest.mark.parametrize("decide", [by_twin, by_engine])

# number, configuration, action, reason, filter of the standing result, callouts called
EXAMPLES = [
    (1, "", "none", "no_match", None, []),
    (2, "S1[P] > S2[B]", "block", "filter", "B2.0", []),
    (3, "S1[P!] > S2[B]", "permit", "filter", "P!1.0", []),
    (4, "S1[P!] > S2[Cb]", "block", "veto", "Cb2.0", ["Cb2.0"]),
    (5, "S1[B] > S2[P]", "block", "filter", "B1.0", []),
    (6, "S1[B] > S2[P!]", "block", "filter", "B1.0", []),
    (7, "S1[Cb] > S2[P]", "permit", "filter", "P2.0", ["Cb1.0"]),
    (8, "S1[Cb!] > S2[P!]", "block", "callout", "Cb!1.0", ["Cb!1.0"]),
    (9, "S1[Cb] > S2[Cb!] > S3[P]", "block", "callout", "Cb!2.0", ["Cb1.0", "Cb!2.0"]),
    (10, "S1[P, B]", "permit", "filter", "P1.0", []),
    (11, "S1[B, P!]", "block", "filter", "B1.0", []),
    (12, "S1[Cc, B]", "block", "filter", "B1.1", ["Cc1.0"]),
    (13, "S1[Cc]", "none", "no_match", None, ["Cc1.0"]),
    (14, "S1[Ib, P]", "permit", "filter", "P1.1", ["Ib1.0"]),
    (15, "S1[B] > S2[Ib]", "block", "filter", "B1.0", ["Ib2.0"]),
    (16, "S1[Tx] > S2[P]", "block", "missing_callout", "Tx1.0", []),
    (17, "S1[Txp] > S2[B]", "block", "filter", "B2.0", []),
    (18, "S1[Ix, B]", "block", "filter", "B1.1", []),
    (19, "S1[Cx]", "block", "missing_callout", "Cx1.0", []),
    (20, "S1[Tc]", "block", "callout", "Tc1.0", ["Tc1.0"]),
    (21, "S1[P] > S2[P!] > S3[B]", "permit", "filter", "P!2.0", []),
    (22, "S1[P!] > S2[P] > S3[Cb!]", "block", "veto", "Cb!3.0", ["Cb!3.0"]),
    (23, "S1[Cp!] > S2[B]", "permit", "callout", "Cp!1.0", ["Cp!1.0"]),
    (24, "S1[Cb] > S2[B] > S3[P]", "block", "filter", "B2.0", ["Cb1.0"]),
    (26, "S1[P@, B]", "permit", "filter", "P@1.0", []),
    (28, "S1[B, P]", "block", "filter", "B1.0", []),
    (30, "S1[P!] > S2[Ib]", "permit", "filter", "P!1.0", ["Ib2.0"]),
]


@DECIDERS
@pytest.mark.parametrize(("number", "text", "action", "reason", "standing", "called"), EXAMPLES)
def test_worked_example_of_one_layer(
    number: int, text: str, action: str, reason: str, standing: str | None, called: list[str], decide: Any
) -> None:
    outcome = decide(written(text), PORT_80)
    assert (outcome.action, outcome.reason, outcome.filter) == (action, reason, standing), number
    assert outcome.callouts == called
    assert outcome.veto is (reason == "veto")


@DECIDERS
def test_example_25_a_hard_permit_of_one_layer_does_not_speak_for_the_next(decide: Any) -> None:
    both = (
        a_filter("hard", Action.PERMIT, at=slot("inbound_ippacket"), flags=FilterFlag.CLEAR_ACTION_RIGHT),
        a_filter("later", Action.BLOCK),
    )
    assert decide(a_policy(both), PORT_80).action == "block"


@DECIDERS
def test_example_26_the_other_port_falls_through_to_the_lighter_filter(decide: Any) -> None:
    assert decide(written("S1[P@, B]"), PORT_81).filter == "B1.1"


@DECIDERS
def test_example_29_an_inspection_callout_whose_condition_does_not_hold_is_not_called(decide: Any) -> None:
    outcome = decide(written("S1[Ib@] > S2[B]"), PORT_81)
    assert (outcome.action, outcome.callouts) == ("block", [])


# Current state by the filter that makes it; what each newer result makes of it.
NEWER = ("P", "P!", "B", "Cp", "Cp!", "Cb", "Cb!", "Cc")
SOFT_PERMIT, HARD_PERMIT = ("permit", True), ("permit", False)
SOFT_BLOCK, HARD_BLOCK = ("block", True), ("block", False)
REPLACED = (SOFT_PERMIT, HARD_PERMIT, HARD_BLOCK, SOFT_PERMIT, HARD_PERMIT, SOFT_BLOCK, HARD_BLOCK)
MERGED = {
    "": (*REPLACED, ("none", True)),
    "P": (*REPLACED, SOFT_PERMIT),
    "P!": (HARD_PERMIT, HARD_PERMIT, HARD_PERMIT, HARD_PERMIT, HARD_PERMIT, HARD_BLOCK, HARD_BLOCK, HARD_PERMIT),
    "Cb": (*REPLACED, SOFT_BLOCK),
    "B": (HARD_BLOCK,) * 8,
}


@DECIDERS
@pytest.mark.parametrize("current", MERGED)
@pytest.mark.parametrize("newer", NEWER)
def test_merge_table(current: str, newer: str, decide: Any) -> None:
    outcome = decide(written(f"S1[{current}] > S2[{newer}]"), PORT_80)
    assert (outcome.action, outcome.right) == MERGED[current][NEWER.index(newer)]
    assert outcome.veto is (current == "P!" and newer in ("Cb", "Cb!"))
    if newer.startswith("C"):
        state = {"": (None, True), "P": SOFT_PERMIT, "P!": HARD_PERMIT, "Cb": SOFT_BLOCK, "B": HARD_BLOCK}[current]
        assert outcome.seen[-1] == state


@DECIDERS
def test_a_callout_below_what_ended_its_sublayer_is_not_called(decide: Any) -> None:
    assert decide(written("S1[Cp, Ib] > S2[P, Ib]"), PORT_80).callouts == ["Cp1.0"]

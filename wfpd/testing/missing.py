"""Why the filter that a case expected did not decide: its conditions one by one, asked of the real tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from wfpd.dataplane import explain_values
from wfpd.explaining import bare_snapshot
from wfpd.model.conditions import Condition
from wfpd.model.fields import FIELDS
from wfpd.model.layers import slot_name
from wfpd.model.policy import Action, Filter, Policy, default_key
from wfpd.observe.wording import say_condition, say_value

MOST_LAYERS = 8
"""Layers of one filter that are told of."""

Values = Mapping[str, Any]


def why_not(
    policy: Policy, name: str, visits: Sequence[Mapping[str, Any]], document: Mapping[str, Any]
) -> Iterator[str]:
    """A line for each layer at which the policy has a filter of the name; `document` explains the same visits."""
    found = [item for item in policy.filters if item.name == name]
    if not found:
        near = get_close_matches(name, {item.name for item in policy.filters}, 1) if len(name) <= 64 else []
        yield f"the policy has no filter {name}" + (f"; did you mean {near[0]}?" if near else "")
        return
    values = {layer["slot"]: layer["values"] for visit in visits for layer in visit["layers"]}
    visited = [item for item in found if item.slot in values]
    for item in visited[:MOST_LAYERS]:
        failing = failing_conditions(policy, item, values[item.slot])
        for condition in failing:
            yield f"{name} at {slot_name(item.slot)}: {_say(condition, item.slot, values[item.slot])}"
        if not failing:
            yield f"{name} at {slot_name(item.slot)}: {_fate(document, slot_name(item.slot), name)}"
    if not visited:
        layers = list(dict.fromkeys(slot_name(item.slot) for item in found))
        yield f"{name} is at {', '.join(layers[:MOST_LAYERS])}, and the packet does not come there"


def failing_conditions(policy: Policy, item: Filter, values: Values) -> list[Condition]:
    """The conditions of the filter that do not hold, each asked as a filter of its own."""
    single = tuple(
        dataclasses.replace(
            item, name=str(place), key=default_key("test", "filter", str(place)), conditions=(condition,),
            action=Action.PERMIT, callout="", order=place,
        )
        for place, condition in enumerate(item.conditions)
    )  # fmt: skip
    snapshot = bare_snapshot(dataclasses.replace(policy, filters=single))
    held = {int(snapshot.filter_name(index)) for index in explain_values(snapshot, item.slot, dict(values), 0)["held"]}
    return [condition for place, condition in enumerate(item.conditions) if place not in held]


def _say(condition: Condition, slot: int, values: Values) -> str:
    family = 6 if slot & 1 else 4
    of = FIELDS[condition.field]
    return f"{of.name} is {say_value(of, family, values.get(of.name))}, wants {say_condition(condition, family)}"


def _fate(document: Mapping[str, Any], layer: str, name: str) -> str:
    """What became of a filter that matched."""
    for row in (row for visit in document["visits"] for row in visit["layers"] if row["layer"] == layer):
        for item in (item for sublayer in row["sublayers"] for item in sublayer["filters"] if item["filter"] == name):
            if item["match"] == "match" and item["said"] == "audit":
                return "matches in audit mode, and takes part in nothing"
            if item["match"] == "match" and item["said"] != "continue":
                return f"matches and says {item['said']}, and {row['filter']} stands in the end"
            if item["match"] == "match":
                return "matches, and its callout continues"
    return "matches, behind the end of its sublayer"

"""Why a packet was decided as it was, as a document: names and words for what the tables told.

docs/explain.md publishes it.  It says nothing that `Replayer.visit` did not: what matched, what
would have, what decided, and how the action and the right moved.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from wfpd.dataplane import PARSE_STATUS_NAMES, Snapshot, filter_conditions, parse_of
from wfpd.model.fields import FIELD, FIELDS
from wfpd.model.layers import slot_name
from wfpd.model.policy import FilterFlag
from wfpd.observe.wording import say_condition, say_value

FORMAT = 1
"""Version of the document; members are only added."""
MOST_BEHIND = 20
"""Filters of a sublayer that match and are not asked: shown up to this many, the rest counted."""
MOST_NEAR = 100
"""Near misses a sublayer that may be asked for."""
_FLAGS = ((FilterFlag.CLEAR_ACTION_RIGHT, "clear_action_right"), (FilterFlag.AUDIT, "audit"),
          (FilterFlag.PERMIT_IF_CALLOUT_UNREGISTERED, "permit_if_callout_unregistered"))  # fmt: skip

MOST_BYTES = 128
"""Of the packet, in the document."""

Document = dict[str, Any]


def explain_visit(snapshot: Snapshot, visit: Mapping[str, Any]) -> list[Document]:
    """The layers of one traced visit, in order."""
    return [
        _Layer(snapshot, row, told).document() for row, told in zip(visit["rows"], visit["layers"], strict=True)
    ]  # fmt: skip


def describe_packet(number: int, data: bytes, length: int) -> Document:
    """The packet as far as it can be read: members that it does not have are left out."""
    view = parse_of(data, max(length, len(data)))
    found: Document = {"number": number, "length": length, "data": data[:MOST_BYTES].hex()}
    if not data or view["family"] not in (4, 6):
        return found
    family = view["family"]
    if view["has_protocol"]:
        found["protocol"] = say_value(FIELD["ip_protocol"], family, view["protocol"])
    if view["has_addresses"]:
        for end in ("source", "destination"):
            address = view[f"{end}_hi"] << 64 | view[f"{end}_lo"]
            found[end] = say_value(FIELD["ip_source_address"], family, address)
            if view["has_ports"]:
                found[f"{end}_port"] = view[f"{end}_port"]
    if view["has_tcp"]:
        found["tcp_flags"] = say_value(FIELD["tcp_flags"], family, view["tcp_flags"])
    if view["has_icmp"]:
        found["icmp_type"] = say_value(FIELD["icmp_type"], family, view["icmp_type"])
        found["icmp_code"] = view["icmp_code"]
    if view["fragment"]:
        found["fragment"] = True
    if view["status"]:
        found["malformed"] = PARSE_STATUS_NAMES[view["status"]]
    return found


class _Layer:
    """One layer's row, and what its tables told."""

    def __init__(self, snapshot: Snapshot, row: tuple[Any, ...], told: Mapping[str, Any]) -> None:
        self._snapshot = snapshot
        self._row = row
        self._told = told
        self._family = 6 if told["slot"] & 1 else 4
        self._infos: dict[int, dict[str, Any]] = {}
        self._steps = {step["filter"]: step for step in told["steps"]}
        self._near = dict(told["near"])
        self._by_sublayer: dict[str, list[int]] = {}
        self._place = {index: place for place, index in enumerate(told["order"])}
        self._ended: dict[str, int] = {}
        """By sublayer: the place of the filter that ended it."""

    def document(self) -> Document:
        """The layer; sublayers in order, in each the filters in the order in which they are asked."""
        for index in self._told["order"]:
            self._by_sublayer.setdefault(self._info(index)["sublayer"], []).append(index)
        for index, step in self._steps.items():
            if step["said"] in ("permit", "block"):
                self._ended[self._info(index)["sublayer"]] = self._place[index]
        slot, action, right, standing, _, discard = self._row
        return {
            "layer": slot_name(slot),
            "discard": discard,
            "action": action,
            "right": right,
            "sublayer": None if standing is None else self._info(standing)["sublayer"],
            "filter": None if standing is None else self._info(standing)["name"],
            "fields": {name: say_value(FIELD[name], self._family, value)
                       for name, value in sorted(self._told["values"].items())},
            "sublayers": [self._sublayer(*each) for each in self._told["sublayers"]],
        }  # fmt: skip

    def _info(self, index: int) -> dict[str, Any]:
        found = self._infos.get(index)
        if found is None:
            found = self._infos[index] = self._snapshot.filter_info(index)
        return found

    def _sublayer(self, number: int, weight: int, n_filters: int) -> Document:
        name = self._snapshot.sublayer_name(number)
        indexes = self._by_sublayer.get(name, [])
        behind = [i for i in indexes if i not in self._steps and i not in self._near]
        hidden = set(behind[MOST_BEHIND:])
        return {
            "sublayer": name,
            "weight": weight,
            "n_filters": n_filters,
            "filters": [self._filter(index) for index in indexes if index not in hidden],
            "n_more": len(hidden),
        }

    def _filter(self, index: int) -> Document:
        info = self._info(index)
        ended = self._ended.get(info["sublayer"])
        found: Document = {
            "filter": info["name"],
            "action": info["action"],
            "callout": info["callout"],
            "weight": info["weight"],
            "flags": [name for flag, name in _FLAGS if flag in info["flags"]],
            "asked": ended is None or self._place[index] <= ended,
        }
        if index in self._near:
            return {**found, "match": "near", "failed": self._failed(index)}
        step = self._steps.get(index)
        if step is None or step["said"] == "not_reached":
            return {**found, "match": "behind", "asked": False}
        answer = step["answer"]
        return {
            **found, "match": "match", "said": step["said"],
            "answer": None if answer is None else {"kind": answer[0], "clear_right": answer[1]},
            "stands": step["stands"], "veto": step["veto"], "after": {
                "action": step["action"], "right": "set" if step["right"] else "clear"},
        }  # fmt: skip

    def _failed(self, index: int) -> Document:
        """The condition that failed, and what the packet has instead."""
        condition = filter_conditions(self._snapshot, index)[self._near[index]]
        field = FIELDS[condition.field]
        value = self._told["values"][field.name]
        return {"field": field.name, "wants": say_condition(condition, self._family),
                "has": say_value(field, self._family, value)}  # fmt: skip


def callouts_asked(document: Mapping[str, Any]) -> Iterator[str]:
    """Names of the callouts whose answer was taken for granted, each once."""
    seen = set()
    for layer in (layer for visit in document["visits"] for layer in visit["layers"]):
        for item in (item for sublayer in layer["sublayers"] for item in sublayer["filters"]):
            if item.get("answer") and item["callout"] not in seen:
                seen.add(item["callout"])
                yield item["callout"]

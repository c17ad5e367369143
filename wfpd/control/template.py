"""Which filters are asked for: an enumeration template (FWPM_FILTER_ENUM_TEMPLATE0) in the words of a policy file."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from wfpd.bfe import containment
from wfpd.bfe.objects import Kind
from wfpd.bfe.working import Store, Working, known
from wfpd.compiler.pack import pack
from wfpd.config import load_change
from wfpd.config.layer_names import LAYER_NAMES
from wfpd.dataplane import Snapshot, filter_conditions, filter_set, live_ids, meeting, set_members
from wfpd.errors import FwpError, PolicyError

KEYS = ("provider", "name", "layer", "sublayer", "callout", "provider_context", "action", "type", "flags", "when")
CONTAINED, OVERLAPPING = "fully_contained", "overlapping"
SORTED, BEST, BOOTTIME_ONLY = "sorted", "best_terminating_match", "boottime_only"
FLAGS = (SORTED, BEST, BOOTTIME_ONLY, "include_boottime", "include_disabled")
"""FWP_FILTER_ENUM_FLAG_*.  There are no boot-time filters yet, and disabled ones are in no table."""
CALLOUTS = ("callout_terminating", "callout_inspection", "callout_unknown")
ACTIONS = {"permit": ("permit",), "block": ("block",), "callout": CALLOUTS} | {name: (name,) for name in CALLOUTS}
TERMINATING = frozenset({"permit", "block", "callout_terminating"})
"""Actions that decide for certain."""
KEPT_SETS = 64
"""Sets of filters whose values are kept while one template is looked at."""


class Template:
    """One template, checked.  FwpError or PolicyError where it asks for what cannot be."""

    def __init__(self, given: Mapping[str, Any], objects: Store | Working) -> None:
        if unknown := [name for name in given if name not in KEYS]:
            raise FwpError("FWP_E_INVALID_PARAMETER", f"a template of filters has no {unknown[0][:64]!r}",
                           hint=f"it has {', '.join(KEYS)}")  # fmt: skip
        self._given = given
        self._objects = objects
        flags = _words(given, "flags", FLAGS, "FWP_E_INVALID_FLAGS")
        self._best, self._boottime_only = BEST in flags, BOOTTIME_ONLY in flags
        self._overlapping = OVERLAPPING in _words(given, "type", (CONTAINED, OVERLAPPING), "FWP_E_INVALID_ENUMERATOR")
        self._slots = self._asked_slots()
        self._wanted = self._asked_members()
        self._packed = b""
        self._conditions = self._asked_conditions()
        self._sets: dict[tuple[int, int], Any] = {}

    def _asked_slots(self) -> frozenset[int] | None:
        """Of the layer that is asked for; None: of any."""
        name = self._given.get("layer")
        if name is None:
            return None
        found = LAYER_NAMES.get(name) if isinstance(name, str) else None
        if found is None:
            raise FwpError("FWP_E_LAYER_NOT_FOUND", f"there is no layer {str(name)[:64]!r}")
        layer, families = found
        return frozenset(layer.slot(family) for family in families)

    def _asked_members(self) -> dict[str, Collection[Any]]:
        """What is asked of members of Snapshot.filter_info()."""
        wanted: dict[str, Collection[Any]] = {}
        for kind in (Kind.PROVIDER, Kind.SUBLAYER, Kind.CALLOUT, Kind.PROVIDER_CONTEXT):
            if kind.value in self._given:
                wanted[kind.value] = (self._name_of(kind, self._given[kind.value]),)
        if (name := self._given.get("name")) is not None:
            wanted["name"] = (name,)
        words = _words(self._given, "action", ACTIONS, "FWP_E_INVALID_ACTION_TYPE")
        actions = {action for word in words for action in ACTIONS[word]}
        if self._best:
            actions = actions & TERMINATING if actions else set(TERMINATING)
        if actions or self._best:
            wanted["action"] = actions
        return wanted

    def _name_of(self, kind: Kind, given: object) -> str:
        """The name of an object that is asked for by name or key; null is "no provider"."""
        if given is None and kind is Kind.PROVIDER:
            return ""
        found = self._objects.named(kind).get(given) if isinstance(given, str) else None
        if found is None:
            raise FwpError(kind.not_found, f"there is no {kind.words} {str(given)[:64]!r}")
        return found.item.name

    def _asked_conditions(self) -> dict[int, containment.Template]:
        """By slot."""
        when = self._given.get("when")
        if not when:
            return {}
        if self._slots is None:
            raise FwpError("FWP_E_CONDITION_NOT_FOUND", "the conditions of a template are those of a layer: name it")
        entry = {"name": "template", "layer": self._given["layer"], "action": "permit", "when": when}
        try:
            policy = load_change(json.dumps({"version": 1, "filters": [entry]}), known(self._objects))
        except PolicyError as error:
            raise error.without_places(subject="template") from None
        self._packed = pack(policy)
        found = {item.slot: containment.Template(item.conditions, _family(item.slot)) for item in policy.filters}
        if all(template.is_never for template in found.values()):
            raise FwpError("FWP_E_NEVER_MATCH", "no packet can match the conditions of the template")
        return found

    # ------------------------------------------------------------------------------ answering

    def admitted(self, snapshot: Snapshot) -> Sequence[int]:
        """The numbers of a snapshot's filters, in the order of arbitration."""
        if self._boottime_only:
            return []
        places = live_ids(snapshot, self._slots)
        if not self._wanted and not self._conditions:
            return places
        found = []
        ended: set[int] = set()
        met = {slot: meeting(snapshot, self._packed, slot) for slot in self._conditions if snapshot.layer_count(slot)}
        for place in places:
            # What a template contains it meets; what can match nothing is not told of.
            if met and not any(marks[place] for marks in met.values()):
                continue
            info = snapshot.filter_info(place)
            if info["slot"] in ended or any(info[name] not in values for name, values in self._wanted.items()):
                continue
            if self._conditions and not self._compared(snapshot, place, info["slot"]):
                continue
            found.append(place)
            if self._best:
                ended.add(info["slot"])
        return found

    def _compared(self, snapshot: Snapshot, place: int, slot: int) -> bool:
        """Whether the conditions of a filter and of the template lie to each other as was asked."""
        template, conditions = self._conditions[slot], filter_conditions(snapshot, place)

        def members(name: str, bits: int) -> Any:
            return self._members(snapshot, place, name, bits)

        return template.meets(conditions, members) if self._overlapping else template.contains(conditions, members)

    def _members(self, snapshot: Snapshot, place: int, name: str, bits: int) -> Any:
        key = (snapshot.part_of(place), filter_set(snapshot, place, name, bits))
        if key not in self._sets:
            if len(self._sets) >= KEPT_SETS:
                self._sets.clear()
            self._sets[key] = set_members(snapshot, place, key[1])
        return self._sets[key]


def _family(slot: int) -> int:
    return 6 if slot & 1 else 4


def _words(given: Mapping[str, Any], name: str, known_words: Iterable[str], code: str) -> list[str]:
    """One word or a list of them."""
    value = given.get(name, [])
    words, known_words = [value] if isinstance(value, str) else value, list(known_words)
    if not isinstance(words, list) or any(not isinstance(word, str) or word not in known_words for word in words):
        raise FwpError(code, f"{name} of a template is of {', '.join(known_words)}")
    return words

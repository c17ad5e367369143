"""Providers, sublayers, provider contexts and callouts: the objects that filters refer to."""

from __future__ import annotations

import keyword
import re
import uuid
from collections.abc import Mapping as MappingOf
from dataclasses import dataclass, field
from typing import TypeVar

from wfpd.config import reader
from wfpd.config.limits import Limits
from wfpd.config.nodes import Broken, Mapping, Node
from wfpd.config.report import Speaker, shown
from wfpd.config.scalars import BadValue, duration, integer
from wfpd.config.weights import SublayerWeights
from wfpd.model.policy import FILE_PROVIDER, Budget, Callout, Provider, ProviderContext, Sublayer, default_key

UNIVERSAL = Sublayer(
    "universal", uuid.UUID("eebecc03-ced4-4380-819a-2734397b2b74"), 0x8000, "Everything not assigned elsewhere"
)
INSPECTION = Sublayer("inspection", uuid.UUID("877519e1-e6a9-41a5-81b4-8c4f118e4a60"), 0, "Inspection callouts only")
BUILT_IN = {UNIVERSAL.name: UNIVERSAL, INSPECTION.name: INSPECTION}
_COMMON = ("name", "key", "description", "provider")
_USE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*", re.ASCII)


_NANOSECONDS = 1_000_000_000


def _nanoseconds(text: str) -> int:
    seconds = duration(text)
    if not 0.000001 <= seconds <= 3600:
        raise BadValue(f"{shown(text)} is outside 1us-1h", "", "FWP_E_OUT_OF_BOUNDS")
    return round(seconds * _NANOSECONDS)


def _times(text: str) -> int:
    return integer(text, 1_000_000, 1)


def read_budget(speaker: Speaker, node: Node) -> Budget | None:
    """`budget` of a callout; None after an error."""
    found = reader.mapping(speaker, node, "budget")
    if found is None:
        return None
    reader.known_keys(speaker, found, ("time", "times", "within", "suspend"), "budget")
    if "time" not in found.entries:
        speaker.error(found, "budget: time is missing", "budget: {time: 200us}")
        return None
    members = {"time_ns": ("time", _nanoseconds), "within_ns": ("within", _nanoseconds),
               "suspend_ns": ("suspend", _nanoseconds), "times": ("times", _times)}  # fmt: skip
    said = {member: reader.value(speaker, found.entries[key], f"budget: {key}", read)
            for member, (key, read) in members.items() if key in found.entries}  # fmt: skip
    return None if None in said.values() else Budget(**{name: int(value or 0) for name, value in said.items()})


@dataclass(slots=True)
class Common:
    """What every object has."""

    name: str
    key: uuid.UUID
    description: str
    provider: str


_IMPLICIT = Provider(FILE_PROVIDER, default_key(FILE_PROVIDER, "provider", FILE_PROVIDER))
Named = TypeVar("Named", Provider, Sublayer, ProviderContext, Callout)


@dataclass(frozen=True, slots=True)
class Known:
    """What stands beside the text that is read and may be named in it, by name or by the key as text."""

    providers: MappingOf[str, Provider] = field(default_factory=lambda: {FILE_PROVIDER: _IMPLICIT})
    sublayers: MappingOf[str, Sublayer] = field(default_factory=lambda: BUILT_IN)
    contexts: MappingOf[str, ProviderContext] = field(default_factory=dict)
    callouts: MappingOf[str, Callout] = field(default_factory=dict)
    provider: str = FILE_PROVIDER
    """Of what names none."""


NOTHING = Known()
"""A policy file has the built-in objects beside it and no others."""


class ObjectReader:
    """Reads the objects of one policy, in reading order."""

    def __init__(self, limits: Limits, known: Known = NOTHING) -> None:
        self.limits = limits
        self.default_provider = known.provider
        self.providers: dict[str, Provider] = dict(known.providers)
        self.sublayers: dict[str, Sublayer] = dict(known.sublayers)
        self.contexts: dict[str, ProviderContext] = dict(known.contexts)
        self.callouts: dict[str, Callout] = dict(known.callouts)
        self.sets: dict[str, uuid.UUID] = {}
        self.broken: dict[str, set[str]] = {}
        """By kind: names whose object is wrong, so that references to it are not reported again."""
        self._weights = SublayerWeights(item.weight for item in self.sublayers.values())
        self._keys: dict[str, dict[uuid.UUID, str]] = {
            "provider": {item.key: item.name for item in self.providers.values()},
            "sublayer": {item.key: item.name for item in self.sublayers.values()},
            "provider_context": {item.key: item.name for item in self.contexts.values()},
            "callout": {item.key: item.name for item in self.callouts.values()},
        }
        self._counts: dict[str, int] = {}

    def read_provider(self, speaker: Speaker, node: Node) -> None:
        """One entry of `providers:`."""
        common, _, _ = self.common(speaker, node, "provider", self.providers, ())
        if common:
            self.providers[common.name] = Provider(common.name, common.key, common.description)

    def read_sublayer(self, speaker: Speaker, node: Node) -> None:
        """One entry of `sublayers:`; its weight is settled here, in file order."""
        common, found, about = self.common(speaker, node, "sublayer", self.sublayers, ("weight", "operate"))
        if found is None:
            return
        requested: int | None = None
        if "weight" in found.entries:
            weight_node = found.entries["weight"]
            requested = reader.number(about, weight_node, "weight", 0, 0xFFFF, "FWP_E_INVALID_WEIGHT")
        operate = reader.flag(about, found.entries.get("operate"), "operate", False)
        if common is None:
            return
        weight = self._weights.take(requested or 0)
        self.sublayers[common.name] = Sublayer(
            common.name, common.key, weight, common.description, common.provider, requested, operate
        )

    def read_context(self, speaker: Speaker, node: Node) -> None:
        """One entry of `provider_contexts:`."""
        common, found, _ = self.common(speaker, node, "provider_context", self.contexts, ("data",))
        if common and found:
            data = reader.natural(found.entries["data"]) if "data" in found.entries else None
            self.contexts[common.name] = ProviderContext(
                common.name, common.key, data, common.description, common.provider
            )

    def read_callout(self, speaker: Speaker, node: Node) -> None:
        """One entry of `callouts:`; `use` is read, never imported here."""
        common, found, about = self.common(speaker, node, "callout", self.callouts, ("use", "options", "budget"))
        if found is None:
            return
        use = ""
        if "use" in found.entries:
            use = reader.text(about, found.entries["use"], "use", self.limits) or ""
            if use and not _USE.fullmatch(use):
                about.error(found.entries["use"], f"use: {shown(use)} is no class", 'use is written "module:Class"')
        elif "options" in found.entries:
            about.error(found.entries["options"], "options: there is no use that they are for", 'use: "module:Class"')
        options = self._options(about, found.entries["options"]) if "options" in found.entries else {}
        budget = read_budget(about, found.entries["budget"]) if "budget" in found.entries else None
        if common is None:
            return
        self.callouts[common.name] = Callout(
            common.name, common.key, use, options, common.description, common.provider, about.at(found), budget
        )

    def _options(self, speaker: Speaker, node: Node) -> dict[str, object]:
        found = reader.mapping(speaker, node, "options")
        if found is None:
            return {}
        for key_node, _ in found.items():
            if not key_node.text.isidentifier() or keyword.iskeyword(key_node.text):
                speaker.error(key_node, f"options: {shown(key_node.text)} is no name of an argument")
        return {name: reader.natural(value) for name, value in found.entries.items()}

    def common(
        self, speaker: Speaker, node: Node, kind: str, taken: object, known: tuple[str, ...]
    ) -> tuple[Common | None, Mapping | None, Speaker]:
        """Name, key, description and provider of one object; unknown keys are reported.

        Without a usable name there is no Common, and the caller goes on reading for the errors in the rest.
        """
        what = kind.replace("_", " ")
        found = reader.mapping(speaker, node, what)
        if found is None:
            return None, None, speaker
        name_node = found.entries.get("name")
        if name_node is None:
            speaker.error(found, f"{what}: name is missing", code="FWP_E_NULL_DISPLAY_NAME")
        name = reader.name(speaker, name_node, self.limits) if name_node else None
        about = speaker.about(f"{what} {shown(name, 128)}" if name else what)
        reader.known_keys(about, found, (*_COMMON, *known), what)
        provider = self.provider(about, found)
        key = self.take_key(about, found, kind, provider, name or "")
        text = reader.description(about, found.entries.get("description"), self.limits)
        if name is None or name_node is None or not self._may_add(about, name_node, kind, name, taken):
            return None, found, about
        return Common(name, key, text, provider), found, about

    def _may_add(self, speaker: Speaker, node: Node, kind: str, name: str, taken: object) -> bool:
        if name in taken:  # type: ignore[operator]
            message = f"the name {shown(name, 128)} is taken"
            hint = "it is built in" if (kind == "sublayer" and name in BUILT_IN) or name == FILE_PROVIDER else ""
            speaker.error(node, message, hint, "FWP_E_ALREADY_EXISTS")
            return False
        self._counts[kind] = self._counts.get(kind, 0) + 1
        if self._counts[kind] > self.limits.objects:
            if self._counts[kind] == self.limits.objects + 1:
                code = "FWP_E_TOO_MANY_SUBLAYERS" if kind == "sublayer" else "FWP_E_OUT_OF_BOUNDS"
                speaker.error(node, f"more than {self.limits.objects} objects of this kind", code=code)
            return False
        return True

    def provider(self, speaker: Speaker, found: Mapping) -> str:
        """The provider an object names, else the default one."""
        node = found.entries.get("provider")
        if node is None or isinstance(node, Broken):
            return self.default_provider
        text = reader.scalar(speaker, node, "provider")
        if text is None:
            return self.default_provider
        if text.text not in self.providers:
            self.unknown(speaker, node, "provider", text.text, self.providers, "FWP_E_PROVIDER_NOT_FOUND")
            return self.default_provider
        return named(self.providers, text.text)

    def unknown(
        self, speaker: Speaker, node: Node, kind: str, name: str, known: dict[str, object] | object, code: str
    ) -> None:
        """Report a reference to nothing, with the nearest name."""
        if name in self.broken.get(kind, ()):
            return
        hint = speaker.report.nearest(name, known)  # type: ignore[arg-type]
        speaker.error(node, f"there is no {kind.replace('_', ' ')} {shown(name)}", hint, code)

    def take_key(self, speaker: Speaker, found: Mapping, kind: str, provider: str, name: str) -> uuid.UUID:
        """The object's key: its own, or the default; unique in its kind."""
        node = found.entries.get("key")
        key = reader.key(speaker, node) or default_key(provider, kind, name)
        taken = self._keys.setdefault(kind, {})
        if node is not None and key in taken:
            message = f"key: {key} is the key of {shown(taken[key], 128)}"
            speaker.error(node, message, code="FWP_E_ALREADY_EXISTS")
        taken.setdefault(key, name)
        return key

    def remember_broken(self, kind: str, node: Node) -> None:
        """Note the name of an object that did not load."""
        entry = node.entries.get("name") if isinstance(node, Mapping) else None
        if entry is not None and hasattr(entry, "text"):
            self.broken.setdefault(kind, set()).add(entry.text)


def named(objects: MappingOf[str, Named], text: str) -> str:
    """The name of the object that `text` names, or the text where that is a key and another object has the name."""
    found = objects[text]
    return found.name if objects.get(found.name) is found else text

"""Reads `filters:`: each becomes one engine filter for every layer and family it speaks of."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

from wfpd.config import reader
from wfpd.config.conditions import ConditionReader
from wfpd.config.layer_names import (
    ALL_FIELD_NAMES,
    FIELD_NAMES,
    FIELDS_ANYWHERE,
    LAYER_NAMES,
    layers_with,
    why_unserved,
)
from wfpd.config.limits import Limits
from wfpd.config.nodes import Broken, Mapping, Node, Scalar
from wfpd.config.objects import INSPECTION, UNIVERSAL, ObjectReader, named
from wfpd.config.report import Speaker, shown
from wfpd.config.scalars import MAX_U64
from wfpd.config.weights import WEIGHT_RANGE_MAX, WEIGHT_RANGE_SHIFT, auto_weight
from wfpd.model.conditions import Condition
from wfpd.model.fields import FIELDS
from wfpd.model.layers import EMPTY_FIELDS, Layer
from wfpd.model.policy import NAMESPACE, NO_FLAGS, Action, Filter, FilterFlag, Reply, Word, default_key
from wfpd.model.rows import FilterRows

FILTER_KEYS = frozenset(
    "name key description enabled provider layer sublayer weight action absorb reply flags provider_context "
    "on_error mode log metrics when".split()
)
_KINDS = {
    "terminating": Action.CALLOUT_TERMINATING,
    "inspection": Action.CALLOUT_INSPECTION,
    "unknown": Action.CALLOUT_UNKNOWN,
}
_REPLIES = {"none": Reply.NONE, "tcp_reset": Reply.TCP_RESET, "icmp_unreachable": Reply.ICMP_UNREACHABLE}
_FLAGS = {
    "clear_action_right": FilterFlag.CLEAR_ACTION_RIGHT,
    "permit_if_callout_unregistered": FilterFlag.PERMIT_IF_CALLOUT_UNREGISTERED,
    "indexed": FilterFlag.INDEXED,
}
_FLAG_HINTS = {
    "persistent": "a file's filters live as long as the file, those of a session at most as long as the daemon",
    "boottime": "there are no boot-time filters yet",
    "disabled": "write enabled: false",
}
_TRUE, _FALSE = "true", "false"


@dataclass(slots=True)
class _Weight:
    """A weight as written: exact, or auto within a range."""

    exact: int | None = None
    range: int = 0
    auto: bool = True


@dataclass(slots=True)
class _Place:
    """One layer of a filter with its families."""

    layer: Layer
    families: tuple[int, ...]
    node: Node


@dataclass(slots=True)
class Shape:
    """What many filters of a policy have in common."""

    provider: str
    places: list[_Place] = field(default_factory=list)
    sublayer: str = UNIVERSAL.name
    action: Action | None = None
    callout: str = ""
    flags: FilterFlag = NO_FLAGS
    reply: Reply = Reply.NONE
    on_error: Word = Word.DEFAULT
    context: str = ""
    enabled: bool = True

    def suffix(self, place: _Place, family: int) -> str:
        """What the key's hash adds for a filter that becomes several: the layer."""
        alone = len(self.places) == 1 and len(place.families) == 1
        return "" if alone else place.layer.full_name(family)


class FilterReader:
    """Reads the filters of one policy, in reading order."""

    def __init__(self, objects: ObjectReader, conditions: ConditionReader, limits: Limits) -> None:
        self.objects = objects
        self.conditions = conditions
        self.limits = limits
        self.filters = FilterRows()
        self.order = 0
        self.weight_kinds: dict[str, dict[bool, tuple[Speaker, Node]]] = {}
        """By sublayer: the first filter with an exact weight below 2^60 (True) and with an auto one (False)."""
        self.names: dict[str, set[str]] = {}
        """By provider."""
        self.n_engine_filters = 0
        self._keys: dict[bytes, tuple[int, str]] | None = None
        """Order and name of the filter that has the key; made when a file first writes a key.  Default keys
        are hashes of names, and names are unique."""
        self._disabled: list[tuple[bytes, int, str]] = []
        """Filters that are no rows and have a default key."""

    def read(self, speaker: Speaker, node: Node) -> None:
        """One entry of `filters:`."""
        found = reader.mapping(speaker, node, "filter")
        if found is None:
            return
        order = self.order
        self.order += 1
        n_errors = len(speaker.report.errors)
        entries = found.entries
        name = self._name(speaker, found)
        about = Speaker(speaker.report, speaker.file, f'filter "{name}"' if name else "filter")
        shape = self.shape(about, found)
        if name is not None and not self.take_name(shape.provider, name):
            about.error(entries["name"], f'the name "{name}" is taken', "", "FWP_E_ALREADY_EXISTS")
        weight = self.weight(about, entries.get("weight"))
        text = reader.description(about, entries["description"], self.limits) if "description" in entries else ""
        own_key = reader.key(about, entries.get("key"))
        conditions = self._conditions(about, entries.get("when"), shape.places)
        if len(speaker.report.errors) != n_errors or name is None or shape.action is None:
            return
        if shape.enabled:
            self._note_weight(shape.sublayer, weight, about, found)
        if own_key is not None:
            self._remember_keys()
        for place, pair in zip(shape.places, conditions, strict=True):
            for family in place.families:
                key = self._key(shape.provider, name, own_key, shape.suffix(place, family))
                self._take_key(about, entries.get("key") or found, key, order, name)
                own = pair[family == 6]
                filter_ = Filter(
                    name, key, place.layer.slot(family), shape.sublayer, shape.action, order, _effective(weight, own),
                    own, shape.flags, shape.callout, shape.reply, shape.on_error, shape.provider, shape.context, text,
                    about.at(found),
                )  # fmt: skip
                self._add(about, found, filter_, shape.enabled)

    def shape(self, speaker: Speaker, found: Mapping) -> Shape:
        """What a filter says besides its name, key, description, weight and conditions."""
        entries = found.entries
        if not entries.keys() <= FILTER_KEYS:
            reader.known_keys(speaker, found, FILTER_KEYS, "filter")
        shape = Shape(self.objects.default_provider)
        if "provider" in entries:
            shape.provider = self.objects.provider(speaker, found)
        shape.places = self._layers(speaker, found)
        shape.sublayer = self._sublayer(speaker, entries.get("sublayer"))
        shape.action, shape.callout = self._action(speaker, found)
        shape.flags = self._flags(speaker, found, shape.action)
        shape.reply = self._answer(speaker, found, shape.action, shape.places)
        self._check_sublayer(speaker, found, shape.sublayer, shape.action)
        shape.enabled = self._flag(speaker, entries.get("enabled"), "enabled", True)
        if "on_error" in entries:
            shape.on_error = reader.word(speaker, entries["on_error"], "on_error", Word.DEFAULT)
        if "provider_context" in entries:
            shape.context = self._context(speaker, entries["provider_context"])
        return shape

    def take_name(self, provider: str, name: str) -> bool:
        """Whether the name was free; it is taken now."""
        taken = self.names.setdefault(provider, set())
        if name in taken:
            return False
        taken.add(name)
        return True

    def _add(self, speaker: Speaker, node: Node, filter_: Filter, enabled: bool) -> None:
        self.n_engine_filters += 1
        if self.n_engine_filters > self.limits.filters:
            if self.n_engine_filters == self.limits.filters + 1:
                speaker.error(node, f"more than {self.limits.filters} engine filters", code="FWP_E_OUT_OF_BOUNDS")
        elif enabled:
            self.filters.append(filter_)
        elif self._keys is None:
            self._disabled.append((filter_.key.bytes, filter_.order, filter_.name))

    def _name(self, speaker: Speaker, found: Mapping) -> str | None:
        node = found.entries.get("name")
        if node is None:
            speaker.error(found, "filter: name is missing", code="FWP_E_NULL_DISPLAY_NAME")
            return None
        return reader.name(speaker, node, self.limits, "filter name")

    def _flag(self, speaker: Speaker, node: Node | None, what: str, default: bool) -> bool:
        if node is None:
            return default
        if type(node) is Scalar and node.text in (_TRUE, _FALSE):
            return node.text == _TRUE
        return reader.flag(speaker, node, what, default)

    # Keys.

    @staticmethod
    def _key(provider: str, name: str, own: uuid.UUID | None, layer: str) -> uuid.UUID:
        if own is None:
            return default_key(provider, "filter", name, layer)
        return uuid.uuid5(NAMESPACE, f"{own}\0{layer}") if layer else own

    @property
    def has_own_keys(self) -> bool:
        """Whether a file writes keys, so that they have to be compared."""
        return self._keys is not None

    def _remember_keys(self) -> None:
        """From now on keys are compared: with those of the filters so far, and with each other."""
        if self._keys is None:
            found = sorted([*self.filters.keys(), *self._disabled], key=lambda item: item[1])
            self._keys = {key: (order, name) for key, order, name in found}

    def _take_key(self, speaker: Speaker, node: Node, key: uuid.UUID, order: int, name: str) -> None:
        if self._keys is None:
            return
        taken = self._keys.setdefault(key.bytes, (order, name))
        if taken[0] != order:
            speaker.error(node, f'key: {key} is the key of filter "{taken[1]}"', "", "FWP_E_ALREADY_EXISTS")

    # Layers.

    def _layers(self, speaker: Speaker, found: Mapping) -> list[_Place]:
        node = found.entries.get("layer")
        if node is None:
            speaker.error(found, "layer is missing", code="FWP_E_LAYER_NOT_FOUND")
            return []
        listed = reader.items(node)
        if not listed:
            speaker.error(node, "layer: an empty list", code="FWP_E_ZERO_LENGTH_ARRAY")
        if len(listed) > self.limits.layers:
            speaker.error(node, f"layer: more than {self.limits.layers} layers", code="FWP_E_OUT_OF_BOUNDS")
            return []
        places: list[_Place] = []
        seen: set[int] = set()
        for item in listed:
            place = self._layer(speaker, item)
            if place is None:
                continue
            slots = {place.layer.slot(family) for family in place.families}
            if slots & seen:
                speaker.error(item, "layer: is given twice", code="FWP_E_ALREADY_EXISTS")
                continue
            seen |= slots
            places.append(place)
        return places

    def _layer(self, speaker: Speaker, node: Node) -> _Place | None:
        found = reader.scalar(speaker, node, "layer")
        if found is None:
            return None
        known = LAYER_NAMES.get(found.text)
        if known is None:
            why = why_unserved(found.text)
            if why:
                speaker.error(node, f"layer {found.text} cannot be served here: {why}", "", "FWP_E_INCOMPATIBLE_LAYER")
            else:
                hint = speaker.report.nearest(found.text, LAYER_NAMES)
                speaker.error(node, f"there is no layer {shown(found.text)}", hint, "FWP_E_LAYER_NOT_FOUND")
            return None
        layer, families = known
        if not layer.served:
            message = f"layer {found.text} cannot be served here: {layer.why_not}"
            speaker.error(node, message, "", "FWP_E_INCOMPATIBLE_LAYER")
            return None
        return _Place(layer, families, node)

    # Sublayer, action, flags.

    def _sublayer(self, speaker: Speaker, node: Node | None) -> str:
        if node is None or isinstance(node, Broken):
            return UNIVERSAL.name
        found = reader.scalar(speaker, node, "sublayer")
        if found is None:
            return UNIVERSAL.name
        if found.text not in self.objects.sublayers:
            self.objects.unknown(
                speaker, node, "sublayer", found.text, self.objects.sublayers, "FWP_E_SUBLAYER_NOT_FOUND"
            )
            return UNIVERSAL.name
        return named(self.objects.sublayers, found.text)

    def _check_sublayer(self, speaker: Speaker, found: Mapping, sublayer: str, action: Action | None) -> None:
        if sublayer == INSPECTION.name and action not in (Action.CALLOUT_INSPECTION, None):
            message = "sublayer inspection takes inspection callouts only"
            code = "FWP_E_ACTION_INCOMPATIBLE_WITH_SUBLAYER"
            speaker.error(found.entries["sublayer"], message, "action: {callout: NAME, kind: inspection}", code)

    def _context(self, speaker: Speaker, node: Node) -> str:
        found = reader.scalar(speaker, node, "provider_context")
        if found is None:
            return ""
        if found.text not in self.objects.contexts:
            self.objects.unknown(
                speaker, node, "provider_context", found.text, self.objects.contexts, "FWP_E_PROVIDER_CONTEXT_NOT_FOUND"
            )
            return ""
        return named(self.objects.contexts, found.text)

    def _action(self, speaker: Speaker, found: Mapping) -> tuple[Action | None, str]:
        node = found.entries.get("action")
        if type(node) is Scalar:
            if node.text == "permit":
                return Action.PERMIT, ""
            if node.text == "block":
                return Action.BLOCK, ""
        if isinstance(node, Mapping):
            return self._callout_action(speaker, node)
        hint = "permit, block, or {callout: NAME, kind: terminating|inspection|unknown}"
        if node is None:
            speaker.error(found, "action is missing", hint, "FWP_E_INVALID_ACTION_TYPE")
        elif not isinstance(node, Broken):
            message = f"action: {reader.kind_of(node)} is no action of a filter"
            speaker.error(node, message, hint, "FWP_E_INVALID_ACTION_TYPE")
        return None, ""

    def _callout_action(self, speaker: Speaker, node: Mapping) -> tuple[Action | None, str]:
        reader.known_keys(speaker, node, ("callout", "kind"), "action")
        if "callout" not in node.entries:
            speaker.error(node, "action: callout is missing", "", "FWP_E_INVALID_ACTION_TYPE")
            return None, ""
        callout_node = node.entries["callout"]
        callout = reader.scalar(speaker, callout_node, "callout")
        if callout is not None and callout.text not in self.objects.callouts:
            self.objects.unknown(
                speaker, callout_node, "callout", callout.text, self.objects.callouts, "FWP_E_CALLOUT_NOT_FOUND"
            )
            callout = None
        kind: str | None = "unknown"
        if "kind" in node.entries:
            kind = reader.choice(speaker, node.entries["kind"], "kind", _KINDS, "FWP_E_INVALID_ACTION_TYPE")
        return _KINDS[kind or "unknown"], named(self.objects.callouts, callout.text) if callout else ""

    def _flags(self, speaker: Speaker, found: Mapping, action: Action | None) -> FilterFlag:
        entries, flags = found.entries, FilterFlag(0)
        if "flags" in entries:
            flags = self._named_flags(speaker, entries["flags"], action)
        if "absorb" in entries and self._flag(speaker, entries["absorb"], "absorb", False):
            flags |= FilterFlag.ABSORB
        if "log" in entries and self._flag(speaker, entries["log"], "log", False):
            flags |= FilterFlag.LOG
        if "metrics" in entries and self._flag(speaker, entries["metrics"], "metrics", False):
            flags |= FilterFlag.METRICS
        if "mode" in entries and reader.choice(speaker, entries["mode"], "mode", ("enforce", "audit")) == "audit":
            flags |= FilterFlag.AUDIT
        return flags

    def _named_flags(self, speaker: Speaker, node: Node, action: Action | None) -> FilterFlag:
        flags = FilterFlag(0)
        for item in reader.items(node):
            found = reader.scalar(speaker, item, "flags")
            if found is None:
                continue
            flag = _FLAGS.get(found.text)
            if flag is None:
                hint = _FLAG_HINTS.get(found.text) or speaker.report.nearest(found.text, _FLAGS)
                message = f"flags: {shown(found.text)} is no flag of a filter in a file"
                speaker.error(item, message, hint, "FWP_E_INVALID_FLAGS")
                continue
            wants_callout = flag is FilterFlag.PERMIT_IF_CALLOUT_UNREGISTERED
            if wants_callout and action not in (Action.CALLOUT_TERMINATING, Action.CALLOUT_UNKNOWN, None):
                message = f"flags: {found.text} goes with a terminating or unknown callout only"
                speaker.error(item, message, "", "FWP_E_INVALID_FLAGS")
            flags |= flag
        return flags

    def _answer(self, speaker: Speaker, found: Mapping, action: Action | None, places: list[_Place]) -> Reply:
        """`reply` and `absorb`, which go with a block only; absorb only where WFP allows it (FWPS_CLASSIFY_OUT0)."""
        absorb_node, reply_node = found.entries.get("absorb"), found.entries.get("reply")
        reply, absorb = Reply.NONE, False
        if reply_node is not None:
            chosen = reader.choice(speaker, reply_node, "reply", _REPLIES)
            reply = _REPLIES[chosen or "none"]
            if reply is not Reply.NONE and action not in (Action.BLOCK, None):
                speaker.error(reply_node, "reply goes with a block only", "", "FWP_E_INVALID_PARAMETER")
        if absorb_node is not None:
            absorb = type(absorb_node) is Scalar and absorb_node.text == _TRUE
        if not absorb or absorb_node is None:
            return reply
        if action not in (Action.BLOCK, None):
            speaker.error(absorb_node, "absorb goes with a block only", "", "FWP_E_INVALID_PARAMETER")
        for place in places:
            if not place.layer.absorb:
                message = f"absorb is not allowed at layer {place.layer.name}"
                speaker.error(absorb_node, message, "", "FWP_E_INVALID_PARAMETER")
        if reply is not Reply.NONE and reply_node is not None:
            speaker.error(reply_node, "a packet that is absorbed gets no reply", "", "FWP_E_INVALID_PARAMETER")
        return reply

    # Weight.

    def weight(self, speaker: Speaker, node: Node | None) -> _Weight:
        if node is None:
            return _AUTO
        code = "FWP_E_INVALID_WEIGHT"
        if isinstance(node, Mapping):
            reader.known_keys(speaker, node, ("range",), "weight")
            if "range" not in node.entries:
                speaker.error(node, "weight: range is missing", "a weight is a number or {range: 0-15}", code)
                return _AUTO
            found = reader.number(speaker, node.entries["range"], "weight range", 0, WEIGHT_RANGE_MAX, code)
            return _Weight(range=found or 0)
        exact = reader.number(speaker, node, "weight", 0, MAX_U64, code)
        return _Weight(exact=exact or 0, auto=False)

    def _note_weight(self, sublayer: str, weight: _Weight, speaker: Speaker, node: Node) -> None:
        if weight.auto and not weight.range:
            kind = False
        elif weight.exact is not None and weight.exact < 1 << WEIGHT_RANGE_SHIFT:
            kind = True
        else:
            return
        self.weight_kinds.setdefault(sublayer, {}).setdefault(kind, (speaker, node))

    # Conditions.

    def _conditions(
        self, speaker: Speaker, node: Node | None, places: list[_Place]
    ) -> list[tuple[tuple[Condition, ...], tuple[Condition, ...]]]:
        """For each place: the conditions at v4 and at v6."""
        if node is None:
            return [((), ())] * len(places)
        when = reader.mapping(speaker, node, "when")
        if when is None:
            return [((), ())] * len(places)
        if len(when.entries) > len(ALL_FIELD_NAMES):
            speaker.error(when, "when: more conditions than there are fields", "", "FWP_E_CONDITION_NOT_FOUND")
            return [((), ())] * len(places)
        result = []
        reported: set[str] = set()
        if not places:
            self._conditions_nowhere(speaker, when)
        for place in places:
            pairs = self._conditions_at(speaker, when, place, reported)
            result.append((tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs)))
        return result

    def _conditions_at(
        self, speaker: Speaker, when: Mapping, place: _Place, reported: set[str]
    ) -> list[tuple[Condition, Condition]]:
        """`reported`: fields whose value is known to be wrong from another layer of this filter."""
        names = FIELD_NAMES[place.layer.index]
        pairs: list[tuple[Condition, Condition]] = []
        given: dict[int, str] = {}
        for label, value in when.entries.items():
            known = names.get(label)
            if known is None:
                self._no_such_field(speaker, when.key(label), label, place.layer)
                continue
            field, vocabulary = known
            if field.id in given:
                message = f"{label} and {given[field.id]} are one field at layer {place.layer.name}"
                speaker.error(when.key(label), message, "list both values under one name", "FWP_E_DUPLICATE_CONDITION")
                continue
            given[field.id] = label
            if label in reported:
                continue
            pair = self.conditions.read(speaker, field, vocabulary, label, value)
            if pair is None:
                reported.add(label)
            else:
                pairs.append(pair)
        self._lint_conditions(speaker, when, place, given)
        return pairs

    def _conditions_nowhere(self, speaker: Speaker, when: Mapping) -> None:
        """The layer is wrong: names, and values as any layer would read them, are checked all the same."""
        for label, value in when.entries.items():
            known = FIELDS_ANYWHERE.get(label)
            if known is None:
                self._no_such_field(speaker, when.key(label), label, None)
            else:
                self.conditions.read(speaker, *known, label, value)

    def _no_such_field(self, speaker: Speaker, node: Node, label: str, layer: Layer | None) -> None:
        code = "FWP_E_CONDITION_NOT_FOUND"
        if label not in _KNOWN_FIELDS or layer is None:
            hint = speaker.report.nearest(label, ALL_FIELD_NAMES)
            speaker.error(node, f"there is no field {shown(label)}", hint, code)
            return
        where = layers_with(label)
        hint = f"layers that have it: {', '.join(where)}" if where else "no layer served here has it"
        speaker.error(node, f"layer {layer.name} has no field {label}", hint, code)

    def _lint_conditions(self, speaker: Speaker, when: Mapping, place: _Place, given: dict[int, str]) -> None:
        entries = when.entries
        if place.layer.aliases and "ip_protocol" not in entries:
            for label in ("ip_local_port", "ip_remote_port", "icmp_type", "icmp_code"):
                if label in entries:
                    hint = "for ICMP the local port is the type and the remote port the code; add ip_protocol"
                    message = f"{label} without ip_protocol at layer {place.layer.name}"
                    speaker.lint(when.key(label), message, hint)
                    break
        for field_id, label in given.items():
            why = EMPTY_FIELDS.get(FIELDS[field_id].name)
            if why:
                speaker.lint(when.key(label), f"{label} is always empty here: {why}")


_AUTO = _Weight()
_KNOWN_FIELDS = frozenset(ALL_FIELD_NAMES)


def _effective(weight: _Weight, conditions: tuple[Condition, ...]) -> int:
    """The effective weight, 64 bits."""
    if weight.exact is not None:
        return weight.exact
    return weight.range << WEIGHT_RANGE_SHIFT | auto_weight(conditions)

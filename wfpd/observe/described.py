"""A filter of the tables as an entry of a policy file would say it."""

from __future__ import annotations

import uuid
from typing import Any

from wfpd.dataplane import Snapshot, filter_conditions
from wfpd.model.conditions import Atom, Condition, Op, Term
from wfpd.model.fields import FIELDS, Field
from wfpd.model.names import vocabulary
from wfpd.model.policy import FilterFlag, Reply, Word
from wfpd.observe.wording import say_range, say_value

_FLAGS = {
    FilterFlag.CLEAR_ACTION_RIGHT: "clear_action_right",
    FilterFlag.PERMIT_IF_CALLOUT_UNREGISTERED: "permit_if_callout_unregistered",
    FilterFlag.INDEXED: "indexed",
}
_KINDS = {
    "callout_terminating": "terminating", "callout_inspection": "inspection", "callout_unknown": "unknown",
}  # fmt: skip
_MASKS = {Op.ALL_SET: "flags_all_set", Op.ANY_SET: "flags_any_set", Op.NONE_SET: "flags_none_set"}
_TEXTS = {
    Op.TEXT_STARTS: "starts_with", Op.TEXT_ENDS: "ends_with", Op.TEXT_CONTAINS: "contains", Op.TEXT_GLOB: "glob",
    Op.TEXT_EQUAL_NO_CASE: "equal_case_insensitive",
}  # fmt: skip

Described = dict[str, Any]
Said = str | dict[str, Any]


def describe_filter(snapshot: Snapshot, index: int) -> Described:
    """One engine filter.  `when` holds lists where a field has several alternatives; an empty list matches nothing."""
    info = snapshot.filter_info(index)
    flags, family = info["flags"], 6 if info["slot"] & 1 else 4
    kind = _KINDS.get(info["action"])
    return {
        "key": str(uuid.UUID(bytes=info["key"])),
        "name": info["name"],
        "provider": info["provider"],
        "layer": info["layer"],
        "sublayer": info["sublayer"],
        "weight": info["weight"],
        "action": info["action"] if kind is None else {"callout": info["callout"], "kind": kind},
        "callout": info["callout"],
        "flags": [word for flag, word in _FLAGS.items() if flags & flag],
        "absorb": bool(flags & FilterFlag.ABSORB),
        "reply": Reply(info["reply"]).name.lower(),
        "mode": "audit" if flags & FilterFlag.AUDIT else "enforce",
        "on_error": None if info["on_error"] == Word.DEFAULT else Word(info["on_error"]).name.lower(),
        "log": bool(flags & FilterFlag.LOG),
        "metrics": bool(flags & FilterFlag.METRICS),
        "provider_context": info["provider_context"],
        "when": {
            FIELDS[condition.field].name: describe_condition(condition, family)
            for condition in filter_conditions(snapshot, index)
        },
    }


def describe_condition(condition: Condition, family: int) -> Said | list[Said]:
    """What a field has to be, as the value of an entry of `when`."""
    field = FIELDS[condition.field]
    said = [entry for term in condition.terms for entry in _term(term, field, family)]
    return said[0] if len(said) == 1 else said


def _term(term: Term, field: Field, family: int) -> list[Said]:
    said = [_atom(atom, field, family) for atom in term.atoms]
    if not term.negate:
        return said
    if len(said) == 1 and field.is_flags and isinstance(said[0], dict) and "equal" in said[0]:
        return [{"not_equal": said[0]["equal"]}]
    return [{"none_of": [_plain(one) for one in said]}]


def _plain(said: Said) -> Said:
    """A value as it stands in a list of values."""
    return said["range"] if isinstance(said, dict) and said.keys() == {"range"} else said


def _atom(atom: Atom, field: Field, family: int) -> Said:
    if atom.op is Op.EMPTY:
        return {"equal": "empty"}
    if atom.op is Op.IN_SET:
        return f"${atom.set}"
    if atom.op is Op.RANGE:
        return _range(atom, field, family)
    if atom.op in _MASKS:
        return {_MASKS[atom.op]: _mask(atom.low, field, family)}
    if atom.op is Op.TEXT_RANGE:
        return _text_range(atom)
    text = _text(atom.text)
    if atom.op is Op.TEXT_EQUAL:
        return {"equal": {"text": text}} if text == "empty" or text.startswith("$") else text
    return {_TEXTS[atom.op]: text}


def _range(atom: Atom, field: Field, family: int) -> Said:
    if field.is_flags:
        if atom.low == atom.high:
            return {"equal": _mask(atom.low, field, family)}
        return {"range": f"{atom.low}-{atom.high}"}
    if atom.low == atom.high:
        return say_value(field, family, atom.low)
    return say_range(field, family, atom.low, atom.high) if field.is_address else f"{atom.low}-{atom.high}"


def _mask(mask: int, field: Field, family: int) -> list[str] | str:
    names = {bit: name for name, bit in reversed(vocabulary(field.vocabulary, family).items())}
    found = [name for bit, name in names.items() if bit and mask & bit == bit]
    whole = sum(bit for bit in names if bit and mask & bit == bit)
    return sorted(found) if found and whole == mask else hex(mask)


def _text_range(atom: Atom) -> Said:
    low = _text(atom.text)
    if atom.text_high is None:
        return {"greater_or_equal": low}
    return {"range": [low, _text(atom.text_high)]} if low else {"less_or_equal": _text(atom.text_high)}


def _text(text: bytes) -> str:
    return text.decode("utf-8", "backslashreplace")

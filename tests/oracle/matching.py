"""Which filters match, by looking at each: slow, and shares only the model's values."""

from __future__ import annotations

import re
from collections.abc import Mapping

from wfpd.model.conditions import Atom, Condition, Op, Term
from wfpd.model.fields import FIELDS
from wfpd.model.policy import Action, Filter, FilterFlag, Policy, ValueSet

Value = int | bytes | None
"""None is FWP_EMPTY."""

TEXT_OPS = frozenset(op for op in Op if op.name.startswith("TEXT_"))


def matching_filters(policy: Policy, slot: int, values: Mapping[str, Value]) -> list[Filter]:
    """Every matching filter of a layer in order of arbitration: sublayer weight, weight, file order."""
    weight = {item.name: item.weight for item in policy.sublayers}
    found = [item for item in policy.filters if item.slot == slot and filter_holds(item, policy, values)]
    return sorted(found, key=lambda item: (-weight[item.sublayer], -item.weight, item.order))


def needed_filters(policy: Policy, slot: int, values: Mapping[str, Value]) -> list[Filter]:
    """The matching filters without those behind one that always ends their sublayer."""
    needed: list[Filter] = []
    ended: set[str] = set()
    for item in matching_filters(policy, slot, values):
        if item.sublayer in ended:
            continue
        needed.append(item)
        always = item.action in (Action.PERMIT, Action.BLOCK)
        if always and FilterFlag.AUDIT not in item.flags:
            ended.add(item.sublayer)
    return needed


def filter_holds(item: Filter, policy: Policy, values: Mapping[str, Value]) -> bool:
    """Conditions of a filter are a conjunction; none at all matches everything."""
    return all(condition_holds(condition, policy, item.slot, values) for condition in item.conditions)


def condition_holds(condition: Condition, policy: Policy, slot: int, values: Mapping[str, Value]) -> bool:
    """Terms are a disjunction over the field's value."""
    family = 6 if slot % 2 else 4
    field = FIELDS[condition.field]
    value = values.get(field.name)
    sets = {item.name: _members(item, field.is_address and family == 6) for item in policy.sets}
    return any(term_holds(term, value, sets) for term in condition.terms)


def term_holds(term: Term, value: Value, sets: Mapping[str, list[tuple[object, object]]]) -> bool:
    """A disjunction of tests, or "has a value and none of them"."""
    if term.negate:
        return value is not None and not any(atom_holds(atom, value, sets) for atom in term.atoms)
    return any(atom_holds(atom, value, sets) for atom in term.atoms)


def atom_holds(atom: Atom, value: Value, sets: Mapping[str, list[tuple[object, object]]]) -> bool:
    """One test; FWP_EMPTY satisfies EMPTY only, and a value never does."""
    if value is None or atom.op is Op.EMPTY:
        return value is None and atom.op is Op.EMPTY
    if atom.op is Op.IN_SET:
        return any(low <= value <= high for low, high in sets[atom.set])
    if isinstance(value, bytes):
        return text_holds(atom, value)
    if atom.op is Op.RANGE:
        return atom.low <= value <= atom.high
    if atom.op is Op.ALL_SET:
        return value & atom.low == atom.low
    if atom.op is Op.ANY_SET:
        return value & atom.low != 0
    assert atom.op is Op.NONE_SET
    return value & atom.low == 0


def text_holds(atom: Atom, value: bytes) -> bool:
    """The tests of byte strings."""
    if atom.op is Op.TEXT_GLOB:
        return re.fullmatch(glob_pattern(atom.text), value, re.DOTALL) is not None
    if atom.op is Op.TEXT_RANGE:
        return atom.text <= value and (atom.text_high is None or value <= atom.text_high)
    return {
        Op.TEXT_EQUAL: value == atom.text,
        Op.TEXT_EQUAL_NO_CASE: value.lower() == atom.text.lower(),
        Op.TEXT_STARTS: value.startswith(atom.text),
        Op.TEXT_ENDS: value.endswith(atom.text),
        Op.TEXT_CONTAINS: atom.text in value,
    }[atom.op]


def glob_pattern(glob: bytes) -> bytes:
    """The glob as a regular expression; a `[` that nothing closes is itself."""
    out, rest = b"", glob
    while rest:
        if rest[:1] == b"*":
            out, rest = out + b".*", rest[1:]
        elif rest[:1] == b"?":
            out, rest = out + b".", rest[1:]
        elif found := re.match(rb"\[(!?+)(.[^\]]*)\]", rest, re.DOTALL):
            out, rest = out + _class_pattern(found[1] == b"!", found[2]), rest[found.end() :]
        else:
            out, rest = out + re.escape(rest[:1]), rest[1:]
    return out


def _class_pattern(negated: bool, members: bytes) -> bytes:
    """One byte of the members; a range whose ends are reversed has none."""
    held: set[int] = set()
    while members:
        if len(members) >= 3 and members[1:2] == b"-":
            held |= set(range(members[0], members[2] + 1))
            members = members[3:]
        else:
            held.add(members[0])
            members = members[1:]
    wanted = set(range(256)) - held if negated else held
    return b"[" + b"".join(re.escape(bytes([byte])) for byte in sorted(wanted)) + b"]" if wanted else b"(?!)"


def _members(item: ValueSet, second_family: bool) -> list[tuple[object, object]]:
    if item.texts:
        return [(text, text) for text in item.texts]
    return list(item.ranges_v6 if second_family else item.ranges)

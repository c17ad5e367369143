"""Conditions and values in the words of the policy file."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from wfpd.model.conditions import Atom, Condition, Op, Term
from wfpd.model.fields import FIELDS, Field, Vocabulary
from wfpd.model.names import vocabulary

SHOWN = 8
"""Alternatives of one condition that are shown; the rest is counted."""
_MASKS = (Vocabulary.FLAGS, Vocabulary.TCP_FLAGS)
_TEXT_TESTS = {
    Op.TEXT_STARTS: "starts_with", Op.TEXT_ENDS: "ends_with", Op.TEXT_CONTAINS: "contains", Op.TEXT_GLOB: "glob",
    Op.TEXT_EQUAL_NO_CASE: "equal_case_insensitive",
}  # fmt: skip


def quoted(text: bytes) -> str:
    """A byte string, safe to print whoever made it."""
    return '"' + ascii(text.decode("utf-8", "surrogateescape"))[1:-1].replace('"', '\\"') + '"'


def say_value(field: Field, family: int, value: int | bytes | None) -> str:
    """One value, `empty` where the packet has none."""
    if value is None:
        return "empty"
    if isinstance(value, bytes):
        return quoted(value)
    if field.is_address:
        return str(_address(value, family))
    if field.vocabulary in _MASKS:
        return _mask(field, family, value)
    names = {number: name for name, number in reversed(vocabulary(field.vocabulary, family).items())}
    return names.get(value, str(value))


def _address(value: int, family: int) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.IPv6Address(value) if family == 6 else ipaddress.IPv4Address(value)


def _mask(field: Field, family: int, value: int) -> str:
    names = [name for name, bit in vocabulary(field.vocabulary, family).items() if value & bit]
    rest = value & ~sum(bit for name, bit in vocabulary(field.vocabulary, family).items() if name in names)
    return "+".join([*names, *([hex(rest)] if rest or not names else [])])


def say_range(field: Field, family: int, low: int, high: int) -> str:
    """A value, a prefix, or `low-high`."""
    if low == high:
        return say_value(field, family, low)
    if field.is_address:
        size = high - low + 1
        if size & (size - 1) == 0 and low % size == 0:
            return f"{_address(low, family)}/{(128 if family == 6 else 32) - size.bit_length() + 1}"
        return f"{_address(low, family)}-{_address(high, family)}"
    top = (1 << field.type_for(family).bits) - 1
    if high >= top:
        return f">={low}" if low else "anything"
    return f"{low}-{high}"


def _atom(atom: Atom, field: Field, family: int) -> str:
    if atom.op is Op.EMPTY:
        return "empty"
    if atom.op is Op.IN_SET:
        return f"${atom.set}"
    if atom.op is Op.RANGE:
        return say_range(field, family, atom.low, atom.high)
    if atom.op in (Op.ALL_SET, Op.ANY_SET, Op.NONE_SET):
        test = {Op.ALL_SET: "flags_all_set", Op.ANY_SET: "flags_any_set", Op.NONE_SET: "flags_none_set"}[atom.op]
        return f"{test} {_mask(field, family, atom.low)}"
    if atom.op is Op.TEXT_EQUAL:
        return quoted(atom.text)
    if atom.op is Op.TEXT_RANGE:
        return f"{quoted(atom.text)}-" + ("" if atom.text_high is None else quoted(atom.text_high))
    return f"{_TEXT_TESTS[atom.op]} {quoted(atom.text)}"


def _listed(parts: Sequence[str], brackets: bool) -> str:
    shown = ", ".join(parts[:SHOWN]) + (f", and {len(parts) - SHOWN} more" if len(parts) > SHOWN else "")
    return f"[{shown}]" if brackets or len(parts) != 1 else shown


def _term(term: Term, field: Field, family: int) -> list[str]:
    parts = [_atom(atom, field, family) for atom in term.atoms]
    return [f"none_of {_listed(parts, True)}"] if term.negate else parts


def say_condition(condition: Condition, family: int) -> str:
    """What a condition wants of its field; `nothing` if no value will do."""
    field = FIELDS[condition.field]
    parts = [part for term in condition.terms for part in _term(term, field, family)]
    return _listed(parts, False) if parts else "nothing"

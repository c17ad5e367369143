"""Policy to bytes: resolve every name to an index, sort filters by rank, lay out flat records.

Runs in a child process and is done once a reload; nothing here depends on the host.  Content
hashes cover what decides and nothing else: a new name or `log: true` neither resets counters nor
reauthorizes flows.  A filter's hash is of what it says itself (its counters live on when a set that
it names grows); a layer's is of its filters in rank order and of the sets, callouts and provider
contexts that they name.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable
from typing import Any

from wfpd.compiler import format as fmt
from wfpd.model.conditions import Atom, Condition, Op, Term
from wfpd.model.fields import FIELDS
from wfpd.model.layers import N_SLOTS
from wfpd.model.policy import Filter, FilterFlag, Policy, ValueSet

_RANGES32, _RANGES128, _TEXTS = 0, 1, 2
_LOW64 = 0xFFFFFFFFFFFFFFFF
_DECIDING_FLAGS = ~(FilterFlag.LOG | FilterFlag.METRICS | FilterFlag.INDEXED)

_FILTER = struct.Struct(fmt.FILTER)
_CONDITION = struct.Struct(fmt.CONDITION)
_TERM = struct.Struct(fmt.TERM)
_ATOM = struct.Struct(fmt.ATOM)
_PAIR = struct.Struct("<II")
_QUAD = struct.Struct("<QQQQ")
_DECIDES = struct.Struct("<16sBHBBQ")

# Members by plain name: an enum's attribute costs more than a global, and this is done for every test.
_RANGE, _ALL_SET, _ANY_SET, _EMPTY, _IN_SET, _TEXT_EQUAL = (
    Op.RANGE, Op.ALL_SET, Op.ANY_SET, Op.EMPTY, Op.IN_SET, Op.TEXT_EQUAL,
)  # fmt: skip

_BITS = {family: tuple(item.type_for(family).bits for item in FIELDS) for family in (4, 6)}


def pack(policy: Policy) -> bytes:
    """The packed policy (`format.py`).  KeyError if a filter names what the policy does not have."""
    return _Packer(policy).run()


def ranked(policy: Policy) -> list[Filter]:
    """Filters in packed order: by slot, then sublayer weight falling, weight falling, order rising."""
    rank = {item.name: index for index, item in enumerate(_sublayers(policy))}
    return sorted(policy.filters, key=lambda item: (item.slot, rank[item.sublayer], -item.weight, item.order))


def _sublayers(policy: Policy) -> list[Any]:
    return sorted(policy.sublayers, key=lambda item: -item.weight)


def _hash64(parts: Iterable[bytes]) -> int:
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(len(part).to_bytes(4, "little"))
        digest.update(part)
    return int.from_bytes(digest.digest(), "little")


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, default=repr, separators=(",", ":")).encode()


class _Packer:
    """One run of `pack`: the records written so far, and what names became which index."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.sublayers = _sublayers(policy)
        self.sublayer = {item.name: index for index, item in enumerate(self.sublayers)}
        self.callout = {item.name: index for index, item in enumerate(policy.callouts)}
        self.named_sets = {item.name: item for item in policy.sets}
        self.context_content = {
            item.name: _canonical(["context", item.name, item.data]) for item in policy.provider_contexts
        }
        self.callout_content = [
            _canonical(["callout", item.name, str(item.key), item.use, dict(item.options)]) for item in policy.callouts
        ]
        self.named: list[set[bytes]] = [set() for _ in range(N_SLOTS)]
        """By slot: the content of everything that its filters name."""
        self.conditions: list[bytes] = []
        self.terms: list[bytes] = []
        self.atoms: list[bytes] = []
        self.sets: list[bytes] = []
        self.set_index: dict[tuple[str, int, int], int] = {}
        self.set_content: list[bytes] = []
        self.ranges32: list[bytes] = []
        self.ranges128: list[bytes] = []
        self.texts: list[bytes] = []
        self.n_terms = self.n_atoms = self.n_ranges32 = self.n_ranges128 = 0
        self.strings: list[bytes] = []
        self.string_index: dict[str, int] = {}
        self.blob = bytearray()

    def run(self) -> bytes:
        layers, filters = self._filters()
        sublayers = [
            struct.pack(fmt.SUBLAYER, item.key.bytes, item.weight, 0, self._string(item.name))
            for item in self.sublayers
        ]
        callouts = [
            struct.pack(fmt.CALLOUT, item.key.bytes, self._string(item.name), 0) for item in self.policy.callouts
        ]
        return _assemble(
            (layers, filters, self.conditions, self.terms, self.atoms, self.sets, self.ranges32, self.ranges128,
             self.texts, sublayers, callouts, self.strings, [bytes(self.blob)])
        )  # fmt: skip

    def _filters(self) -> tuple[list[bytes], list[bytes]]:
        records: list[bytes] = []
        contents: list[list[bytes]] = [[] for _ in range(N_SLOTS)]
        n_conditions = 0
        for item in ranked(self.policy):
            content = self._content(item)
            contents[item.slot].append(content)
            records.append(self._filter(item, n_conditions, _hash64([content])))
            n_conditions += len(item.conditions)
        layers, first = [], 0
        for slot_contents, named in zip(contents, self.named, strict=True):
            digest = _hash64([*slot_contents, *sorted(named)]) if slot_contents else 0
            layers.append(struct.pack(fmt.LAYER, first, len(slot_contents), digest))
            first += len(slot_contents)
        return layers, records

    def _filter(self, item: Filter, first_condition: int, digest: int) -> bytes:
        return _FILTER.pack(
            item.key.bytes,
            item.weight,
            self._string(item.name),
            self._string(item.provider),
            self.sublayer[item.sublayer],
            item.slot,
            item.action,
            item.flags,
            item.reply,
            item.on_error,
            self.callout[item.callout] if item.callout else fmt.NONE32,
            self._string(item.provider_context) if item.provider_context else fmt.NONE32,
            first_condition,
            len(item.conditions),
            digest,
        )

    def _content(self, item: Filter) -> bytes:
        """Write the filter's conditions; return, as bytes, everything that decides what it does."""
        sublayer = self.sublayers[self.sublayer[item.sublayer]]
        parts = [
            _DECIDES.pack(item.key.bytes, item.action, item.flags & _DECIDING_FLAGS, item.reply, item.on_error,
                          item.weight),
            sublayer.key.bytes,
            item.callout.encode(),
            item.provider_context.encode(),
        ]  # fmt: skip
        named = self.named[item.slot]
        if item.callout:
            named.add(self.callout_content[self.callout[item.callout]])
        if item.provider_context:
            named.add(self.context_content[item.provider_context])
        family = 6 if item.slot & 1 else 4
        for condition in item.conditions:
            self._condition(condition, family, parts, named)
        return b"\0".join(parts)

    def _condition(self, condition: Condition, family: int, parts: list[bytes], named: set[bytes]) -> None:
        terms = _merged(condition.terms)
        parts.append(_PAIR.pack(condition.field, len(terms)))
        self.conditions.append(_CONDITION.pack(condition.field, len(terms), self.n_terms))
        self.n_terms += len(terms)
        bits = _BITS[family][condition.field]
        set_family = family if FIELDS[condition.field].is_address else 0
        for term in terms:
            parts.append(_PAIR.pack(term.negate, len(term.atoms)))
            self.terms.append(_TERM.pack(0, term.negate, 0, len(term.atoms), self.n_atoms))
            self.n_atoms += len(term.atoms)
            for atom in term.atoms:
                if atom.op is _IN_SET:
                    index = self._set(atom.set, _set_kind(bits), set_family)
                    self.atoms.append(_ATOM.pack(atom.op, 0, 0, index, 0, 0, 0, 0))
                    named.add(self.set_content[index])
                    parts.append(_PAIR.pack(atom.op, len(atom.set)) + atom.set.encode())
                elif atom.op >= _TEXT_EQUAL:
                    parts += self._text_atom(atom)
                else:
                    op, low, high = _clamped(atom, bits) if bits else (atom.op, 0, 0)
                    self.atoms.append(_ATOM.pack(op, 0, 0, 0, low >> 64, low & _LOW64, high >> 64, high & _LOW64))
                    parts.append(self.atoms[-1])

    def _text_atom(self, atom: Atom) -> tuple[bytes, ...]:
        open_high = int(atom.op is Op.TEXT_RANGE and atom.text_high is None)
        self.atoms.append(_ATOM.pack(atom.op, open_high, 0, len(self.texts), 0, 0, 0, 0))
        self._text(atom.text)
        high = b""
        if atom.op is Op.TEXT_RANGE and atom.text_high is not None:
            high = atom.text_high
            self._text(high)
        return struct.pack("<BBII", atom.op, open_high, len(atom.text), len(high)), atom.text, high

    def _set(self, name: str, kind: int, family: int) -> int:
        """Index of a set as one family's fields see it; an address set becomes two."""
        index = self.set_index.get((name, kind, family))
        if index is not None:
            return index
        item = self.named_sets[name]
        first, records = self._set_members(item, kind, family)
        index = self.set_index[name, kind, family] = len(self.sets)
        self.sets.append(struct.pack(fmt.SET, kind, 0, 0, first, len(records), self._string(name)))
        self.set_content.append(b"set" + name.encode() + _hash64(records).to_bytes(8, "little"))
        return index

    def _set_members(self, item: ValueSet, kind: int, family: int) -> tuple[int, list[bytes]]:
        if kind == _TEXTS:
            first = len(self.texts)
            texts = sorted(set(item.texts))
            for text in texts:
                self._text(text)
            return first, texts
        ranges = item.ranges_v6 if family == 6 else item.ranges
        if kind == _RANGES32:
            records = [_PAIR.pack(low, high) for low, high in ranges]
            self.ranges32 += records
            self.n_ranges32 += len(records)
            return self.n_ranges32 - len(records), records
        records = [_QUAD.pack(low >> 64, low & _LOW64, high >> 64, high & _LOW64) for low, high in ranges]
        self.ranges128 += records
        self.n_ranges128 += len(records)
        return self.n_ranges128 - len(records), records

    def _text(self, text: bytes) -> None:
        self.texts.append(_PAIR.pack(len(self.blob), len(text)))
        self.blob += text

    def _string(self, text: str) -> int:
        index = self.string_index.get(text)
        if index is None:
            index = self.string_index[text] = len(self.strings)
            data = text.encode()
            self.strings.append(_PAIR.pack(len(self.blob), len(data)))
            self.blob += data
        return index


def _set_kind(bits: int) -> int:
    if not bits:
        return _TEXTS
    return _RANGES32 if bits <= 32 else _RANGES128


def _merged(terms: tuple[Term, ...]) -> tuple[Term, ...]:
    """All positive terms as one: a disjunction of disjunctions is one disjunction."""
    if len(terms) < 2 or sum(not term.negate for term in terms) < 2:
        return terms
    atoms = tuple(atom for term in terms if not term.negate for atom in term.atoms)
    return (Term(atoms), *(term for term in terms if term.negate))


def _clamped(atom: Atom, bits: int) -> tuple[Op, int, int]:
    """The same test within the field's width; one that cannot hold becomes "any bit of none"."""
    most = (1 << bits) - 1
    if atom.op is _EMPTY:
        return atom.op, 0, 0
    if atom.op is _RANGE:
        low, high = max(atom.low, 0), min(atom.high, most)
        return (atom.op, low, high) if low <= high else (_ANY_SET, 0, 0)
    if atom.op is _ALL_SET and atom.low > most:
        return _ANY_SET, 0, 0
    return atom.op, atom.low & most, 0


def _assemble(sections: tuple[list[bytes], ...]) -> bytes:
    """The header, then each section aligned to 16."""
    out = [b""]
    table = []
    offset = 16 + 16 * len(sections)
    for records in sections:
        data = b"".join(records)
        table.append(struct.pack("<QQ", offset, len(data)))
        padding = -len(data) % 16
        out += (data, b"\0" * padding)
        offset += len(data) + padding
    out[0] = struct.pack("<8sII", fmt.MAGIC, fmt.VERSION, len(sections)) + b"".join(table)
    return b"".join(out)

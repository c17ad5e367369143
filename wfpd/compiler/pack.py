"""Policy to bytes: resolve every name to an index, sort filters by rank, lay out flat records.

Runs in a child process and is done once a reload; nothing here depends on the host.  Content
hashes cover what decides and nothing else: a new name or `log: true` neither resets counters nor
reauthorizes flows.  A filter's hash is of what it says itself (its counters live on when a set that
it names grows); a layer's is of its filters in rank order and of the sets, callouts and provider
contexts that they name.  The records of filters and conditions are written by `_records.pyx`.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable, Sequence
from typing import Any

from wfpd.compiler import _records
from wfpd.compiler import format as fmt
from wfpd.model.conditions import Atom, Condition, Op, Term
from wfpd.model.fields import FIELDS
from wfpd.model.policy import Action, Filter, FilterFlag, Policy, Reply, ValueSet, Word
from wfpd.model.ranges import range_list
from wfpd.model.rows import rows_of

_RANGES32, _RANGES128, _TEXTS = 0, 1, 2
_LOW64 = 0xFFFFFFFFFFFFFFFF
_DECIDING_FLAGS = ~(FilterFlag.LOG | FilterFlag.METRICS | FilterFlag.INDEXED)

_ATOM = struct.Struct(fmt.ATOM)
_PAIR = struct.Struct("<II")
_SHAPE_DECIDES = struct.Struct("<BHBB")

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
    rows = rows_of(policy)
    return [rows[index] for index in packed_order(policy)]


def packed_order(policy: Policy) -> list[int]:
    """For each packed filter, its place in reading order."""
    rank = {item.name: index for index, item in enumerate(_sublayers(policy))}
    return _records.ranked(rows_of(policy), rank)


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
        self.sets: list[bytes] = []
        self.set_index: dict[tuple[str, int, int], int] = {}
        self.set_content: list[bytes] = []
        self.ranges32: list[bytes] = []
        self.ranges128: list[bytes] = []
        self.texts: list[bytes] = []
        self.n_ranges32 = self.n_ranges128 = 0
        self.strings: list[bytes] = []
        self.string_index: dict[str, int] = {}
        self.blob = bytearray()

    def run(self) -> bytes:
        rows = rows_of(self.policy)
        shapes = [self._shape(*shape[:-1]) for shape in rows.shapes]
        slots, (filters, conditions, terms, atoms) = _records.Writer(rows, shapes, self._encoded, self._name).run()
        layers = [struct.pack(fmt.LAYER, *slot) for slot in slots]
        sublayers = [
            struct.pack(fmt.SUBLAYER, item.key.bytes, item.weight, 0, self._string(item.name))
            for item in self.sublayers
        ]
        callouts = [
            struct.pack(fmt.CALLOUT, item.key.bytes, self._string(item.name), 0) for item in self.policy.callouts
        ]
        return _assemble(
            (layers, [filters], [conditions], [terms], [atoms], self.sets, self.ranges32, self.ranges128,
             self.texts, sublayers, callouts, self.strings, [self.blob])
        )  # fmt: skip

    def _shape(
        self, provider: str, sublayer: str, action: Action, callout: str, flags: FilterFlag, reply: Reply,
        on_error: Word, context: str,
    ) -> _records.Shape:  # fmt: skip
        """What filters of one provider, sublayer, action and so on have in common."""
        index = self.sublayer[sublayer]
        parts = [
            _SHAPE_DECIDES.pack(action, flags & _DECIDING_FLAGS, reply, on_error),
            self.sublayers[index].key.bytes, *(_counted(text.encode()) for text in (callout, context)),
        ]  # fmt: skip
        named = [self.callout_content[self.callout[callout]]] if callout else []
        if context:
            named.append(self.context_content[context])
        return _records.Shape(
            self._string(provider), index, action, flags, reply, on_error,
            self.callout[callout] if callout else fmt.NONE32, self._string(context) if context else fmt.NONE32,
            b"".join(parts), named,
        )  # fmt: skip

    def _encoded(self, condition: Condition, family: int) -> _records.Encoded:
        """A condition that is more than a list of ranges: its records, what it decides and names."""
        terms = _merged(condition.terms)
        parts = [_PAIR.pack(condition.field, len(terms))]
        atoms: list[bytes] = []
        named: set[bytes] = set()
        bits = _BITS[family][condition.field]
        set_family = family if FIELDS[condition.field].is_address else 0
        for term in terms:
            parts.append(_PAIR.pack(term.negate, len(term.atoms)))
            for atom in term.atoms:
                if atom.op is _IN_SET:
                    index = self._set(atom.set, _set_kind(bits), set_family)
                    atoms.append(_ATOM.pack(atom.op, 0, 0, index, 0, 0, 0, 0))
                    named.add(self.set_content[index])
                    parts += (_PAIR.pack(atom.op, len(atom.set)), atom.set.encode())
                elif atom.op >= _TEXT_EQUAL:
                    parts += self._text_atom(atom, atoms)
                else:
                    op, low, high = _clamped(atom, bits) if bits else (atom.op, 0, 0)
                    atoms.append(_ATOM.pack(op, 0, 0, 0, low >> 64, low & _LOW64, high >> 64, high & _LOW64))
                    parts.append(atoms[-1])
        counts = [(term.negate, len(term.atoms)) for term in terms]
        return _records.Encoded(condition.field, counts, b"".join(atoms), b"".join(parts), named)

    def _text_atom(self, atom: Atom, atoms: list[bytes]) -> tuple[bytes, ...]:
        """Add the test of a text; returns what it decides."""
        open_high = int(atom.op is Op.TEXT_RANGE and atom.text_high is None)
        atoms.append(_ATOM.pack(atom.op, open_high, 0, len(self.texts), 0, 0, 0, 0))
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
        first, count, content = self._set_members(item, kind, family)
        index = self.set_index[name, kind, family] = len(self.sets)
        self.sets.append(struct.pack(fmt.SET, kind, 0, 0, first, count, self._string(name)))
        self.set_content.append(b"set" + name.encode() + _hash64(content).to_bytes(8, "little"))
        return index

    def _set_members(self, item: ValueSet, kind: int, family: int) -> tuple[int, int, list[bytes]]:
        """First member, how many, and what they are as bytes."""
        if kind == _TEXTS:
            first = len(self.texts)
            texts = sorted(set(item.texts))
            for text in texts:
                self._text(text)
            return first, len(texts), texts
        ranges = range_list(item.ranges_v6 if family == 6 else item.ranges)
        data = ranges.packed(kind == _RANGES128)
        if kind == _RANGES32:
            self.ranges32.append(data)
            first, count = self.n_ranges32, len(data) // 8
            self.n_ranges32 += count
        else:
            self.ranges128.append(data)
            first, count = self.n_ranges128, len(data) // 32
            self.n_ranges128 += count
        return first, count, [data]

    def _text(self, text: bytes) -> None:
        self.texts.append(_PAIR.pack(len(self.blob), len(text)))
        self.blob += text

    def _string(self, text: str) -> int:
        index = self.string_index.get(text)
        if index is None:
            index = self.string_index[text] = self._name(text.encode())
        return index

    def _name(self, data: bytes) -> int:
        """A string that is not looked up: names of filters differ anyway."""
        self.strings.append(_PAIR.pack(len(self.blob), len(data)))
        self.blob += data
        return len(self.strings) - 1


def _counted(data: bytes) -> bytes:
    return len(data).to_bytes(4, "little") + data


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


def _assemble(sections: tuple[Sequence[bytes | bytearray], ...]) -> bytes:
    """The header, then each section aligned to a cache line."""
    out: list[bytes | bytearray] = [b"", b"\0" * (-(16 + 16 * len(sections)) % fmt.ALIGNMENT)]
    table = []
    offset = 16 + 16 * len(sections) + len(out[1])
    for records in sections:
        data = records[0] if len(records) == 1 else b"".join(records)
        table.append(struct.pack("<QQ", offset, len(data)))
        padding = -len(data) % fmt.ALIGNMENT
        out += (data, b"\0" * padding)
        offset += len(data) + padding
    out[0] = struct.pack("<8sII", fmt.MAGIC, fmt.VERSION, len(sections)) + b"".join(table)
    return b"".join(out)

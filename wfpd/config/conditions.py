"""Reads the value of one field of `when:` into conditions (docs/config.md; Microsoft, FWP_MATCH_TYPE)."""

from __future__ import annotations

from collections.abc import Callable

from wfpd.config import reader
from wfpd.config.document import quote_hint
from wfpd.config.drafts import Draft
from wfpd.config.limits import Limits
from wfpd.config.nodes import Broken, Mapping, Node, Scalar, Sequence
from wfpd.config.report import Speaker, shown
from wfpd.config.scalars import BadValue, address_range, integer, integer_range, is_integer, ordered
from wfpd.config.sets import SetTable, fits
from wfpd.config.weights import FULL, specificity_of_count
from wfpd.model.conditions import Atom, Condition, Op, Term
from wfpd.model.fields import DataType, Field, Vocabulary
from wfpd.model.layers import EMPTY_FIELDS
from wfpd.model.names import SERVICES, vocabulary

MATCH_TYPES = (
    "equal", "not_equal", "greater", "less", "greater_or_equal", "less_or_equal", "range", "flags_all_set",
    "flags_any_set", "flags_none_set", "equal_case_insensitive", "ends_with", "not_ends_with", "starts_with",
    "contains", "glob", "none_of",
)  # fmt: skip
_ORDER = frozenset({"greater", "less", "greater_or_equal", "less_or_equal"})
_FLAGS = {"flags_all_set": Op.ALL_SET, "flags_any_set": Op.ANY_SET, "flags_none_set": Op.NONE_SET}
_TEXT = {
    "equal_case_insensitive": Op.TEXT_EQUAL_NO_CASE,
    "ends_with": Op.TEXT_ENDS,
    "not_ends_with": Op.TEXT_ENDS,
    "starts_with": Op.TEXT_STARTS,
    "contains": Op.TEXT_CONTAINS,
    "glob": Op.TEXT_GLOB,
}
_BOUNDS = {"ip_dscp": 63, "ip_ecn": 3, "ip_fragment": 2}
_PREFIX_HINT = (
    "FWP_MATCH_PREFIX tests how a string ends: write ends_with or not_ends_with for that, starts_with for how it begins"
)
_EMPTY_HINT = "write {equal: empty} for a packet without the field, {equal: {text: empty}} for the text"
TYPE, MATCH = "FWP_E_TYPE_MISMATCH", "FWP_E_MATCH_TYPE_MISMATCH"


def _plain_value(field: Field, names: Vocabulary, text: str) -> tuple[Condition, Condition] | None:
    """The commonest conditions, one number or one address, without a draft; None for all others.

    Large policies consist of them; `test_conditions.py` compares with a list of one entry.
    """
    if field.is_address:
        try:
            family, low, high = address_range(text)
        except BadValue:
            return None
        term = (Term((Atom(Op.RANGE, low, high),)),)
        condition = Condition(field.id, term, specificity_of_count(high - low + 1, field.type_for(family).bits))
        nothing = Condition(field.id, ())
        return (condition, nothing) if family == 4 else (nothing, condition)
    if not field.type.is_integer or names is Vocabulary.ICMP_TYPE or not is_integer(text):
        return None
    number = int(text, 0)
    if number > top_of(field):
        return None
    condition = Condition(field.id, (Term((Atom(Op.RANGE, number, number),)),), FULL)
    return condition, condition


def top_of(field: Field, family: int = 4) -> int:
    """The largest value of a field of numbers or addresses."""
    return _BOUNDS.get(field.name, (1 << field.type_for(family).bits) - 1)


class ConditionReader:
    """Reads conditions; one object serves all filters of a policy."""

    def __init__(self, sets: SetTable, limits: Limits) -> None:
        self.sets = sets
        self.limits = limits
        self._seen: dict[tuple[int, Vocabulary, str], tuple[Condition, Condition]] = {}

    def read(
        self, speaker: Speaker, field: Field, names: Vocabulary, label: str, node: Node
    ) -> tuple[Condition, Condition] | None:
        """The conditions at v4 and v6 layers; None after an error."""
        seen_key = None
        if type(node) is Scalar:
            seen_key = (field.id, names, node.text)
            seen = self._seen.get(seen_key)
            if seen is not None:
                return seen
            plain = _plain_value(field, names, node.text)
            if plain is not None:
                self._seen[seen_key] = plain
                return plain
        if isinstance(node, Broken):
            return None
        one = _FieldReader(self, speaker, field, names, label)
        one.read_field(node)
        if one.failed:
            return None
        at_v4 = one.draft.finish(field, 4, self.sets)
        by_family = field.is_address or names is Vocabulary.ICMP_TYPE
        result = (at_v4, one.draft.finish(field, 6, self.sets) if by_family else at_v4)
        if seen_key is not None:
            self._seen[seen_key] = result
        return result


class _FieldReader:
    """One value of one field."""

    def __init__(self, parent: ConditionReader, speaker: Speaker, field: Field, names: Vocabulary, label: str) -> None:
        self.sets = parent.sets
        self.limits = parent.limits
        self.speaker = speaker
        self.field = field
        self.names = names
        self.label = label
        self.draft = Draft()
        self.failed = False
        self.bits = field.type.bits
        self.top = top_of(field)

    def fail(self, node: Node, message: str, hint: str = "", code: str = TYPE) -> None:
        """Report and remember."""
        self.failed = True
        if not isinstance(node, Broken):
            self.speaker.error(node, f"{self.label}: {message}", hint, code)

    # The three shapes of a value.

    def read_field(self, node: Node) -> None:
        """A scalar, a list, or a mapping with one match type."""
        if isinstance(node, Mapping):
            self.read_mapping(node)
        elif self.field.is_flags:
            self.read_flags_value(node)
        elif isinstance(node, Sequence):
            if self.listed(node):
                for item in node.items:
                    self.read_entry(item)
        else:
            self.read_entry(node)

    def listed(self, node: Sequence) -> bool:
        """Whether the list may be read."""
        if not node.items:
            self.fail(node, "an empty list", "leave the field out to match everything", "FWP_E_ZERO_LENGTH_ARRAY")
        elif len(node.items) > self.limits.condition_values:
            self.fail(
                node, f"lists more than {self.limits.condition_values} values", "use a set", "FWP_E_OUT_OF_BOUNDS"
            )
        else:
            return True
        return False

    def read_entry(self, node: Node) -> None:
        """One alternative: a value, or a mapping."""
        if isinstance(node, Mapping):
            self.read_mapping(node)
        elif isinstance(node, Scalar):
            if node.text == "empty":
                self.fail(node, '"empty" alone is ambiguous', _EMPTY_HINT)
            else:
                self.add_value(self.draft, node)
        else:
            self.fail(node, "a list inside a list")

    def read_flags_value(self, node: Node) -> None:
        """A bare value of a flags field: one mask to be equal to, or a list of mappings."""
        if isinstance(node, Sequence):
            n_mappings = sum(isinstance(item, Mapping) for item in node.items)
            if n_mappings and n_mappings == len(node.items):
                for item in node.items:
                    self.read_entry(item)
                return
            if n_mappings:
                self.fail(
                    node,
                    "mixes names with mappings",
                    "a list of names is one mask; to OR masks write a list of mappings",
                )
                return
        self.add_mask_value(node)

    def add_mask_value(self, node: Node) -> None:
        """`equal` on a flags field."""
        if isinstance(node, Scalar) and node.text.startswith("$"):
            self.add_set(self.draft, node)
            return
        if isinstance(node, Scalar) and (ends := integer_range(node.text)):
            self.attempt(node, lambda: self.add_number_range(self.draft, ends, node.text))
            return
        mask = self.mask(node)
        if mask is not None:
            self.draft.add_range(mask, mask)

    def mask(self, node: Node) -> int | None:
        """A list of names or numbers, or one, as one mask."""
        if isinstance(node, Sequence) and not self.listed(node):
            return None
        if isinstance(node, Mapping):
            self.fail(node, "a name, a number or a list of them is needed")
            return None
        result = 0
        for item in reader.items(node):
            if not isinstance(item, Scalar):
                self.fail(item, "a name or a number is needed in a mask")
                return None
            if item.text == "empty":
                self.fail(item, '"empty" is no part of a mask', _EMPTY_HINT)
                return None
            try:
                result |= self.number(item.text, 4)
            except BadValue as bad:
                self.fail(item, bad.message, bad.hint, bad.code)
                return None
        return result

    def read_mapping(self, node: Mapping) -> None:
        """`{match_type: value}`, or `{text: value}` for a text."""
        if len(node.entries) != 1:
            if not node.entries:
                self.fail(node, "a match type is needed", f"one of: {', '.join(MATCH_TYPES)}")
                return
            both = " and ".join(list(node.entries)[:2])
            self.fail(
                node,
                f"one match type is allowed, not {both}",
                "write a list of mappings to OR them",
                "FWP_E_INVALID_PARAMETER",
            )
            return
        ((name, value),) = node.entries.items()
        if name == "text":
            self.add_text_value(self.draft, node)
            return
        if name in ("prefix", "not_prefix"):
            self.fail(node.key(name), f"{name} is not read", _PREFIX_HINT, MATCH)
            return
        method = _READERS.get(name)
        if method is None:
            hint = quote_hint(name + ":") if ":" in name else self.speaker.report.nearest(name, MATCH_TYPES)
            message = f"unknown match type {shown(name)}"
            self.fail(node.key(name), message, hint or f"known: {', '.join(MATCH_TYPES)}", "FWP_E_INVALID_ENUMERATOR")
            return
        if isinstance(value, Broken):
            self.failed = True
            return
        method(self, name, value)

    # Match types.

    def equal(self, _: str, node: Node) -> None:
        """Equality; a prefix of an address is one value; `empty` is the absent field."""
        if isinstance(node, Scalar) and node.text == "empty":
            self.draft.empty = True
            return
        if self.field.is_flags and not isinstance(node, Mapping):
            self.add_mask_value(node)
            return
        if isinstance(node, Sequence) and not self.listed(node):
            return
        for item in reader.items(node):
            if isinstance(item, Scalar) and item.text == "empty":
                self.draft.empty = True
            elif isinstance(item, Scalar) and self.is_range(item.text):
                self.fail(item, f"equal takes no range: {shown(item.text)}", "write {range: a-b}", MATCH)
            elif isinstance(item, Mapping) and list(item.entries) == ["text"]:
                self.add_text_value(self.draft, item)
            elif isinstance(item, Scalar):
                self.add_value(self.draft, item)
            else:
                self.fail(item, "equal takes a value")

    def not_equal(self, name: str, node: Node) -> None:
        """Has a value, and another one.  Not for address masks (FWP_MATCH_TYPE)."""
        other = Draft()
        if self.field.is_flags and isinstance(node, Sequence):
            mask = self.mask(node)
            if mask is not None:
                other.add_range(mask, mask)
        elif not self.one_value(name, node, other):
            return
        if not self.failed:
            self.draft.add_negation(other, self.sets)

    def one_value(self, name: str, node: Node, into: Draft) -> bool:
        """The single value of an operator that takes neither list, range, prefix nor set."""
        if isinstance(node, Sequence):
            self.fail(node, f"{name} takes one value, not a list", "use none_of to exclude several", TYPE)
            return False
        if isinstance(node, Mapping) and list(node.entries) == ["text"]:
            self.add_text_value(into, node)
            return not self.failed
        if not isinstance(node, Scalar):
            self.fail(node, f"{name} takes one value")
            return False
        if node.text == "empty":
            self.fail(node, f"{name} cannot be empty: a packet without the field satisfies only equal", _EMPTY_HINT)
            return False
        if node.text.startswith("$"):
            self.fail(node, f"{name} takes one value, not a set", "use none_of to exclude a set", TYPE)
            return False
        if self.is_range(node.text) or (self.field.is_address and "/" in node.text):
            what = "prefix" if "/" in node.text else "range"
            self.fail(
                node, f"{name} takes one value, not a {what}: {shown(node.text)}", "use none_of to exclude it", MATCH
            )
            return False
        self.add_value(into, node)
        return not self.failed

    def order(self, name: str, node: Node) -> None:
        """greater, less, greater_or_equal, less_or_equal."""
        other = Draft()
        if not self.one_value(name, node, other):
            return
        if self.field.type.is_text:
            self.order_text(name, other.texts[0])
            return
        for family in (4, 6):
            for value, _ in other.ranges[family]:
                low, high = 0, top_of(self.field, family)
                if name.startswith("greater"):
                    low = value + (name == "greater")
                else:
                    high = value - (name == "less")
                self.draft.add_range(low, high, family)

    def order_text(self, name: str, text: bytes) -> None:
        """Bytewise order."""
        if name == "greater":
            term = Term((Atom(Op.TEXT_RANGE, text=text + b"\0"),))
        elif name == "greater_or_equal":
            term = Term((Atom(Op.TEXT_RANGE, text=text),))
        elif name == "less_or_equal":
            term = Term((Atom(Op.TEXT_RANGE, text_high=text),))
        else:
            term = Term((Atom(Op.TEXT_RANGE, text=text),), negate=True)
        self.draft.add_term(term, 1)

    def range(self, _: str, node: Node) -> None:
        """`a-b`, `[a, b]`, or a list of `a-b`."""
        if isinstance(node, Sequence):
            ends = node.items
            if len(ends) == 2 and all(isinstance(e, Scalar) and not self.is_range(e.text) for e in ends):
                self.add_ends(node, ends[0], ends[1])
            elif self.listed(node):
                for item in ends:
                    self.add_range_text(item)
            return
        self.add_range_text(node)

    def add_range_text(self, node: Node) -> None:
        """One `a-b`."""
        if not isinstance(node, Scalar) or self.field.type.is_text or not self.is_range(node.text):
            self.fail(node, "range takes a low and a high end", "write {range: a-b} or {range: [a, b]}")
        else:
            self.add_value(self.draft, node)

    def add_ends(self, node: Node, first: Node, last: Node) -> None:
        """The ends as two values."""
        low, high = Draft(), Draft()
        if not (self.one_value("range", first, low) and self.one_value("range", last, high)):
            return
        if self.field.type.is_text:
            if low.texts[0] > high.texts[0]:
                self.fail(node, "the range's low end is above its high end", "", "FWP_E_INVALID_RANGE")
            else:
                self.draft.add_term(Term((Atom(Op.TEXT_RANGE, text=low.texts[0], text_high=high.texts[0]),)), 1)
            return
        for family in (4, 6):
            if bool(low.ranges[family]) != bool(high.ranges[family]):
                self.fail(node, "the ends of a range are of one family", "", "FWP_E_INVALID_RANGE")
                return
            for (bottom, _), (top, _) in zip(low.ranges[family], high.ranges[family], strict=True):
                if bottom > top:
                    self.fail(node, "the range's low end is above its high end", "", "FWP_E_INVALID_RANGE")
                    return
                self.draft.add_range(bottom, top, family)

    def flags(self, name: str, node: Node) -> None:
        """flags_all_set, flags_any_set, flags_none_set: unsigned integers only."""
        if not self.field.type.is_integer or self.field.is_address:
            self.fail(node, f"{name} is for unsigned integers", "", MATCH)
            return
        mask = self.mask(node)
        if mask is not None:
            self.draft.add_mask(_FLAGS[name], mask, self.bits)

    def match_text(self, name: str, node: Node) -> None:
        """How a text ends, begins, what it contains."""
        if not self.field.type.is_text:
            self.fail(node, f"{name} is for texts", "", MATCH)
            return
        if name == "equal_case_insensitive" and self.field.type is not DataType.UNICODE_STRING:
            self.fail(node, f"{name} is for Unicode strings; {self.label} is a byte string, case-sensitive", "", MATCH)
            return
        negate = name == "not_ends_with"
        if isinstance(node, Sequence) and (negate or not self.listed(node)):
            if negate:
                self.fail(node, f"{name} takes one value, not a list")
            return
        for item in reader.items(node):
            other = Draft()
            if isinstance(item, Mapping) and list(item.entries) == ["text"]:
                self.add_text_value(other, item)
            elif isinstance(item, Scalar):
                self.add_text(other, item)
            else:
                self.fail(item, f"{name} takes a text")
            for text in other.texts:
                if name == "glob" and not _is_glob(text):
                    self.fail(item, f"glob {shown(item.text if isinstance(item, Scalar) else '')}: [ without ]")
                self.draft.add_term(Term((Atom(_TEXT[name], text=text),), negate), 1)

    def none_of(self, name: str, node: Node) -> None:
        """Has a value and matches none of the values, ranges, prefixes, sets (extension)."""
        if isinstance(node, Sequence) and not self.listed(node):
            return
        if self.field.is_flags and isinstance(node, Sequence) and len(node.items) > 1:
            hint = "write flags_none_set for bits that must not be set, not_equal for one mask"
            self.fail(node, "none_of cannot tell a list of values from a mask", hint, MATCH)
            return
        other = Draft()
        for item in reader.items(node):
            if isinstance(item, Scalar) and item.text == "empty":
                self.fail(item, "none_of has a value always; empty cannot be excluded again", _EMPTY_HINT)
            elif isinstance(item, Scalar):
                self.add_value(other, item)
            elif isinstance(item, Mapping) and list(item.entries) == ["text"]:
                self.add_text_value(other, item)
            else:
                self.fail(item, f"{name} takes values, ranges, prefixes and sets")
        if not self.failed:
            self.draft.add_negation(other, self.sets)

    # Values.

    def is_range(self, text: str) -> bool:
        """Whether the text is a range of this field's values."""
        if self.field.is_address:
            return "-" in text and "/" not in text
        return self.field.type.is_integer and integer_range(text) is not None

    def attempt(self, node: Node, read: Callable[[], None]) -> None:
        """Run a reader of values; report what it says."""
        try:
            read()
        except BadValue as bad:
            self.fail(node, bad.message, bad.hint, bad.code)

    def add_value(self, into: Draft, node: Scalar) -> None:
        """One value, range, prefix or set."""
        text = node.text
        if text.startswith("$"):
            self.add_set(into, node)
        elif self.field.is_address:
            self.attempt(node, lambda: self.add_address(into, text))
        elif self.field.type.is_integer:
            ends = integer_range(text)
            if ends:
                self.attempt(node, lambda: self.add_number_range(into, ends, text))
            else:
                self.attempt(node, lambda: self.add_number(into, text))
        elif self.field.type.is_text:
            self.add_text(into, node)
        else:
            reason = EMPTY_FIELDS.get(self.field.name, "no value of this type can be written")
            self.fail(node, f"{self.field.type.value} values cannot be given: {reason}")

    def add_address(self, into: Draft, text: str) -> None:
        family, low, high = address_range(text)
        into.add_range(low, high, family)

    def add_number_range(self, into: Draft, ends: tuple[str, str], text: str) -> None:
        low, high = ordered(integer(ends[0], self.top), integer(ends[1], self.top), text)
        into.add_range(low, high)

    def add_number(self, into: Draft, text: str) -> None:
        if self.names is not Vocabulary.ICMP_TYPE or is_integer(text):
            value = self.number(text, 4)
            into.add_range(value, value)
            return
        known = [family for family in (4, 6) if text in vocabulary(self.names, family)]
        if not known:
            self.number(text, 4)
        for family in known:
            value = vocabulary(self.names, family)[text]
            into.add_range(value, value, family)

    def number(self, text: str, family: int) -> int:
        """An integer or a name of the field's vocabulary."""
        names = vocabulary(self.names, family)
        if text in names:
            return names[text]
        if text[:1].isdigit() or text[:1] in "+-" or not text:
            return integer(text, self.top, may_be_range=True)
        raise BadValue(f"{shown(text)} is {self._no_what(text)}", self._name_hint(text, names))

    def _no_what(self, text: str) -> str:
        if ":" in text or text.count(".") == 3:
            return f"no value of type {self.field.type.value}"
        return "no known name" if self.names is not Vocabulary.NONE else "not an integer"

    def _name_hint(self, text: str, names: dict[str, int]) -> str:
        if self.bits == 16 and text.lower() in SERVICES and self.names is Vocabulary.NONE:
            return f"ports have no names; {text.lower()} is {SERVICES[text.lower()]}"
        if text.lower() in names:
            return f"names are in lower case: {text.lower()}"
        if self.names is Vocabulary.ICMP_TYPE:
            names = names | vocabulary(self.names, 6)
        return self.speaker.report.nearest(text, names) if names else ""

    def add_text_value(self, into: Draft, node: Mapping) -> None:
        """`{text: value}`: the value as it stands, be it "empty" or "$x"."""
        value = node.entries["text"]
        if not self.field.type.is_text:
            self.fail(node, f"a text is no value of type {self.field.type.value}")
        elif isinstance(value, Scalar):
            self.add_text(into, value, literal=True)
        else:
            self.fail(value, "text takes one text")

    def add_text(self, into: Draft, node: Scalar, literal: bool = False) -> None:
        if not literal and node.text == "empty":
            self.fail(node, '"empty" alone is ambiguous', _EMPTY_HINT)
            return
        encoded = node.text.encode()
        if not encoded:
            self.fail(node, "an empty text matches no name", _EMPTY_HINT)
        elif len(encoded) > self.limits.text_length:
            self.fail(node, f"is longer than {self.limits.text_length} bytes", "", "FWP_E_OUT_OF_BOUNDS")
        else:
            into.texts.append(encoded)

    def add_set(self, into: Draft, node: Scalar) -> None:
        """`$name`."""
        name = node.text[1:]
        if name in self.sets.broken:
            self.failed = True
            return
        found = self.sets.sets.get(name)
        if found is None:
            hint = self.speaker.report.nearest(name, self.sets.sets)
            self.fail(node, f"there is no set {shown(name)}", hint, "FWP_E_NOT_FOUND")
        elif not fits(found, self.field):
            kind = "address" if self.field.is_address else self.field.type.value
            self.fail(node, f"set {shown(name)} holds values of type {found.type}, not {kind}")
        else:
            into.sets.append(name)


def _is_glob(pattern: bytes) -> bool:
    """Whether every [ has its ]."""
    position = 0
    while (start := pattern.find(b"[", position)) >= 0:
        first = start + 1 + (pattern[start + 1 : start + 2] in (b"!", b"^"))
        end = pattern.find(b"]", first + 1)  # A ] in the first place is a member.
        if end < 0:
            return False
        position = end + 1
    return True


_READERS: dict[str, Callable[[_FieldReader, str, Node], None]] = {
    "equal": _FieldReader.equal,
    "not_equal": _FieldReader.not_equal,
    "range": _FieldReader.range,
    "none_of": _FieldReader.none_of,
    **dict.fromkeys(_ORDER, _FieldReader.order),
    **dict.fromkeys(_FLAGS, _FieldReader.flags),
    **dict.fromkeys(_TEXT, _FieldReader.match_text),
}

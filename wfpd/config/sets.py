"""`sets:` — named values, inline or from a file with one value a line and # comments."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence

from wfpd.config import reader
from wfpd.config._set_file import read_set_file
from wfpd.config.limits import Limits
from wfpd.config.nodes import Mapping, Node, Scalar
from wfpd.config.ranges import Counter, Range, merged
from wfpd.config.report import Speaker, shown
from wfpd.config.scalars import BadValue, address_range, integer, integer_range, ordered
from wfpd.errors import Location
from wfpd.model.fields import DataType, Field
from wfpd.model.names import PROTOCOLS, SERVICES
from wfpd.model.policy import ValueSet
from wfpd.model.ranges import RangeList, range_list

SET_BITS: dict[str, int] = {
    "port": 16,
    "protocol": 8,
    "uint8": 8,
    "uint16": 16,
    "uint32": 32,
    "uint64": 64,
    "number": 64,
}
"""Widths of the sets of numbers."""
SET_TYPES = ("address", *SET_BITS, "text")
_FITS: dict[str, frozenset[DataType]] = {
    "port": frozenset({DataType.UINT16}),
    "protocol": frozenset({DataType.UINT8}),
    "uint8": frozenset({DataType.UINT8}),
    "uint16": frozenset({DataType.UINT16}),
    "uint32": frozenset({DataType.UINT32}),
    "uint64": frozenset({DataType.UINT64}),
    "number": frozenset({DataType.UINT8, DataType.UINT16, DataType.UINT32, DataType.UINT64}),
}
SET_KEYS = frozenset({"name", "key", "description", "provider", "type", "values", "file"})
ReadFile = Callable[[str, Speaker, Node], "bytes | None"]
"""Reads a set file (path as resolved); reports and returns None on failure."""


def fits(value_set: ValueSet, field: Field) -> bool:
    """Whether conditions on the field may name the set."""
    if field.is_address:
        return value_set.type == "address"
    if field.type.is_text:
        return value_set.type == "text"
    return field.type in _FITS.get(value_set.type, frozenset())


class SetReader:
    """Reads the sets of one policy."""

    def __init__(self, limits: Limits, read_file: ReadFile) -> None:
        self.limits = limits
        self.read_file = read_file

    def read(self, speaker: Speaker, name: str, node: Mapping) -> ValueSet | None:
        """One set; None after an error that leaves nothing to refer to."""
        type_node = node.entries.get("type")
        if type_node is None:
            speaker.error(node, "type is missing", f"one of: {', '.join(SET_TYPES)}")
            return None
        type_name = reader.choice(speaker, type_node, "type", SET_TYPES)
        if type_name is None:
            return None
        collector = _Collector(type_name, self.limits)
        values, file = node.entries.get("values"), node.entries.get("file")
        if (values is None) == (file is None):
            speaker.error(node, "a set has either values or a file")
        elif values is not None:
            self._read_values(speaker, collector, values)
        elif file is not None:
            self._read_set_file(speaker, collector, file)
        return collector.finish(name, speaker.at(node))

    def _read_values(self, speaker: Speaker, collector: _Collector, node: Node) -> None:
        if isinstance(node, Scalar) and not (node.plain and not node.text):
            speaker.error(node, f"values: a list is needed, not {reader.kind_of(node)}")
            return
        listed = [] if isinstance(node, Scalar) else reader.sequence(speaker, node, "values")
        for item in listed:
            found = reader.scalar(speaker, item, "values")
            if found is None:
                continue
            if found.text.startswith("$") and collector.type != "text":
                speaker.error(item, "values: a set cannot name another set", "list both sets in the condition")
                continue
            try:
                collector.add(found.text)
            except BadValue as bad:
                speaker.error(item, f"values: {bad.message}", bad.hint, bad.code)
            except _Full:
                speaker.error(item, f"values: more than {self.limits.set_entries}")
                return

    def _read_set_file(self, speaker: Speaker, collector: _Collector, node: Node) -> None:
        path = reader.text(speaker, node, "file", self.limits)
        if path is None:
            return
        path = os.path.join(os.path.dirname(speaker.file), path)
        data = self.read_file(path, speaker, node)
        if data is None or collector.take_file(data):
            return
        for line, text in lines_of(data):
            try:
                collector.add_bytes(text)
            except BadValue as bad:
                speaker.report.error(bad.message, Location(path, line), speaker.subject, bad.hint, bad.code)
            except _Full:
                message = f"more than {self.limits.set_entries} values"
                speaker.report.error(message, Location(path, line), speaker.subject)
                return


def lines_of(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Line number and value of each line that has one; a comment begins with # at the start or after a space."""
    for line, raw in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        text = raw.strip()
        if b"#" in text:
            if text.startswith(b"#"):
                continue
            for mark in (b" #", b"\t#"):
                text = text.partition(mark)[0]
            text = text.rstrip()
        if text:
            yield line, text


class _Full(Exception):
    pass


class _Collector:
    """Gathers the values of one set."""

    def __init__(self, type_name: str, limits: Limits) -> None:
        self.type = type_name
        self.limits = limits
        self.v4: list[Range] = []
        self.v6: list[Range] = []
        self.texts: set[bytes] = set()
        self.whole: tuple[RangeList, RangeList] | None = None
        self.n_values = 0

    def add_bytes(self, text: bytes) -> None:
        """One value of a set file."""
        if self.type == "text":
            self._add_text(text)
            return
        try:
            decoded = text.decode("ascii")
        except UnicodeDecodeError:
            raise BadValue(f"{shown(text.decode('latin-1'))} is no value of type {self.type}") from None
        self.add(decoded)

    def add(self, text: str) -> None:
        """One value.  Raises BadValue, or _Full at the limit."""
        if self.type == "address":
            self._count()
            family, low, high = address_range(text)
            (self.v4 if family == 4 else self.v6).append((low, high))
        elif self.type == "text":
            self._add_text(text.encode())
        else:
            self._count()
            self.v4.append(self._number(text))

    def _number(self, text: str) -> Range:
        high = (1 << SET_BITS[self.type]) - 1
        if self.type == "protocol" and text in PROTOCOLS:
            return PROTOCOLS[text], PROTOCOLS[text]
        ends = integer_range(text)
        if ends:
            return ordered(integer(ends[0], high), integer(ends[1], high), text)
        if self.type == "port" and text in SERVICES:
            raise BadValue(f"{shown(text)}: ports have no names", f"{text} is {SERVICES[text]}")
        number = integer(text, high, may_be_range=True)
        return number, number

    def _add_text(self, text: bytes) -> None:
        self._count()
        if len(text) > self.limits.text_length:
            raise BadValue(f"is longer than {self.limits.text_length} bytes")
        if not text:
            raise BadValue("a text is empty")
        self.texts.add(text)

    def take_file(self, data: bytes) -> bool:
        """Whether the whole file was read at once; if not, nothing of it was."""
        if self.type == "text":
            return False
        top = 0 if self.type == "address" else (1 << SET_BITS[self.type]) - 1
        self.whole = read_set_file(data.removeprefix(b"\xef\xbb\xbf"), top, self.limits.set_entries)
        return self.whole is not None

    def _count(self) -> None:
        self.n_values += 1
        if self.n_values > self.limits.set_entries:
            raise _Full

    def finish(self, name: str, location: Location) -> ValueSet:
        """The set, sorted and merged."""
        ranges, ranges_v6 = self.whole or (range_list(merged(self.v4)), range_list(merged(self.v6)))
        return ValueSet(name, self.type, ranges, ranges_v6, tuple(sorted(self.texts)), location)


class SetTable:
    """The sets that conditions may name, with what the auto weight needs to know of them."""

    def __init__(self, sets: Iterable[ValueSet], broken: Iterable[str] = ()) -> None:
        self.sets = {item.name: item for item in sets}
        self.broken = frozenset(broken)
        """Declared, but wrong: reported already."""
        self._counters: dict[tuple[tuple[str, ...], int], Counter] = {}

    def ranges(self, name: str, family: int) -> Sequence[Range]:
        """The set's numbers, or its addresses of the family."""
        value_set = self.sets[name]
        return value_set.ranges_v6 if family == 6 and value_set.type == "address" else value_set.ranges

    def has_values(self, name: str, family: int) -> bool:
        """Whether anything of the family can be in the set."""
        return bool(self.sets[name].texts) or bool(self.ranges(name, family))

    def counter(self, names: tuple[str, ...], family: int) -> Counter:
        """Counts over the union of the sets (made once for each combination)."""
        key = (names, family)
        if key not in self._counters:
            if len(names) == 1:
                union = self.ranges(names[0], family)
            else:
                union = merged(item for name in names for item in self.ranges(name, family))
            self._counters[key] = Counter(union)
        return self._counters[key]

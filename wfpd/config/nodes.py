"""What a file says before anything is read into it: scalars, lists and mappings with positions.

Every scalar stays text.  YAML and JSON give the same tree.
"""

from __future__ import annotations

from collections.abc import Iterator
from sys import intern


class Scalar:
    """A text and where it stands.  `plain` is: written without quotes."""

    __slots__ = ("column", "line", "plain", "text")

    def __init__(self, text: str, line: int, column: int, plain: bool) -> None:
        self.text = text
        self.line = line
        self.column = column
        self.plain = plain


class Sequence:
    """A list of nodes.  The items of a long list, or of a section, are made one at a time (`_tape.Items`)."""

    __slots__ = ("column", "items", "line")

    def __init__(self, line: int, column: int) -> None:
        self.items: list[Node] = []
        self.line = line
        self.column = column


class Mapping:
    """Keys, each once, with their values, in file order."""

    __slots__ = ("_places", "column", "entries", "line")

    def __init__(self, line: int, column: int) -> None:
        self.entries: dict[str, Node] = {}
        self._places: list[int] = []
        self.line = line
        self.column = column

    def add(self, key: Scalar, value: Node) -> None:
        """Add an entry whose key is not there yet."""
        self.entries[intern(key.text)] = value
        self._places.append(key.line << 32 | key.column)

    def items(self) -> Iterator[tuple[Scalar, Node]]:
        """Keys with their places, and values."""
        for (name, value), place in zip(self.entries.items(), self._places, strict=True):
            yield Scalar(name, place >> 32, place & 0xFFFFFFFF, False), value

    def key(self, name: str) -> Scalar:
        """The key and where it stands, in linear time: for small mappings and single errors."""
        place = self._places[list(self.entries).index(name)]
        return Scalar(name, place >> 32, place & 0xFFFFFFFF, False)


class Broken:
    """A place whose error has been reported already; readers pass over it silently."""

    __slots__ = ("column", "line")

    def __init__(self, line: int, column: int) -> None:
        self.line = line
        self.column = column


Node = Scalar | Sequence | Mapping | Broken


def is_nothing(node: Node) -> bool:
    """A key without a value (`filters:`, or null in JSON)."""
    return isinstance(node, Scalar) and node.plain and not node.text

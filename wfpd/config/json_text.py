"""JSON to the same tree of nodes: exact numbers, positions, duplicate keys refused.

Numbers keep their text, so integers above 2^53 are exact and `80` and `"80"` are equal where a
number is meant.  Nothing here recurses.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from json import JSONDecodeError
from json.decoder import scanstring  # type: ignore[attr-defined]

from wfpd.config.limits import Limits
from wfpd.config.nodes import Broken, Mapping, Node, Scalar, Sequence
from wfpd.config.report import Speaker, shown

_SPACE = re.compile(r"[ \t\r\n]*")
_WORD = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?(?![0-9.\w])|true\b|false\b|null\b", re.ASCII)


class JsonError(Exception):
    """The text is not JSON."""

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.column = column


def read_json(text: str, speaker: Speaker, limits: Limits) -> Node:
    """The tree.  Raises JsonError; duplicate keys are reported to the speaker."""
    return _Reader(text, speaker, limits).read()


def given_twice(mapping: Mapping, name: str) -> str:
    """The message about a second `name`; in a large mapping without the first one's line, which takes a search."""
    message = f"key {shown(name)} is given twice"
    return message if len(mapping.entries) > 1000 else f"{message}; first on line {mapping.key(name).line}"


class _Reader:
    def __init__(self, text: str, speaker: Speaker, limits: Limits) -> None:
        self.text = text
        self.speaker = speaker
        self.limits = limits
        self.line_starts = [0]
        for match in re.finditer("\n", text):
            self.line_starts.append(match.end())
        self.n_nodes = 0

    def place(self, position: int) -> tuple[int, int]:
        """Line and column, from 1."""
        line = bisect_right(self.line_starts, position)
        return line, position - self.line_starts[line - 1] + 1

    def fail(self, message: str, position: int) -> JsonError:
        """An error at the position, to be raised."""
        return JsonError(message, *self.place(position))

    def read(self) -> Node:
        """One value and nothing after it."""
        root, position = self._read_value(self._skip(0))
        stack: list[tuple[Sequence | Mapping, Scalar | None]] = []
        if isinstance(root, (Sequence, Mapping)):
            position = self._fill(root, position, stack)
        position = self._skip(position)
        if position != len(self.text):
            raise self.fail("there is text after the end of the JSON document", position)
        return root

    def _fill(
        self, root: Sequence | Mapping, position: int, stack: list[tuple[Sequence | Mapping, Scalar | None]]
    ) -> int:
        """Read the inside of `root`, which has been opened; returns the position after its end."""
        current: Sequence | Mapping = root
        first = True
        while True:
            position = self._skip(position)
            closing = "]" if type(current) is Sequence else "}"
            if self.text.startswith(closing, position):
                position += 1
                if not stack:
                    return position
                current, _ = stack.pop()
                first = False
                continue
            if not first:
                if not self.text.startswith(",", position):
                    raise self.fail(f'"," or "{closing}" is missing here', position)
                position = self._skip(position + 1)
            first = False
            key: Scalar | None = None
            if isinstance(current, Mapping):
                key, position = self._read_key(current, position)
            value, position = self._read_value(position)
            if isinstance(current, Sequence):
                current.items.append(value)
            elif key is not None:
                current.add(key, value)
            if isinstance(value, (Sequence, Mapping)):
                stack.append((current, None))
                if len(stack) >= self.limits.nesting:
                    raise self.fail(f"is nested deeper than {self.limits.nesting} levels", position)
                current = value
                first = True

    def _read_key(self, current: Mapping, position: int) -> tuple[Scalar | None, int]:
        """The key and the position of its value; None where the key is given twice."""
        if not self.text.startswith('"', position):
            raise self.fail("a key in double quotes is missing here", position)
        key, position = self._read_string(position)
        position = self._skip(position)
        if not self.text.startswith(":", position):
            raise self.fail('":" is missing here', position)
        position = self._skip(position + 1)
        if isinstance(key, Broken):
            return None, position
        if key.text in current.entries:
            self.speaker.error(key, given_twice(current, key.text))
            return None, position
        return key, position

    def _read_value(self, position: int) -> tuple[Node, int]:
        self.n_nodes += 1
        if self.n_nodes > self.limits.nodes:
            raise self.fail(f"holds more than {self.limits.nodes} values", position)
        character = self.text[position : position + 1]
        if character == '"':
            return self._read_string(position)
        line, column = self.place(position)
        if character == "[":
            return Sequence(line, column), position + 1
        if character == "{":
            return Mapping(line, column), position + 1
        match = _WORD.match(self.text, position)
        if match is None:
            raise self.fail("a JSON value is missing here" if character else "the text ends too early", position)
        word = match.group()
        return Scalar("" if word == "null" else word, line, column, True), match.end()

    def _read_string(self, position: int) -> tuple[Scalar | Broken, int]:
        try:
            text, end = scanstring(self.text, position + 1, True)
        except JSONDecodeError as error:
            raise self.fail(error.msg.lower(), error.pos) from None
        line, column = self.place(position)
        node = Scalar(text, line, column, False)
        if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
            self.speaker.error(node, "a lone surrogate is no text")
            return Broken(line, column), end
        return node, end

    def _skip(self, position: int) -> int:
        match = _SPACE.match(self.text, position)
        return match.end() if match else position

"""Text of a policy file to a tree of nodes with positions, from YAML events or JSON.

YAML is read as *events*: no tag is resolved and no object is made, so `on`, `12:30` and `0x10`
stay what they are.  Anchors, aliases, tags, merge keys, a second document and duplicate keys are errors.
Nothing here recurses.

Most files never come so far: `_tape.pyx` reads what policies are written in, in a fraction of the time and
memory, and leaves to libyaml and `json_text.py` what is rare and what is wrong.
"""

from __future__ import annotations

import re
from typing import Any

import yaml
from yaml.cyaml import CParser  # type: ignore[attr-defined]
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceStartEvent,
    StreamEndEvent,
    StreamStartEvent,
)

from wfpd.config._tape import tape_of
from wfpd.config.json_text import JsonError, given_twice, read_json
from wfpd.config.limits import Limits
from wfpd.config.nodes import Broken, Mapping, Node, Scalar, Sequence, is_nothing
from wfpd.config.report import Report, Speaker, shown
from wfpd.errors import Location

_COLON_WORD = re.compile(r"""(?:^|[\[,{\s])(:[^\s,\]}"']*|[0-9A-Fa-f]+:[^\s,\]}"']*:)(?=\s*(?:[,\]}]|$))""")
"""An unquoted word of a list that begins or ends with a colon."""


class Unparsable(Exception):
    """The text is not YAML or JSON; the reason has been reported."""


def parse(data: bytes, path: str, report: Report, limits: Limits) -> Node:
    """The tree of one file.  Raises Unparsable after reporting why there is none."""
    speaker = Speaker(report, path)
    data = data.removeprefix(b"\xef\xbb\xbf")
    if not data.isascii():
        _check_encoding(data, path, report)
    is_json = path.endswith(".json")
    tape = tape_of(data, is_json or data.lstrip(b" \t\r\n").startswith(b"{"), limits.nodes, limits.nesting)
    if tape is not None:
        return tape.root()
    text = data.decode()
    if is_json:
        return _parse_json(text, speaker, limits)
    if text.lstrip(" \t\r\n").startswith("{"):
        # A flow mapping of YAML may begin so as well; its reader speaks if it is neither.
        trial = Report(limits.problems)
        try:
            root = read_json(text, Speaker(trial, path), limits)
        except JsonError:
            return _parse_yaml(text, speaker, limits)
        report.errors += trial.errors
        return root
    return _parse_yaml(text, speaker, limits)


def _check_encoding(data: bytes, path: str, report: Report) -> None:
    try:
        data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        report.error("is not UTF-8 text", Location(path, line, column))
        raise Unparsable from None


def _parse_json(text: str, speaker: Speaker, limits: Limits) -> Node:
    try:
        return read_json(text, speaker, limits)
    except JsonError as error:
        speaker.report.error(error.message, Location(speaker.file, error.line, error.column))
        raise Unparsable from None


def _parse_yaml(text: str, speaker: Speaker, limits: Limits) -> Node:
    builder = _YamlBuilder(speaker, limits)
    try:
        root = builder.build(CParser(text))
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1 if isinstance(error.position, int) else 0
        code = error.character if isinstance(error.character, int) else ord(error.character[:1] or "\0")
        speaker.report.error(f"character U+{code:04X} is not allowed", Location(speaker.file, line))
        raise Unparsable from None
    except yaml.MarkedYAMLError as error:
        _report_syntax(error, text, speaker, limits)
        raise Unparsable from None
    except yaml.YAMLError as error:
        speaker.report.error(f"is not YAML: {shown(str(error))}", Location(speaker.file))
        raise Unparsable from None
    if root is None:
        speaker.report.error("is empty", Location(speaker.file, 1), hint="the least is: version: 1")
        raise Unparsable
    return root


def _report_syntax(error: yaml.MarkedYAMLError, text: str, speaker: Speaker, limits: Limits) -> None:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line, mark.column) if mark else (0, 0)
    message = error.problem or "is not YAML"
    if "nesting depth" in message:  # libyaml's own limit, in versions that have one, is met before ours.
        message = f"is nested deeper than {limits.nesting} levels"
    hint = _colon_hint(text, line)
    if mark and text[mark.index : mark.index + 1] == "\t":
        hint = "indent with spaces, not tabs"
    speaker.report.error(message, Location(speaker.file, line + 1, column + 1), hint=hint)


def _colon_hint(text: str, line: int) -> str:
    """The hint for an unquoted `::1` or `2001:db8::` on the line (counted from 0)."""
    start = 0
    for _ in range(line):
        start = text.find("\n", start) + 1
        if not start:
            return ""
    end = text.find("\n", start)
    match = _COLON_WORD.search(text[start : end if end >= 0 else len(text)][:4096])
    return quote_hint(match.group(1)) if match else ""


def quote_hint(word: str) -> str:
    """What to do about a word that begins or ends with a colon."""
    return f"a value that begins or ends with a colon has to be quoted: {shown(word)}"


class _YamlBuilder:
    """Builds the tree from events, with an explicit stack."""

    def __init__(self, speaker: Speaker, limits: Limits) -> None:
        self.speaker = speaker
        self.limits = limits

    def build(self, parser: CParser) -> Node | None:
        """The root node, or None of an empty document."""
        documents = 0
        root: Node | None = None
        while True:
            event = parser.get_event()
            kind = type(event)
            if kind is StreamEndEvent or event is None:
                return root
            if kind is DocumentStartEvent:
                documents += 1
                if documents > 1:
                    self._error(event, "a second document begins here; a file holds one")
                    return root
                root = self._read_document(parser)
            elif kind is not StreamStartEvent:
                continue

    def _read_document(self, parser: CParser) -> Node | None:
        get_event = parser.get_event
        stack: list[Sequence | Mapping] = []
        keys: list[Scalar | Broken | None] = []
        n_nodes, at_most, deepest = 0, self.limits.nodes, self.limits.nesting
        while True:
            event: Any = get_event()
            kind = type(event)
            mark = event.start_mark
            line, column = mark.line + 1, mark.column + 1
            node: Node
            if kind is ScalarEvent:
                node = Scalar(event.value, line, column, not event.style)
                if event.anchor is not None or event.tag is not None:
                    self._refuse_properties(event)
            elif kind is MappingStartEvent or kind is SequenceStartEvent:
                node = Mapping(line, column) if kind is MappingStartEvent else Sequence(line, column)
                if event.anchor is not None or event.tag is not None:
                    self._refuse_properties(event)
            elif kind is AliasEvent:
                self._error(event, f"aliases are not read: *{event.anchor}", "write the value again, or use a set")
                node = Broken(line, column)
            else:  # The end of a mapping or list.
                node = stack.pop()
                keys.pop()
                if not stack:
                    get_event()  # DocumentEnd
                    return node
                continue
            n_nodes += 1
            if n_nodes > at_most:
                self._error(event, f"holds more than {at_most} values")
                raise Unparsable
            if stack:
                parent = stack[-1]
                if type(parent) is Sequence:
                    parent.items.append(node)
                elif (key := keys[-1]) is None:
                    keys[-1] = self._take_key(parent, node)  # type: ignore[arg-type]
                else:
                    keys[-1] = None
                    if type(key) is Scalar:
                        parent.add(key, node)  # type: ignore[union-attr]
            if kind is ScalarEvent or kind is AliasEvent:
                if not stack:
                    get_event()  # DocumentEnd
                    return None if is_nothing(node) else node
                continue
            stack.append(node)  # type: ignore[arg-type]
            keys.append(None)
            if len(stack) > deepest:
                self._error(event, f"is nested deeper than {deepest} levels")
                raise Unparsable

    def _take_key(self, parent: Mapping, node: Node) -> Scalar | Broken:
        """The key to use; Broken where its value has to be dropped."""
        if type(node) is not Scalar:
            if type(node) is not Broken:
                self.speaker.error(node, "a key has to be a plain word")
            return Broken(node.line, node.column)
        if node.text in parent.entries:
            self.speaker.error(node, given_twice(parent, node.text))
            return Broken(node.line, node.column)
        if node.plain and node.text == "<<":
            self.speaker.error(node, "merge keys are not read", "write the entries out")
            return Broken(node.line, node.column)
        return node

    def _refuse_properties(self, event: Any) -> None:
        if event.anchor is not None:
            self._error(event, f"anchors are not read: &{event.anchor}", "write the value again, or use a set")
        if event.tag is not None:
            self._error(event, f"tags are not read: {shown(event.tag)}", "leave it out; the field knows its type")

    def _error(self, event: Any, message: str, hint: str = "") -> None:
        mark = event.start_mark
        self.speaker.report.error(message, Location(self.speaker.file, mark.line + 1, mark.column + 1), hint=hint)

"""The tape reads what the slow readers read, or nothing: the same texts, the same places."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from wfpd.config._tape import Items, tape_of
from wfpd.config.document import Unparsable, _parse_yaml
from wfpd.config.json_text import JsonError, read_json
from wfpd.config.limits import DEFAULT
from wfpd.config.nodes import Mapping, Node, Scalar, Sequence
from wfpd.config.report import Report, Speaker

WORDS = (
    "a",
    "b",
    "key",
    "x y",
    "80",
    "::1",
    "a:b",
    "-x",
    "a#b",
    "é",
    "—",
    '"q"',
    '"a: b"',
    "'s'",
    "'it''s'",
    r'"\"\n\u00e9\\"',
)
TAILS = ("", "", "", " # c", " ", "\n", "\n# c", "\n      # d", "\r")
PIECES = (
    "a", " ", "\n", "\n  ", "- ", "-", ": ", ":", "#", " # c", "[", "]", "{", "}", ", ", ",", '"q"', "'s'", '"', "::1",
    "2001:db8::", "?", "? ", "---", "...", "%", "|", ">", "&a", "*a", "!t", "<<", "\t", "\r\n", "-1", "~", "@x", "a b",
    "\\n", "null", '"x":1', "\u2028", "\u0085", "\ufeff", "\ufffe", "é",
)  # fmt: skip


def plain(node: Node) -> Any:
    """A tree as nested tuples."""
    if isinstance(node, Scalar):
        return node.text, node.line, node.column, node.plain
    if isinstance(node, Mapping):
        return node.line, node.column, [(k.text, k.line, k.column, plain(v)) for k, v in node.items()]
    assert isinstance(node, Sequence)
    return node.line, node.column, [plain(item) for item in node.items]


def fast(data: bytes, is_json: bool = False, nodes: int = DEFAULT.nodes, nesting: int = DEFAULT.nesting) -> Any:
    tape = tape_of(data, is_json, nodes, nesting)
    return None if tape is None else plain(tape.root())


def slow(data: bytes, is_json: bool = False) -> Any:
    report = Report(1000)
    speaker = Speaker(report, "f")
    try:
        read = read_json if is_json else _parse_yaml
        root = read(data.decode(), speaker, DEFAULT)
    except (Unparsable, JsonError):
        return None
    return None if report.errors else plain(root)


class Writer:
    """Writes YAML that is nearly always sound, in every layout that people use."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def block(self, indent: int, depth: int) -> str:
        pad = " " * indent
        if self.rng.random() < 0.5:
            keys = self.rng.sample(WORDS, self.rng.randint(1, 4))
            space = [" " if self.rng.random() < 0.1 else "" for _ in keys]
            return "\n".join(
                f"{pad}{key}{gap}:{self.value(indent, depth, True)}" for key, gap in zip(keys, space, strict=True)
            )
        return "\n".join(f"{pad}-{self.value(indent, depth, False)}" for _ in range(self.rng.randint(1, 4)))

    def flow(self, depth: int) -> str:
        kind = self.rng.random()
        if depth <= 0 or kind < 0.5:
            return self.rng.choice(WORDS)
        space = self.rng.choice(("", " ", "\n ", " # c\n  "))
        if kind < 0.75:
            inside = f",{space}".join(self.flow(depth - 1) for _ in range(self.rng.randint(0, 3)))
            return f"[{space}{inside}{space}]"
        keys = self.rng.sample(WORDS, self.rng.randint(0, 3))
        colon = self.rng.choice((": ", ":", " : "))
        return "{" + space + f",{space}".join(f"{key}{colon}{self.flow(depth - 1)}" for key in keys) + space + "}"

    def lines(self, indent: int) -> str:
        """A text over several lines."""
        pad = " " * (indent + self.rng.choice((0, 1, 2, 2, 4)))
        lines = [
            self.rng.choice((pad, pad, pad, pad + " ", "")) + self.rng.choice(("a", "a: b", "# c", "- x", ""))
            for _ in range(3)
        ]
        return (
            self.rng.choice(("|", ">", "|-", ">-", "|+", ">2", "| # c"))
            + "\n"
            + "\n".join(lines)
            + self.rng.choice(("", "\n"))
        )

    def value(self, indent: int, depth: int, in_mapping: bool) -> str:
        kind, tail = self.rng.random(), self.rng.choice(TAILS)
        if self.rng.random() < 0.05:
            return " " + self.lines(indent)
        if kind < 0.1:
            return tail
        if kind < 0.45 or depth <= 0:
            return f" {self.rng.choice(WORDS)}{tail}"
        if kind < 0.6:
            return f" {self.flow(3)}{tail}"
        if not in_mapping and self.rng.random() < 0.7:
            return " " + self.block(indent + 2, depth - 1).lstrip(" ")
        deeper = self.rng.choice((0, 1, 2, 2, 2, 4) if in_mapping else (1, 2, 2, 4))
        return f"{tail}\n{self.block(indent + deeper, depth - 1)}"


def written(rng: random.Random) -> str:
    """A text that may be YAML; some are bent."""
    if rng.random() < 0.3:
        return "".join(rng.choice(PIECES) for _ in range(rng.randint(1, 14)))
    text = Writer(rng).block(0, 3)
    if rng.random() < 0.3:
        at = rng.randrange(len(text) + 1)
        text = text[:at] + rng.choice(PIECES) + text[at + rng.randint(0, 2) :]
    return text


@pytest.mark.parametrize("seed", range(8))
def test_what_the_tape_reads_of_yaml_is_what_libyaml_reads(seed: int) -> None:
    rng = random.Random(seed)
    read = 0
    for _ in range(1500):
        data = written(rng).encode()
        found = fast(data)
        if found is not None:
            read += 1
            assert found == slow(data), data
    assert read > 300


def value(rng: random.Random, depth: int) -> Any:
    kind = rng.randrange(9 if depth else 7)
    if kind == 7:
        return [value(rng, depth - 1) for _ in range(rng.randint(0, 4))]
    if kind == 8:
        return {rng.choice(WORDS): value(rng, depth - 1) for _ in range(rng.randint(0, 4))}
    return (1 << 60, -5, 1.5e300, None, True, "a\n\"\u00e9\u2028'' \\", rng.choice(WORDS))[kind]


@pytest.mark.parametrize("seed", range(4))
def test_what_the_tape_reads_of_json_is_what_the_slow_reader_reads(seed: int) -> None:
    rng = random.Random(seed)
    read = 0
    for _ in range(1000):
        text = json.dumps(value(rng, 4), ensure_ascii=rng.random() < 0.5, indent=rng.choice((None, 1)))
        if rng.random() < 0.3:
            at = rng.randrange(len(text) + 1)
            text = text[:at] + rng.choice(PIECES) + text[at + rng.randint(0, 2) :]
        data = text.encode()
        found = fast(data, True)
        if found is not None:
            read += 1
            assert found == slow(data, True), data
    assert read > 500


@pytest.mark.parametrize(
    "text",
    [
        "a: &x 1", "a: *x", "a: !!str 1", "<<: 1", "a: 1\na: 2", "{a: 1, a: 2}", "a: 1\n---\nb: 2", "a: |+\n  b", "? a",
        "a: b\n  c", '"a\\n": 1', "a: [::1]", "a: b: c", "a:\n  b: 1\n c: 2", "", "# nothing", "\ta: 1",
    ],
)  # fmt: skip
def test_what_is_rare_or_wrong_is_left_alone(text: str) -> None:
    assert fast(text.encode()) is None


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', '"\\ud800"', "01", "[1,]", '{"a": }', "nul", '"\\x"', "[1] 2"])
def test_what_is_no_json_is_left_alone(text: str) -> None:
    assert fast(text.encode(), True) is None


def test_a_thousand_keys_of_which_two_are_one_are_left_alone() -> None:
    keys = [f"k{number}: 1\n" for number in range(1000)]
    assert fast("".join(keys).encode()) is not None
    assert fast("".join([*keys, "k77: 1\n"]).encode()) is None


def test_limits_of_values_and_of_nesting_hold() -> None:
    assert fast(b"[a, b]", nodes=3) is not None
    assert fast(b"[a, b]", nodes=2) is None
    assert fast(b"[[a]]", nesting=2) is not None
    assert fast(b"[[a]]", nesting=1) is None
    assert fast(b"[" * 1_000_000, True) is None
    assert fast(b"- " * 1_000_000) is None


def test_a_section_makes_its_items_one_at_a_time() -> None:
    tape = tape_of(b"a: [x, [y], {z: 1}]\n", False, 100, 10)
    assert tape is not None
    root = tape.root()
    assert isinstance(root, Mapping)
    section = root.entries["a"]
    assert isinstance(section, Sequence)
    items = section.items
    assert isinstance(items, Items)
    assert len(items) == 3 and [plain(item) for item in items] == [plain(items[i]) for i in range(3)]
    with pytest.raises(IndexError):
        items[3]


def test_columns_are_counted_in_characters() -> None:
    data = '{"é": "ü", "ö": [1, "ß"],\n "ä": 2}'.encode()
    assert fast(data, True) == slow(data, True)

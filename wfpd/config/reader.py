"""Typed access to nodes: each reader returns the value, or None after reporting what is wrong."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable
from typing import TypeVar

from wfpd.config.limits import Limits
from wfpd.config.nodes import Broken, Mapping, Node, Scalar, Sequence, is_nothing
from wfpd.config.report import Speaker, shown
from wfpd.config.scalars import BadValue, boolean, guid, integer, is_integer, is_printable
from wfpd.model.policy import Word

T = TypeVar("T")
_DECIMAL = re.compile(r"(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?", re.ASCII)
WORDS = {"permit": Word.PERMIT, "block": Word.BLOCK}


def kind_of(node: Node) -> str:
    """What a node is, for messages."""
    if isinstance(node, Scalar):
        return "nothing" if is_nothing(node) else shown(node.text, 40)
    return "a list" if isinstance(node, Sequence) else "a mapping"


def scalar(speaker: Speaker, node: Node, what: str) -> Scalar | None:
    """The node as a scalar."""
    if isinstance(node, Scalar):
        return node
    if not isinstance(node, Broken):
        speaker.error(node, f"{what}: one value is needed, not {kind_of(node)}", code="FWP_E_TYPE_MISMATCH")
    return None


def mapping(speaker: Speaker, node: Node, what: str) -> Mapping | None:
    """The node as a mapping."""
    if isinstance(node, Mapping):
        return node
    if not isinstance(node, Broken):
        speaker.error(node, f"{what}: a mapping is needed, not {kind_of(node)}")
    return None


def sequence(speaker: Speaker, node: Node, what: str) -> list[Node]:
    """The node's items; empty after an error."""
    if isinstance(node, Sequence):
        return node.items
    if not isinstance(node, Broken):
        speaker.error(node, f"{what}: a list is needed, not {kind_of(node)}")
    return []


def items(node: Node) -> list[Node]:
    """A list's items, or the node itself as the only one."""
    return node.items if isinstance(node, Sequence) else [node]


def value(speaker: Speaker, node: Node, what: str, read: Callable[[str], T], code: str = "") -> T | None:
    """The scalar read by `read`, which raises BadValue; `code` overrides the error's code."""
    found = scalar(speaker, node, what)
    if found is None:
        return None
    try:
        return read(found.text)
    except BadValue as bad:
        speaker.error(node, f"{what}: {bad.message}", bad.hint, code or bad.code)
        return None


def number(speaker: Speaker, node: Node, what: str, low: int, high: int, code: str = "") -> int | None:
    """An integer within bounds."""
    return value(speaker, node, what, lambda text: integer(text, high, low), code)


def flag(speaker: Speaker, node: Node | None, what: str, default: bool) -> bool:
    """A boolean, with its default."""
    if node is None:
        return default
    found = value(speaker, node, what, boolean)
    return default if found is None else found


def choice(speaker: Speaker, node: Node, what: str, known: Iterable[str], code: str = "") -> str | None:
    """One of the known words."""
    found = scalar(speaker, node, what)
    if found is None:
        return None
    words = list(known)
    if found.text in words:
        return found.text
    hint = speaker.report.nearest(found.text, words) or f"one of: {', '.join(words)}"
    speaker.error(node, f"{what}: {shown(found.text)} is not known", hint, code or "FWP_E_INVALID_ENUMERATOR")
    return None


def word(speaker: Speaker, node: Node, what: str, default: Word) -> Word:
    """`permit` or `block`."""
    found = choice(speaker, node, what, WORDS)
    return WORDS[found] if found else default


def text(speaker: Speaker, node: Node, what: str, limits: Limits) -> str | None:
    """A non-empty text without control characters."""
    found = scalar(speaker, node, what)
    if found is None:
        return None
    if not found.text:
        speaker.error(node, f"{what}: is empty")
    elif len(found.text.encode()) > limits.text_length:
        speaker.error(node, f"{what}: is longer than {limits.text_length} bytes")
    elif any(ord(letter) < 32 or ord(letter) == 127 for letter in found.text):
        speaker.error(node, f"{what}: holds a control character", code="FWP_E_INVALID_PARAMETER")
    else:
        return found.text
    return None


def name(speaker: Speaker, node: Node, limits: Limits, what: str = "name") -> str | None:
    """A name: printable ASCII, at most 128 characters."""
    found = scalar(speaker, node, what)
    if found is None:
        return None
    if not found.text:
        speaker.error(node, f"{what}: is empty", code="FWP_E_NULL_DISPLAY_NAME")
    elif len(found.text) > limits.name_length:
        speaker.error(node, f"{what}: is longer than {limits.name_length} characters", code="FWP_E_INVALID_PARAMETER")
    elif not is_printable(found.text):
        speaker.error(node, f"{what}: {shown(found.text)} is not printable ASCII", code="FWP_E_INVALID_PARAMETER")
    else:
        return found.text
    return None


def description(speaker: Speaker, node: Node | None, limits: Limits) -> str:
    """A description; may be empty."""
    if node is None or is_nothing(node):
        return ""
    found = scalar(speaker, node, "description")
    if found is None:
        return ""
    if len(found.text.encode()) > limits.text_length:
        speaker.error(node, f"description: is longer than {limits.text_length} bytes")
        return ""
    return found.text


def key(speaker: Speaker, node: Node | None) -> uuid.UUID | None:
    """An explicit key, or None."""
    return None if node is None else value(speaker, node, "key", guid, "FWP_E_INVALID_PARAMETER")


def known_keys(speaker: Speaker, node: Mapping, known: Iterable[str], what: str) -> None:
    """Report every key that is not known, with the nearest one that is."""
    allowed = known if isinstance(known, frozenset) else frozenset(known)
    if node.entries.keys() <= allowed:
        return
    for key_node, _ in node.items():
        if key_node.text not in allowed:
            hint = speaker.report.nearest(key_node.text, sorted(allowed)) or f"known: {', '.join(sorted(allowed))}"
            speaker.error(key_node, f"{what}: unknown key {shown(key_node.text)}", hint)


def natural(node: Node) -> object:
    """Free data (callout options): plain true, false, integers and decimals are typed, the rest is text."""
    if isinstance(node, Sequence):
        return [natural(item) for item in node.items]
    if isinstance(node, Mapping):
        return {entry: natural(item) for entry, item in node.entries.items()}
    if isinstance(node, Broken):
        return None
    return _natural_scalar(node)


def _natural_scalar(node: Scalar) -> object:
    if not node.plain:
        return node.text
    if node.text in ("", "null"):
        return None
    if node.text in ("true", "false"):
        return node.text == "true"
    unsigned = node.text.removeprefix("-")
    if is_integer(unsigned):
        return int(node.text, 0)
    return float(node.text) if len(node.text) < 64 and _DECIMAL.fullmatch(unsigned) else node.text

"""Reading the options of a callout: what a file may say, or a ValueError that names the option."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def whole(name: str, value: object, low: int, high: int) -> int:
    """A whole number from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{name}: {_shown(value)} is no whole number from {low} to {high}")
    return value


def word(name: str, value: object, words: Sequence[str]) -> str:
    """One of `words`."""
    if not isinstance(value, str) or value not in words:
        raise ValueError(f"{name}: {_shown(value)} is none of {', '.join(words)}")
    return value


def flag(name: str, value: object) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ValueError(f"{name}: {_shown(value)} is neither true nor false")
    return value


def texts(name: str, value: object) -> list[str]:
    """A text, or a list of texts."""
    found: list[Any] = [value] if isinstance(value, str) else list(value) if isinstance(value, list | tuple) else []
    if not found and value not in ([], ()):
        raise ValueError(f"{name}: {_shown(value)} is neither a text nor a list of texts")
    for item in found:
        if not isinstance(item, str):
            raise ValueError(f"{name}: {_shown(item)} is no text; write it in quotes")
    return found


def lines(name: str, path: object) -> list[str]:
    """The lines of a UTF-8 file that say something: without what follows a #, and without blanks around them.

    The path is absolute: a daemon's working directory means nothing.
    """
    if not isinstance(path, str) or not path.startswith("/"):
        raise ValueError(f"{name}: {_shown(path)} is no absolute path of a file")
    try:
        with open(path, encoding="utf-8") as file:
            return [text for line in file if (text := line.partition("#")[0].strip())]
    except (OSError, UnicodeError) as error:
        raise ValueError(f"{name}: {path}: {error}") from None


def _shown(value: object) -> str:
    return ascii(value)[:80]

"""Reading the options of a callout: what a file may say, or a ValueError that names the option."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Sequence
from typing import Any

MOST_BYTES = 64 << 20
"""Of a file of lines."""


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

    The path is absolute: a daemon's working directory means nothing.  It is a regular file of at most MOST_BYTES.
    """
    if not isinstance(path, str) or not path.startswith("/"):
        raise ValueError(f"{name}: {_shown(path)} is no absolute path of a file")
    try:
        text = _read(path).decode("utf-8")
    except (OSError, ValueError) as error:
        raise ValueError(f"{name}: {path}: {error}") from None
    return [said for line in io.StringIO(text, None) if (said := line.partition("#")[0].strip())]


def _read(path: str) -> bytes:
    # Opened so that a FIFO is not waited for.
    with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("it is no regular file")
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise ValueError(f"it has more than {MOST_BYTES} bytes")
    return data


def _shown(value: object) -> str:
    return ascii(value)[:80]

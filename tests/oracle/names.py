"""Host name lists, entry by entry, from what the documentation says of them."""

from __future__ import annotations

from collections.abc import Iterable


def plain(name: str) -> str:
    """Without case and without one dot at the end."""
    return name.lower().removesuffix(".")


def speaks_of(entry: str, name: str) -> bool:
    """Whether one entry speaks of a name."""
    entry, name = plain(entry), plain(name)
    if entry.startswith("*."):
        return name.endswith(entry[1:]) and name != entry[1:]
    if entry.startswith("."):
        return name.endswith(entry) or name == entry[1:]
    return name == entry


def listed(entries: Iterable[str], name: str) -> str | None:
    """The bare name of the entry that is told: the longest that speaks of the name."""
    found = [plain(entry).lstrip("*.") for entry in entries if speaks_of(entry, name)]
    return max(found, key=len, default=None)

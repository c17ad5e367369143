"""Which filters have a series of their own, and what is counted in `filter="other"`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Key = tuple[str, str, str]
"""Filter, layer's full name, action."""

OTHER = "other"


class HitLedger:
    """Turns the engine's cumulative hits into exported ones.

    A name once exported stays; free places up to `limit` go to the policy's filters in reading
    order when a generation is seen first.  Whatever a filter hits while it has no place is
    counted in `other` for good, so no exported series ever falls.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._named: set[str] = set()
        self._generation: int | None = None
        self._seen: dict[Key, int] = {}
        self._exported: dict[Key, int] = {}

    def update(self, generation: int, names: Sequence[str], hits: Mapping[Key, int]) -> dict[Key, int]:
        """Take one reading; return every exported series.  Not safe from two threads at once."""
        if generation != self._generation:
            self._admit(names)
            self._generation = generation
        for key, count in hits.items():
            name, layer, action = key
            label = (name if name in self._named else OTHER, layer, action)
            seen = self._seen.get(key, 0)
            # A filter that changed under its name counts from 0 again: what is less is all new.
            grown = count - seen if count >= seen else count
            self._exported[label] = self._exported.get(label, 0) + grown
        self._seen = dict(hits)  # One that is not there now begins at 0 when it comes back.
        return dict(self._exported)

    def _admit(self, names: Sequence[str]) -> None:
        for name in names:
            if len(self._named) >= self._limit:
                return
            self._named.add(name)

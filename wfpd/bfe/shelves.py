"""A mapping of keys that is never edited, of which another with few changes is made at the cost of those changes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Generic, TypeVar

Value = TypeVar("Value")
N_SHELVES = 256
"""By the first byte of a key: one of 65,536 entries has about 256."""


class Shelves(Mapping[bytes, Value], Generic[Value]):
    """Keys are of one byte at least, and their first bytes are spread evenly: heads of GUIDs."""

    __slots__ = ("_length", "_shelves")

    def __init__(self, shelves: tuple[dict[bytes, Value], ...] = ({},) * N_SHELVES, length: int = 0) -> None:
        self._shelves = shelves
        self._length = length

    def __getitem__(self, key: bytes) -> Value:
        return self._shelves[key[0]][key]

    def __iter__(self) -> Iterator[bytes]:
        for shelf in self._shelves:
            yield from shelf

    def __len__(self) -> int:
        return self._length

    def changed(self, added: Mapping[bytes, Value], removed: Iterable[bytes] = ()) -> Shelves[Value]:
        """Without those removed, and with those added, which may be the same."""
        shelves, fresh = list(self._shelves), set()

        def shelf_of(key: bytes) -> dict[bytes, Value]:
            if key[0] not in fresh:
                fresh.add(key[0])
                shelves[key[0]] = dict(shelves[key[0]])
            return shelves[key[0]]

        length = self._length
        for key in removed:
            if key in self._shelves[key[0]]:
                length -= shelf_of(key).pop(key, None) is not None
        for key, value in added.items():
            shelf = shelf_of(key)
            length += key not in shelf
            shelf[key] = value
        return Shelves(tuple(shelves), length)

"""Enumerations that are under way: snapshots that are read in pages (FwpmFilterCreateEnumHandle0)."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from wfpd.errors import FwpError

MOST = 64
"""Of all sessions; the one that was used longest ago makes room."""
IDLE_SECONDS = 120.0
PAGE = 200
"""Objects of a page, where nothing else is asked for."""
LARGEST_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Page:
    """One page of an enumeration."""

    objects: list[dict[str, Any]]
    cursor: str | None
    """Gives the next page; None: this is the last one."""
    total: int
    """Objects of all pages."""


@dataclass(slots=True)
class _Cursor:
    session: object
    places: Sequence[Any]
    show: Callable[[Any], dict[str, Any]]
    at: int
    used: float


class Cursors:
    """All enumerations that are under way."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._all: OrderedDict[str, _Cursor] = OrderedDict()

    def first(
        self, session: object, places: Sequence[Any], show: Callable[[Any], dict[str, Any]], size: int = PAGE
    ) -> Page:
        """The first page of `places`, each shown by `show` when its page is read."""
        return self._page(secrets.token_hex(8), _Cursor(session, places, show, 0, self._clock()), size)

    def next(self, session: object, name: str, size: int = PAGE) -> Page:
        """The next page.  FWP_E_NOT_FOUND if there is no such cursor (any more)."""
        with self._lock:
            self._forget_idle()
            cursor = self._all.get(name)
            if cursor is None or cursor.session is not session:
                raise FwpError("FWP_E_NOT_FOUND", "there is no such cursor",
                               hint="a cursor is its session's, and goes when it is not used for "
                               f"{IDLE_SECONDS:g} s")  # fmt: skip
            del self._all[name]
        return self._page(name, cursor, size)

    def _page(self, name: str, cursor: _Cursor, size: int) -> Page:
        end = min(cursor.at + size, len(cursor.places))
        objects = [cursor.show(place) for place in cursor.places[cursor.at : end]]
        total, more = len(cursor.places), end < len(cursor.places)
        if more:
            cursor.at, cursor.used = end, self._clock()
            with self._lock:
                self._all[name] = cursor
                while len(self._all) > MOST:
                    self._all.popitem(last=False)
        return Page(objects, name if more else None, total)

    def close(self, session: object, name: str | None = None) -> bool:
        """Let one of a session's cursors go, or all; whether there was one."""
        with self._lock:
            gone = [key for key, one in self._all.items() if one.session is session and name in (None, key)]
            for key in gone:
                del self._all[key]
            return bool(gone)

    def forget_idle(self) -> None:
        """Let those go that nobody uses."""
        with self._lock:
            self._forget_idle()

    def _forget_idle(self) -> None:
        oldest = self._clock() - IDLE_SECONDS
        while self._all and next(iter(self._all.values())).used < oldest:
            self._all.popitem(last=False)

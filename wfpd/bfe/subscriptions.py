"""Who is told of objects that come and go: best effort, in order, never a session's own changes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from wfpd.bfe.objects import Change, Event, Kind

Notify = Callable[[Mapping[str, Any]], bool]
"""Takes one notification; False where there is no room.  Never waits."""
MOST = 16
"""Subscriptions of one session."""


@dataclass(slots=True)
class Subscription:
    """What one subscriber wants to know."""

    number: int
    session: object
    notify: Notify
    kinds: frozenset[Kind]
    events: frozenset[Event]
    provider: str | None = None
    name: str | None = None
    dropped: int = 0
    """Notifications that found no room since the last that did."""

    def wants(self, change: Change) -> bool:
        """Whether the change is one of those."""
        return (
            change.kind in self.kinds
            and change.event in self.events
            and self.provider in (None, change.provider)
            and self.name in (None, change.name)
        )

    def tell(self, change: Change, generation: int) -> None:
        """Pass it on, or count it as dropped."""
        if not self.settle() or not self.notify(_notice(self.number, change, generation)):
            self.dropped += 1

    def settle(self) -> bool:
        """Say how many were dropped; whether nothing is left to be said."""
        if self.dropped and self.notify(
            {"subscription": self.number, "error": "FWP_E_NOTIFICATION_DROPPED", "dropped": self.dropped}
        ):
            self.dropped = 0
        return not self.dropped


def _notice(number: int, change: Change, generation: int) -> dict[str, Any]:
    return {
        "subscription": number, "change": change.event.value, "type": change.kind.plural, "key": str(change.key),
        "id": change.id, "name": change.name, "provider": change.provider or None, "generation": generation,
    }  # fmt: skip


class Subscriptions:
    """All of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: tuple[Subscription, ...] = ()
        self._next = 1

    def add(self, session: object, notify: Notify, kinds: Iterable[Kind], events: Iterable[Event],
            provider: str | None, name: str | None) -> int:  # fmt: skip
        """A new subscription; its number.  OverflowError where the session has too many."""
        with self._lock:
            if sum(one.session is session for one in self._all) >= MOST:
                raise OverflowError
            made = Subscription(self._next, session, notify, frozenset(kinds), frozenset(events), provider, name)
            self._all, self._next = (*self._all, made), self._next + 1
            return made.number

    def remove(self, session: object, number: int | None = None) -> bool:
        """End one of a session's subscriptions, or all; whether there was one."""
        with self._lock:
            left = tuple(one for one in self._all if one.session is not session or number not in (None, one.number))
            found, self._all = len(left) < len(self._all), left
            return found

    def interested_in(self, kind: Kind) -> bool:
        """Whether anybody is told of objects of this kind."""
        return any(kind in one.kinds for one in self._all)

    def tell(self, changes: Iterable[Change], author: object, generation: int) -> None:
        """Tell everybody but the author; called for one change of the engine after the other."""
        wanting = [one for one in self._all if one.session is not author]
        for change in changes if wanting else ():
            for one in wanting:
                if one.wants(change):
                    one.tell(change, generation)

    def settle(self) -> None:
        """Tell those who have room now how many were dropped."""
        for one in self._all:
            one.settle()

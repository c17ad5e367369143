"""What one user's connections may take of the daemon: places, time of a processor, room for what waits.

Nothing here reads a clock or a socket: times are the caller's, in seconds.
"""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass

MAX_CONNECTIONS = 128
"""In all."""
RESERVED = 32
"""Of them, places that only administrators get."""
MAX_OF_USER = 32
"""Connections of one user who does not administer."""
SUBSCRIBERS = 16
"""Connections of users who do not administer that may follow events."""
SUBSCRIBERS_OF_USER = 4
CALLS = 3
"""Calls without waiting that run at once for all who do not administer."""
CALLS_OF_USER = 2
WAITING_BYTES = 8 * 1024 * 1024
"""Notifications that may wait for one user's connections, together."""
SHARE, BURST = 0.2, 0.5
"""Of one processor, what all who do not administer take together, and the seconds they may take at once."""
SHARE_OF_USER, BURST_OF_USER = 0.1, 0.25
REMEMBERED = 256
"""Users whose accounts are kept, where not more have connections."""
LINE_COST = 100e-6
"""Seconds that one request costs about, apart from what its method does."""

ARRIVALS, ARRIVALS_AT_ONCE = 2000, 256
"""Connections a second, and at once, that are taken of users who do not administer: who comes without end waits in the
kernel, and takes no processor."""

AHEAD = 0.05
"""Seconds that are charged while a call that may wait for others runs, so that not many of one user begin at once."""


class Budget:
    """A share of one processor.  What is used beyond it has to be waited for."""

    def __init__(self, share: float, burst: float) -> None:
        """`share` of a processor's time; `burst` seconds of it may be used ahead."""
        self._share = share
        self._ahead = burst / share
        self._paid_at = 0.0

    def charge(self, cost: float, now: float) -> None:
        """So many seconds were used; below 0: fewer than were charged."""
        self._paid_at = max(self._paid_at, now) + cost / self._share

    def wait(self, now: float) -> float:
        """Seconds until more may be used; 0 = now."""
        return max(0.0, self._paid_at - now - self._ahead)


class Room:
    """Bytes that may wait, taken and given back by any thread."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._lock = threading.Lock()

    def take(self, size: int) -> bool:
        """False: there is no room for so many."""
        with self._lock:
            if size > self._left:
                return False
            self._left -= size
            return True

    def give(self, size: int) -> None:
        """So many do not wait any more."""
        with self._lock:
            self._left += size


class Account:
    """One user, while they have connections.  For the event loop's thread, but for `room`."""

    def __init__(self, uid: int, administers: bool, shared: Budget) -> None:
        self.uid = uid
        self.administers = administers
        self.n_connections = 0
        self.n_subscribers = 0
        self.calls = asyncio.Semaphore(MAX_CONNECTIONS if administers else CALLS_OF_USER)
        """Held while a call without waiting runs and while its answer is large and not taken."""
        self.room = Room(WAITING_BYTES)
        self._budgets = () if administers else (Budget(SHARE_OF_USER, BURST_OF_USER), shared)

    def charge(self, cost: float, now: float) -> None:
        """So many seconds of a processor were used for this user."""
        for budget in self._budgets:
            budget.charge(cost, now)

    def wait(self, now: float) -> float:
        """Seconds until more may be done for this user."""
        return max((budget.wait(now) for budget in self._budgets), default=0.0)


@dataclass(frozen=True, slots=True)
class Places:
    """How many connections there may be."""

    total: int = MAX_CONNECTIONS
    reserved: int = RESERVED
    of_user: int = MAX_OF_USER


class Accounts:
    """All users that have connections.  For the event loop's thread."""

    def __init__(self, places: Places | None = None) -> None:
        self.places = places or Places()
        self.n_connections = 0
        self._n_others = 0
        self._n_subscribers = 0
        self._shared = Budget(SHARE, BURST)
        self.arrivals = Budget(1.0, ARRIVALS_AT_ONCE / ARRIVALS)
        """Seconds that accepting takes; who comes is known only then."""
        self._accounts: dict[tuple[int, bool], Account] = {}

    def of(self, uid: int, administers: bool) -> Account:
        """A user's account.  It outlives the user's connections: nobody begins anew by coming again."""
        found = self._accounts.get((uid, administers))
        if found is None:
            if len(self._accounts) >= REMEMBERED:
                self._accounts = {key: one for key, one in self._accounts.items() if one.n_connections}
            found = self._accounts[uid, administers] = Account(uid, administers, self._shared)
        return found

    def take_place(self, account: Account) -> bool:
        """A place for one more connection.  False: there is none."""
        if not self._has_place(account):
            return False
        account.n_connections += 1
        self.n_connections += 1
        self._n_others += not account.administers
        return True

    def _has_place(self, account: Account) -> bool:
        if self.n_connections >= self.places.total:
            return False
        if account.administers:
            return True
        free = self.places.total - self.places.reserved - self._n_others
        return free > 0 and account.n_connections < self.places.of_user

    def leave(self, account: Account) -> None:
        """A connection has ended."""
        account.n_connections -= 1
        self.n_connections -= 1
        self._n_others -= not account.administers

    def subscribe(self, account: Account) -> bool:
        """One more subscriber of events.  False: there are enough."""
        if not account.administers:
            if account.n_subscribers >= SUBSCRIBERS_OF_USER or self._n_subscribers >= SUBSCRIBERS:
                return False
            self._n_subscribers += 1
        account.n_subscribers += 1
        return True

    def unsubscribe(self, account: Account) -> None:
        """A subscriber is gone."""
        account.n_subscribers -= 1
        self._n_subscribers -= not account.administers

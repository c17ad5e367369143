"""A client's session: transactions, changes, and what is read in them.

Calls of one session come one after the other; `end` and `force_abort` may come beside them, from other threads.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from wfpd.bfe import fragment
from wfpd.bfe.objects import Event, Kind, Lifetime, Owner
from wfpd.bfe.subscriptions import Notify
from wfpd.bfe.view import View, added
from wfpd.bfe.working import Store, Working
from wfpd.errors import FwpError

if TYPE_CHECKING:
    from wfpd.bfe.cursors import Page
    from wfpd.bfe.engine import Bfe

DEFAULT_WAIT = 15.0
"""Seconds for the turn to write, where a session says 0 (FWPM_SESSION0, txnWaitTimeoutInMSec)."""
LONGEST_WAIT = 300.0

Operation = Callable[[Working], object]


@dataclass(slots=True)
class _Transaction:
    """What a session does as one."""

    read_only: bool
    since: float
    store: Store
    """At its beginning."""
    view: View | None = None
    """What is seen in it; None: not looked at since its last change."""
    working: Working | None = None
    """What one that writes has made of it."""
    operations: list[Operation] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Done:
    """What a change was."""

    generation: int | None
    """Of the tables; None in a transaction, which has none before it commits."""
    objects: list[dict[str, Any]]
    """What was added, as listed."""


class Session:
    """A session.  Made by `Bfe.open`."""

    def __init__(
        self,
        engine: Bfe,
        key: uuid.UUID,
        number: int,
        *,
        uid: int,
        pid: int,
        name: str,
        description: str,
        dynamic: bool,
        wait: float,
    ) -> None:
        self._engine = engine
        self.key = key
        self.opened = round(time.time(), 3)
        """Seconds since the epoch."""
        self.number = number
        """Given by the engine; no other session ever has it."""
        self.uid, self.pid = uid, pid
        self.name, self.description = name, description
        self.dynamic = dynamic
        self._wait = min(wait, LONGEST_WAIT) if wait else DEFAULT_WAIT
        self._owner = Owner(Lifetime.DYNAMIC if dynamic else Lifetime.STATIC, key, uid)
        self._transaction: _Transaction | None = None
        self._aborted = False
        """The transaction was forcibly aborted, and the next call in it says so."""
        self._over = False
        self._lock = threading.RLock()
        """Of what `end` and `force_abort` change beside the session's own calls."""

    def __str__(self) -> str:
        return f"session {self.name or self.key} (pid {self.pid}, uid {self.uid})"

    @property
    def transaction(self) -> str:
        """none, read or write."""
        mine = self._transaction
        return "none" if mine is None else "read" if mine.read_only else "write"

    @property
    def since(self) -> float | None:
        """When its transaction began, by the engine's clock."""
        mine = self._transaction
        return None if mine is None else mine.since

    # -------------------------------------------------------------------------- transactions

    def _check(self) -> None:
        if self._over:
            raise FwpError("FWP_E_SESSION_ABORTED", "the session has ended")
        if self._aborted:
            self._aborted = False
            raise FwpError("FWP_E_TXN_ABORTED", "the transaction held its lock too long and was aborted")

    def begin(self, *, read_only: bool = False) -> None:
        """Begin a transaction (FwpmTransactionBegin0).  One that writes waits for its turn."""
        with self._lock:
            self._check()
            if self._transaction is not None:
                raise FwpError("FWP_E_TXN_IN_PROGRESS", "this session has a transaction already")
        if not read_only:
            self._take_turn()
        with self._lock:
            store, now = self._engine.store, self._engine.clock()
            if self._over:
                self._engine.turn.give(self)
                self._check()
            if read_only:
                self._transaction = _Transaction(True, now, store, view=View.of_moment(self._engine))
            else:
                working = Working(store, self._engine.ground)
                self._transaction = _Transaction(False, now, store, working=working)

    def _take_turn(self) -> None:
        self._engine.turn.take(self, self._wait, lambda: self._over)

    def commit(self) -> int:
        """Make the transaction's changes, all with one switch of the tables; the generation that runs.

        Where that fails the transaction is over and nothing has changed.
        """
        mine = self._end_transaction()
        if mine.read_only:
            return self._engine.ground.generation
        try:
            if not mine.operations:
                return self._engine.ground.generation
            with self._engine.changing():
                self._check()  # What a session adds after its end would never go.
                working = mine.working
                if self._engine.store is not mine.store:
                    working = Working(self._engine.store, self._engine.ground)
                    for operation in mine.operations:
                        operation(working)
                assert working is not None
                return self._engine.commit(working, self)
        finally:
            self._engine.turn.give(self)

    def abort(self) -> None:
        """Forget the transaction's changes."""
        self._end_transaction()
        self._engine.turn.give(self)

    def _end_transaction(self) -> _Transaction:
        with self._lock:
            self._check()
            mine, self._transaction = self._transaction, None
            if mine is None:
                raise FwpError("FWP_E_NO_TXN_IN_PROGRESS", "this session has no transaction")
            return mine

    def force_abort(self) -> None:
        """End the transaction for the session, whose next call is told."""
        with self._lock:
            if self._transaction is not None:
                self._transaction, self._aborted = None, True
                self._engine.turn.give(self)

    def end(self) -> None:
        """End the session (FwpmEngineClose0): its transaction is aborted, its dynamic objects go."""
        with self._lock:
            if self._over:
                return
            self._over, self._transaction = True, None
        self._engine.turn.give(self)
        self._engine.turn.wake()
        self._engine.forget(self)

    # ------------------------------------------------------------------------------- changes

    def add_text(
        self,
        text: str,
        *,
        expires_in: float | None = None,
        callouts: bool = False,
        guard: Callable[[fragment.Fragment, Working], None] = lambda found, working: None,
    ) -> Done:
        """Add what a change's text says; all of it or nothing.

        PolicyError with every error in it.  `expires_in`: seconds after which its filters go; `callouts`: the
        caller may name code; `guard` raises where the caller may not add what was read.
        """
        expires = None if expires_in is None else self._engine.clock() + expires_in

        def prepare(working: Working) -> tuple[Operation, list[dict[str, Any]]]:
            found = fragment.read(text, working, self._engine.ground, callouts=callouts)
            guard(found, working)
            filters = found.add_to(working, self._owner, expires)
            return lambda onto: found.add_to(onto, self._owner, expires), added(found.items, filters)

        return self._change(prepare)

    def delete(
        self,
        kind: Kind,
        keys: Iterable[uuid.UUID],
        guard: Callable[[uuid.UUID, Working], None] = lambda key, working: None,
    ) -> Done:
        """Delete the objects of these keys; all of them or none.  `guard` raises for one that the caller may not."""
        wanted = list(dict.fromkeys(keys))

        def operation(working: Working) -> None:
            with working.whole():
                for key in wanted:
                    guard(key, working)
                    if kind is Kind.FILTER:
                        working.delete_filter(key.bytes, *self._engine.ground.name_of(key.bytes))
                    else:
                        working.delete(kind, key)

        def prepare(working: Working) -> tuple[Operation, list[dict[str, Any]]]:
            operation(working)
            return operation, []

        return self._change(prepare)

    def _change(self, prepare: Callable[[Working], tuple[Operation, list[dict[str, Any]]]]) -> Done:
        """Change the session's transaction, or do so in one of its own.

        `prepare` makes the change and gives what makes it again on another store.
        """
        with self._lock:
            self._check()
            mine = self._transaction
            if mine is not None:
                if mine.working is None:
                    raise FwpError("FWP_E_INCOMPATIBLE_TXN", "the transaction is read-only")
                mine.view = None
                operation, objects = prepare(mine.working)
                mine.operations.append(operation)
                return Done(None, objects)
        self._take_turn()
        try:
            with self._engine.changing():
                self._check()
                working = Working(self._engine.store, self._engine.ground)
                _, objects = prepare(working)
                return Done(self._engine.commit(working, self), objects)
        finally:
            self._engine.turn.give(self)

    # ------------------------------------------------------------------------------- reading

    def view(self) -> View:
        """What the session sees now."""
        with self._lock:
            self._check()
            mine = self._transaction
            if mine is None:
                return View.of_moment(self._engine)
            if mine.view is None:
                assert mine.working is not None
                mine.view = View.of_working(self._engine, mine.working)
            return mine.view

    def get(self, kind: Kind, key: uuid.UUID) -> dict[str, Any]:
        """One object."""
        return self.view().get(kind, key)

    def list(self, kind: Kind, template: Mapping[str, Any], size: int) -> Page:
        """The first page of the objects that a template admits; the snapshot of that moment is read on."""
        view = self.view()
        places, show = view.places(kind, template)
        return self._engine.cursors.first(self, places, show, size)

    def next(self, cursor: str, size: int) -> Page:
        """The next page."""
        self._check()
        return self._engine.cursors.next(self, cursor, size)

    def close_cursor(self, cursor: str) -> None:
        """Let an enumeration go.  FWP_E_NOT_FOUND if there is no such one."""
        self._check()
        if not self._engine.cursors.close(self, cursor):
            raise FwpError("FWP_E_NOT_FOUND", "there is no such cursor")

    # -------------------------------------------------------------------------- subscriptions

    def subscribe(self, notify: Notify, *, kinds: Iterable[Kind] = Kind, events: Iterable[Event] = Event,
                  provider: str | None = None, name: str | None = None) -> int:  # fmt: skip
        """Be told of objects that other sessions, a reload or the clock add and delete."""
        with self._lock:
            self._check()
            if self._transaction is not None:
                raise FwpError("FWP_E_TXN_IN_PROGRESS", "not possible within a transaction")
            kinds, events = frozenset(kinds), frozenset(events)
            if not kinds or not events:
                raise FwpError("FWP_E_NEVER_MATCH", "nothing would be told")
            try:
                return self._engine.subscriptions.add(self, notify, kinds, events, provider, name)
            except OverflowError:
                raise FwpError("FWP_E_OUT_OF_BOUNDS", "too many subscriptions of one session") from None

    def unsubscribe(self, number: int) -> None:
        """End a subscription.  FWP_E_NOT_FOUND if the session has none of this number."""
        self._check()
        if not self._engine.subscriptions.remove(self, number):
            raise FwpError("FWP_E_NOT_FOUND", f"this session has no subscription {number}")

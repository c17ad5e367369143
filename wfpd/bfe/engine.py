"""The base filtering engine: several parties' objects over one set of tables.

One lock orders changes: a commit, the end of a session, filters whose time is over, a reload of the policy
file.  Readers take the store that stands and need no lock.  A transaction has its own view
(`working`); its turn to write keeps other sessions out, but not the engine itself: when the store has changed
under it, its operations are done once more on the new store before it commits.
"""

from __future__ import annotations

import heapq
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from wfpd.bfe.cursors import Cursors
from wfpd.bfe.ground import Ground
from wfpd.bfe.objects import (
    BUILTIN,
    DEPENDENT_FIRST,
    KIND_OF,
    OBJECT_KINDS,
    OF_FILE,
    Change,
    Event,
    Item,
    Kind,
    Lifetime,
    filter_id,
)
from wfpd.bfe.session import Session
from wfpd.bfe.subscriptions import Subscriptions
from wfpd.bfe.turn import Turn
from wfpd.bfe.working import Store, Working
from wfpd.config import NOTHING
from wfpd.dataplane import Snapshot
from wfpd.errors import FwpError, WfpdError
from wfpd.model.policy import Policy

log = logging.getLogger(__name__)

HOLD = 3600.0
"""Seconds that a transaction may hold the turn to write; then it is forcibly aborted ("Object Management")."""
WATCHDOG = 60.0
"""Seconds after which a transaction is logged (FWPM_ENGINE_TXN_WATCHDOG_TIMEOUT_IN_MSEC)."""
MOST_SESSIONS = 4096


def boottime() -> float:
    """Seconds since the machine started, with those in which it slept."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Bfe:
    """The engine.  Every method may be called from any thread."""

    def __init__(
        self, ground: Ground, *, clock: Callable[[], float] = boottime, hold: float = HOLD, watchdog: float = WATCHDOG
    ) -> None:
        self.ground = ground
        self.clock = clock
        self.turn = Turn(clock)
        self.cursors = Cursors(clock)
        self.subscriptions = Subscriptions()
        self._hold, self._watchdog = hold, watchdog
        self._changing = threading.RLock()
        self._sessions: dict[uuid.UUID, Session] = {}
        self._next_session = 1
        self._dead: list[Session] = []
        """Sessions that have ended and whose dynamic objects have not gone yet."""
        self._ends: list[tuple[float, bytes]] = []
        """When filters end; some may be gone already."""
        self._warned: object = None
        self._turns = 0
        """Odd while tables and objects are being switched."""
        working = Working(Store(), ground)
        builtin: list[Item] = [*NOTHING.providers.values(), *NOTHING.sublayers.values()]
        for item in builtin:
            working.add(item, BUILTIN)
        self._store = working.store()

    @property
    def store(self) -> Store:
        """Every object as it stands."""
        return self._store

    def moment(self) -> tuple[Store, Snapshot | None]:
        """The objects and the tables of one moment."""
        before = self._turns
        found = self._store, self.ground.snapshot
        if before & 1 or before != self._turns:
            with self._changing:
                return self._store, self.ground.snapshot
        return found

    # ------------------------------------------------------------------------------ sessions

    def open(self, *, uid: int = 0, pid: int = 0, name: str = "", description: str = "", dynamic: bool = False,
             key: uuid.UUID | None = None, wait: float = 0.0) -> Session:  # fmt: skip
        """A new session (FwpmEngineOpen0).  `wait`: seconds for the turn to write, 0 = 15."""
        with self._changing:
            key = key or uuid.uuid4()
            if key in self._sessions:
                raise FwpError("FWP_E_ALREADY_EXISTS", f"a session has the key {key}")
            if len(self._sessions) >= MOST_SESSIONS:
                raise FwpError("FWP_E_OUT_OF_BOUNDS", f"there are {MOST_SESSIONS} sessions")
            made = Session(
                self,
                key,
                self._next_session,
                uid=uid,
                pid=pid,
                name=name,
                description=description,
                dynamic=dynamic,
                wait=wait,
            )
            self._sessions[key] = made
            self._next_session += 1
            return made

    def sessions(self) -> list[Session]:
        """Those that are open, the oldest first."""
        return list(self._sessions.values())

    def forget(self, session: Session) -> None:
        """A session has ended: what is dynamic and its own goes with it."""
        self.subscriptions.remove(session)
        self.cursors.close(session)
        with self._changing:
            if self._sessions.pop(session.key, None) is not None and session.dynamic:
                self._dead.append(session)
        self._bury(logging.INFO)

    def _bury(self, level: int = logging.DEBUG) -> None:
        """Remove what ended sessions have left; what cannot be removed now is tried again."""
        while self._dead:
            with self._changing:
                dead = self._dead[0] if self._dead else None
                if dead is None:
                    return
                try:
                    self._remove_objects_of(dead)
                except WfpdError as error:
                    log.log(level, "what %s has left stays for now: %s", dead, error.message)
                    return
                self._dead.remove(dead)

    def _remove_objects_of(self, session: Session) -> None:
        working = Working(self._store, self.ground)
        for kind in DEPENDENT_FIRST:
            if kind is Kind.FILTER:
                for key, entry in self._store.filters.items():
                    if entry.owner.goes_with(session.key) and working.has_filter(key):
                        working.delete_filter(key)
            else:
                for gone in [key for key, one in working.entries(kind).items() if one.owner.goes_with(session.key)]:
                    working.delete(kind, gone, forced=True)
        if working.changes:
            self.commit(working, session)

    # ------------------------------------------------------------------------------- changes

    def changing(self) -> threading.RLock:
        """Hold it while a store is looked at and a change of it committed."""
        return self._changing

    @contextmanager
    def _between(self) -> Iterator[None]:
        """Tables and objects do not belong together within."""
        self._turns += 1
        try:
            yield
        finally:
            self._turns += 1

    def commit(self, working: Working, author: object) -> int:
        """Make a view the store, with one switch of the tables; the generation.  Nothing has changed where it raises.

        The lock is held, and the view is of the store that stands.
        """
        with self._changing:
            assert working.base is self._store
            generation = self.ground.generation
            packed, callouts = working.packed()
            with self._between():
                if packed is not None or working.removed:
                    calls = [(item, working.call_of(item)) for item in callouts]
                    generation = self.ground.apply(packed, calls, list(working.removed), working.contexts())
                self._store = working.store()
            for added in working.added.values():
                if added.entry.expires is not None:
                    heapq.heappush(self._ends, (added.entry.expires, added.entry.key))
            self.subscriptions.tell(working.changes, author, generation)
            return generation

    def end_expired(self) -> int:
        """Remove the filters whose time is over; how many those were."""
        if not self._ends or self._ends[0][0] > self.clock():
            return 0
        with self._changing:
            working, now = Working(self._store, self.ground), self.clock()
            over = [key for expires, key in self._ends if expires <= now]
            for key in over:
                entry = self._store.filters.get(key)
                # One that was added again under its key has another time.
                ended = entry is not None and entry.expires is not None and entry.expires <= now
                if ended and key not in working.removed and working.has_filter(key):
                    working.delete_filter(key)
            if working.removed:
                self.commit(working, None)
            while self._ends and self._ends[0][0] <= now:
                heapq.heappop(self._ends)
            return len(working.removed)

    def tick(self) -> None:
        """About four times a second: what the clock alone makes happen.  Never raises, never waits for a change."""
        if not self._changing.acquire(blocking=False):
            return
        try:
            self._bury()
            self.end_expired()
            self._watch_holder()
            self.cursors.forget_idle()
            self.subscriptions.settle()
        except WfpdError as error:
            log.error("filters whose time is over stay for now: %s", error.message)
        finally:
            self._changing.release()

    def _watch_holder(self) -> None:
        holder, held = self.turn.holder, self.turn.held_for
        if not isinstance(holder, Session):
            return
        if held > self._hold:
            log.warning("%s has held its transaction for %.0f s: aborted", holder, held)
            holder.force_abort()
        elif held > self._watchdog and self._warned is not holder:
            log.warning("%s has held its transaction for %.0f s", holder, held)
            self._warned = holder
        if held <= self._watchdog:
            self._warned = None

    # ------------------------------------------------------------------------------- the file

    def publish(self, publish: Callable[[], int], policy: Policy) -> int:
        """Publish a policy file's tables by `publish`, and take its objects in place of those of the file before."""
        with self._changing:
            before = self._file_filters()
            with self._between():
                generation = publish()
                changes = self._take_file(policy)
            if before is not None:
                changes += self._filter_changes(before)
            self.subscriptions.tell(changes, None, generation)
            return generation

    def _file_filters(self) -> Mapping[bytes, tuple[str, str]] | None:
        """Name and provider of the running filters by key, if anybody wants to know of theirs."""
        return self.ground.names() if self.subscriptions.interested_in(Kind.FILTER) else None

    def _filter_changes(self, before: Mapping[bytes, tuple[str, str]]) -> list[Change]:
        after = self.ground.names()
        return [
            Change(event, Kind.FILTER, uuid.UUID(bytes=key), filter_id(key), *names[key])
            for event, names, others in ((Event.DELETE, before, after), (Event.ADD, after, before))
            for key in names
            if key not in others
        ]

    def _take_file(self, policy: Policy) -> list[Change]:
        """The store with a policy file's objects; what came and went."""
        store, ground = self._store, self.ground
        filters = store.filters.changed({}, [key for key in store.filters if ground.is_of_file(key)])
        kept = Store(store.objects, filters, store.next_id)
        working = Working(kept, ground)
        every: list[Item] = [*policy.providers, *policy.sublayers, *policy.provider_contexts, *policy.callouts]
        items: dict[Kind, dict[uuid.UUID, Item]] = {kind: {} for kind in OBJECT_KINDS}
        for item in every:
            items[KIND_OF[type(item)]][item.key] = item
        for kind in reversed(DEPENDENT_FIRST[1:]):
            for key, item in items[kind].items():
                self._take_item(working, kind, key, item)
        for kind in DEPENDENT_FIRST[1:]:
            for key, entry in list(working.entries(kind).items()):
                gone = entry.owner.lifetime is Lifetime.FILE and key not in items[kind]
                if gone and not working.references(kind, entry):
                    working.delete(kind, key, forced=True)
        made = working.store()
        self._store = Store(made.objects, filters, made.next_id)
        return [change for change in working.changes if not _stays(change, store, made)]

    @staticmethod
    def _take_item(working: Working, kind: Kind, key: uuid.UUID, item: Item) -> None:
        """One object of the file; it takes the place of one that has its key."""
        before = working.entries(kind).get(key)
        if before is not None and before.owner.lifetime is Lifetime.BUILTIN:
            return
        if before is not None:
            working.delete(kind, key, forced=True)
        working.add(item, OF_FILE, number=before.id if before is not None else None)


def _stays(change: Change, before: Store, after: Store) -> bool:
    """An object that a reload took out and put in again as it was is no change."""
    one, other = (store.objects[change.kind].get(change.key) for store in (before, after))
    return one is not None and other is not None and one.item == other.item

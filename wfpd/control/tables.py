"""The running policy as it changes: a base, and what was added to it and removed from it since.

A change costs itself, not the policy: a removed filter is a bit, an added one goes into a small part
that is searched beside the base and is made anew with each change.  In the background additions
are folded into one larger part when FRESH changes have come together, and the base is built anew with
everything when PENDING filters or AGE seconds have come together, but for at most SHARE of one
processor's time.  Every step is a snapshot of its own, published with one store; a batch of packets sees
one of them whole.

The caller of `change` never waits for the background, save where no more filters fit beside the base.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from wfpd.dataplane import Added, Part, Root, Snapshot, merge, merged_added
from wfpd.errors import ControlError, FwpError

log = logging.getLogger(__name__)

FRESH = 32
"""Changes whose additions are put together anew with each further one; more are folded."""
PENDING = 256
"""Filters added or removed after which the base is built anew."""
AGE = 0.1
"""Seconds after which it is."""
SHARE = 0.2
"""Of one processor's time that building anew may take."""
AGAIN = 1.0
"""Seconds after which a step in the background that failed is tried again."""

CalloutSequence = Sequence[Callable[..., object] | None]


@dataclass(frozen=True, slots=True)
class _Beside:
    """Everything beside the base; the older level first."""

    frozen: tuple[Added, ...] = ()
    """Being built into a new base."""
    young: Added | None = None
    """Folded."""
    fresh: tuple[Added, ...] = ()
    """One a change."""
    together: Added | None = None
    """The fresh ones as one part that can be searched."""

    def levels(self) -> list[Added]:
        return [*self.frozen, *self.unfrozen()]

    def searched(self) -> tuple[Added, ...]:
        """What a snapshot searches."""
        levels = (*self.frozen, self.young, self.together)
        return tuple(level for level in levels if level is not None and level.live())

    def live(self) -> int:
        return sum(level.live() for level in self.levels())

    def unfrozen(self) -> list[Added]:
        return [*([] if self.young is None else [self.young]), *self.fresh]


@dataclass(frozen=True, slots=True)
class State:
    """What ran at one moment, for `Tables.restore`."""

    snapshot: Snapshot
    beside: _Beside


class Tables:
    """The one writer of snapshots.

    `publish` makes a snapshot the running one; when it raises, nothing has changed.
    A snapshot that packets can tell from the one before has the next generation.
    With `background` False nothing is folded or built anew unless `fold` and `rebuild` are called; else that begins
    with the first change.
    """

    def __init__(
        self,
        publish: Callable[[Snapshot], None],
        *,
        background: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._publish = publish
        self._clock = clock
        self._lock = threading.RLock()
        self._snapshot: Snapshot | None = None
        self._beside = _Beside()
        self._generation = 0
        self._structure = 0
        """Rises when levels are moved: a fold that began before is void."""
        self._base = object()
        """Of the running base, another one for each that is published: a base built from an earlier one is void."""
        self._journals: list[list[bytes]] = []
        self._pending = 0
        self._oldest = self._not_before = 0.0
        self._stopping = False
        self._wake_fold, self._wake_rebuild = threading.Event(), threading.Event()
        self._background = background
        self._threads: list[threading.Thread] = []

    @property
    def snapshot(self) -> Snapshot | None:
        """What runs."""
        return self._snapshot

    @property
    def pending(self) -> int:
        """Filters added or removed since the base was built."""
        return self._pending

    def _next_generation(self) -> int:
        """A number that no snapshot ever had: the decision cache trusts it, also one of a failed publication."""
        self._generation += 1
        return self._generation

    def close(self) -> None:
        """End the background."""
        self._stopping = True
        self._wake_fold.set()
        self._wake_rebuild.set()
        for thread in self._threads:
            thread.join()

    # ----------------------------------------------------------------------------- a new base

    def replace(self, packed: Any, callouts: CalloutSequence, **words: Any) -> Snapshot:
        """A new base, of a policy file.  What `change` added stays, unless the file has a filter of that key now; what
        it removed of the old base is back.

        `words` are those of Snapshot.
        """
        with self._lock:
            before = self._snapshot
            part = Part(packed)
            if self._threads:  # Changes come: the first one after this does not wait for the keys.
                part.prepare()
            root = Root(part, list(callouts), *(() if before is None else (before.root, before.added)))
            beside = _Beside()
            if before is not None and (before.root.has_dynamic or self._beside.live()):
                stays = _unless_in(self._dynamic(), root)
                if stays.part.n_filters > root.room:
                    root = self._with(root, [], stays)
                elif stays.live():
                    beside = _Beside(young=_moved(stays, before.root, root))
            snapshot = Snapshot(root, [], generation=self._next_generation(), previous=before,
                                added=beside.searched(), **words)  # fmt: skip
            self._publish(snapshot)
            self._settle_base(snapshot, beside)
            self._pending = 0
            self._note(beside.live())
            return snapshot

    def _dynamic(self) -> Added:
        """Everything that `change` ever added and that is not gone, as one level of the running root."""
        assert self._snapshot is not None
        root, levels = self._snapshot.root, self._beside.levels()
        packed, origins, _ = merge(root, levels, dynamic_only=True)
        return merged_added(Part(packed), origins, levels, root)

    def _with(
        self, root: Root, levels: Sequence[Added], beside: Added, callouts: CalloutSequence | None = None
    ) -> Root:
        """A base of a root, its levels and one more part, whose callouts are given or known."""
        running = self._snapshot
        assert running is not None
        packed, origins, keys = merge(root, [*levels, beside])
        names = beside.part.callout_keys()
        own = dict(zip(names, callouts or [None] * len(names), strict=True))
        callables = [own.get(key) or _callable_of(key, root, running.root) for key in keys]
        dynamic = root.dynamic_of(origins)
        return Root(Part(packed), callables, running.root, running.added, None, dynamic)

    @property
    def state(self) -> State | None:
        """What runs, for `restore`; None before the first policy."""
        with self._lock:
            return None if self._snapshot is None else State(self._snapshot, self._beside)

    def restore(self, state: State) -> None:
        """Go back to what ran before `replace`; nothing was changed meanwhile but by the background."""
        with self._lock:
            self._publish(state.snapshot)
            self._settle_base(state.snapshot, state.beside)

    def _settle_base(self, snapshot: Snapshot, beside: _Beside) -> None:
        """Another base runs."""
        self._base = object()
        self._settle(snapshot, beside)

    def _settle(self, snapshot: Snapshot, beside: _Beside) -> None:
        """Levels were moved."""
        self._snapshot, self._beside = snapshot, beside
        self._structure += 1

    # -------------------------------------------------------------------------------- a change

    def has(self, key: bytes) -> bool:
        """Whether a filter of this key is in the running policy."""
        with self._lock:
            return any(level.find(key) is not None for level in self._beside.levels()) or (
                self._snapshot is not None and self._snapshot.root.find(key) is not None
            )

    def change(self, packed: Any = None, callouts: CalloutSequence = (), remove: Iterable[bytes] = ()) -> Snapshot:
        """Add the filters of a packed policy and remove those of these keys, at once.

        `callouts` are the callables of the packed policy's callouts; None: the one that is known, if any.
        FwpError if a key to remove is not there, or one to add is there already; nothing has changed then.
        """
        with self._lock:
            if self._snapshot is None:
                raise ControlError("no policy runs yet")
            part = None if packed is None else Part(packed, search=False)
            if part is not None and not part.n_filters:
                part = None
            removed = list(dict.fromkeys(remove))
            self._check(part, removed)
            if part is not None and not self._snapshot.root.has_room_for(part):
                return self._change_base(part, callouts, removed)
            snapshot = self._change(part, callouts, removed)
            self._note((part.n_filters if part is not None else 0) + len(removed))
            return snapshot

    def _check(self, part: Part | None, removed: Sequence[bytes]) -> None:
        for key in removed:
            if not self.has(key):
                raise FwpError("FWP_E_FILTER_NOT_FOUND", f"no filter has the key {uuid.UUID(bytes=key)}")
        added: set[bytes] = set()
        for key in () if part is None else part.keys():
            if key in added or (key not in removed and self.has(key)):
                raise FwpError(
                    "FWP_E_ALREADY_EXISTS",
                    f"a filter has the key {uuid.UUID(bytes=key)}",
                    hint="the key of a filter comes from its name: give it another name, or delete that one first",
                )
            added.add(key)

    def _change(self, part: Part | None, callouts: CalloutSequence, removed: Sequence[bytes]) -> Snapshot:
        running = self._snapshot
        assert running is not None
        root = running.root
        beside, of_base = self._without(removed)
        if part is not None:
            for number, given in enumerate(callouts):
                if given is not None:
                    root.register(part, number, given)
            new = Added(part, root.add(part, list(callouts)))
            if part.n_filters > FRESH:
                beside = _Beside(beside.frozen, _folded([*beside.unfrozen(), new]))
            else:
                beside = _together(replace(beside, fresh=(*beside.fresh, new)))
        for index in of_base:
            root.remove(index)
        try:
            snapshot = running.changed(self._next_generation(), beside.searched())
            self._publish(snapshot)
        except BaseException:
            for index in of_base:
                root.restore(index)
            raise
        for journal in self._journals:
            journal += removed
        self._structure += part is not None and part.n_filters > FRESH
        self._snapshot, self._beside = snapshot, beside
        return snapshot

    def _without(self, removed: Sequence[bytes]) -> tuple[_Beside, list[int]]:
        """What lies beside the base without these filters, and those of them that the base has."""
        assert self._snapshot is not None
        levels = self._beside.levels()
        places: list[list[int]] = [[] for _ in levels]
        of_base = []
        for key in removed:
            for level, found in zip(levels, places, strict=True):
                if (place := level.find(key)) is not None:
                    found.append(place)
                    break
            else:
                if (index := self._snapshot.root.find(key)) is not None:
                    of_base.append(index)
        if not any(places):
            return self._beside, of_base
        left = [level.without(gone) if gone else level for level, gone in zip(levels, places, strict=True)]
        frozen, rest = left[: len(self._beside.frozen)], left[len(self._beside.frozen) :]
        young = None if self._beside.young is None else rest.pop(0)
        beside = _Beside(tuple(frozen), young, tuple(level for level in rest if level.live()))
        return _together(beside), of_base

    def _change_base(self, part: Part, callouts: CalloutSequence, removed: Sequence[bytes]) -> Snapshot:
        """More filters than fit beside the base become part of a new one, while the caller waits."""
        running = self._snapshot
        assert running is not None
        kept, of_base = self._without(removed)
        for index in of_base:
            running.root.remove(index)
        try:
            new = Added(part, array("I", range(running.root.n_ids, running.root.n_ids + part.n_filters)))
            root = self._with(running.root, kept.levels(), new, list(callouts))
            snapshot = running.moved(root, self._next_generation(), ())
            self._publish(snapshot)
        except BaseException:
            for index in of_base:
                running.root.restore(index)
            raise
        self._settle_base(snapshot, _Beside())
        self._pending = 0
        return snapshot

    # ---------------------------------------------------------------------------- the background

    def _note(self, n: int) -> None:
        """So many filters were added or removed."""
        if n and self._background and not self._threads:
            self._start()
        if n and not self._pending:
            self._oldest = self._clock()
        self._pending += n
        if len(self._beside.fresh) > FRESH:
            self._wake_fold.set()
        if self._pending:
            self._wake_rebuild.set()

    def _start(self) -> None:
        for name, target in (("wfpd-fold", self._fold_forever), ("wfpd-rebuild", self._rebuild_forever)):
            self._threads.append(threading.Thread(target=target, name=name, daemon=True))
            self._threads[-1].start()

    def fold(self) -> bool:
        """Make one part of everything that is not frozen; whether that was done."""
        with self._lock:
            before, structure = self._beside, self._structure
            if not before.fresh:
                return False
            journal = self._begin()
        try:
            young = _folded(before.unfrozen())
            with self._lock:
                if self._structure != structure or self._snapshot is None:
                    return False
                gone = (young.find(key) for key in dict.fromkeys(journal))
                if lost := [place for place in gone if place is not None]:
                    young = young.without(lost)
                parts = {level.part for level in before.fresh}
                later = tuple(level for level in self._beside.fresh if level.part not in parts)
                beside = _together(_Beside(self._beside.frozen, young, later))
                # The same filters with the same numbers: packets cannot tell it from the one before.
                snapshot = self._snapshot.changed(self._snapshot.generation, beside.searched())
                self._publish(snapshot)
                self._settle(snapshot, beside)
                return True
        finally:
            self._end(journal)

    def rebuild(self) -> bool:
        """Build the base anew with everything; whether that was done."""
        with self._lock:
            running, pending = self._snapshot, self._pending
            if running is None or not pending:
                return False
            if self._beside.frozen:  # The last time failed.
                young = _folded(self._beside.levels())
                self._beside = _Beside(young=young)
            frozen = tuple(level for level in (self._beside.young, self._beside.together) if level is not None)
            self._beside = _Beside(frozen)
            self._structure += 1
            base, journal = self._base, self._begin()
        try:
            root = _merged(running.root, frozen)
            with self._lock:
                if self._base is not base:
                    return False
                self._publish_base(root, journal)
                self._pending -= pending
                self._oldest = self._clock()
                return True
        finally:
            self._end(journal)

    def _publish_base(self, root: Root, journal: Sequence[bytes]) -> None:
        """A base that has what was frozen, with what came since beside it."""
        running = self._snapshot
        assert running is not None
        for key in journal:
            if (index := root.find(key)) is not None:
                root.remove(index)
        beside = self._beside
        young = None if beside.young is None else _moved(beside.young, running.root, root)
        fresh = tuple(_moved(level, running.root, root) for level in beside.fresh)
        beside = _together(_Beside((), young, fresh))
        snapshot = running.moved(root, self._next_generation(), beside.searched())
        self._publish(snapshot)
        self._settle_base(snapshot, beside)

    def _begin(self) -> list[bytes]:
        """From now on each removal is noted, until `_end`."""
        journal: list[bytes] = []
        self._journals.append(journal)
        return journal

    def _end(self, journal: list[bytes]) -> None:
        with self._lock:
            self._journals = [other for other in self._journals if other is not journal]

    def _fold_forever(self) -> None:
        while not self._stopping:
            self._wake_fold.wait()
            self._wake_fold.clear()
            self._guarded(self.fold)

    def _rebuild_forever(self) -> None:
        while not self._stopping:
            self._wake_rebuild.wait()
            self._wake_rebuild.clear()
            while self._pending and not self._stopping:
                left = self._due() - self._clock()
                if left > 0:
                    self._wake_rebuild.wait(left)
                    self._wake_rebuild.clear()
                    continue
                began = self._clock()
                self._guarded(self.rebuild)
                self._not_before = max(self._not_before, self._clock() + (self._clock() - began) * (1 / SHARE - 1))

    def _due(self) -> float:
        """When the base is to be built anew."""
        return max(self._not_before, self._oldest if self._pending >= PENDING else self._oldest + AGE)

    def _guarded(self, step: Callable[[], bool]) -> None:
        """What was published stays when a step fails, and nothing is lost."""
        try:
            step()
        except Exception:
            log.exception("tables: a step in the background failed; it is tried again in %g s", AGAIN)
            self._not_before = self._clock() + AGAIN


def _callable_of(key: bytes, *roots: Root) -> Callable[..., object] | None:
    """What is registered for a callout in the first of the roots that has it."""
    return next((root.callable_of(key) for root in roots if root.has_callout(key)), None)


def _folded(levels: Sequence[Added]) -> Added:
    """One level that can be searched, of the filters that are left of these; they keep their numbers."""
    packed, origins, _ = merge(None, levels)
    part = Part(packed)
    part.prepare()
    return merged_added(part, origins, levels)


def _unless_in(level: Added, root: Root) -> Added:
    """The level without the filters whose keys the root has."""
    twice = [place for place, key in enumerate(level.part.keys()) if root.find(key) is not None]
    return level.without(twice) if twice else level


def _together(beside: _Beside) -> _Beside:
    """With the fresh levels put together."""
    return replace(beside, together=_folded(beside.fresh) if beside.fresh else None)


def _moved(level: Added, old: Root, new: Root) -> Added:
    """The same filters beside another base; each counts on where it did."""
    part = level.part
    callables = [old.callable_of(key) for key in part.callout_keys()]
    return Added(part, new.add(part, callables, old.counters_of(level)), level.gone_places())


def _merged(root: Root, parts: Sequence[Added]) -> Root:
    """A base of everything; each filter counts on where it did."""
    packed, origins, keys = merge(root, parts)
    counters, dynamic = root.counters_of_origins(origins, tuple(parts)), root.dynamic_of(origins)
    merged = Root(Part(packed), [root.callable_of(key) for key in keys], root, (), counters, dynamic)
    merged.part.prepare()
    return merged

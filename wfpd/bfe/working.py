"""The engine's objects at one moment, and a transaction's own view of them.

A `Store` is never edited: a reader takes the one that stands and needs no lock.  A `Working` is the
store of one moment with the changes of one transaction, checked as they come.  A change that fails
leaves it as it was.
"""

from __future__ import annotations

import shlex
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeVar

from wfpd.bfe.ground import Ground
from wfpd.bfe.objects import (
    KIND_OF,
    OBJECT_KINDS,
    Added,
    Change,
    Entry,
    Event,
    FilterEntry,
    Item,
    Kind,
    Lifetime,
    Owner,
    filter_id,
)
from wfpd.bfe.shelves import Shelves
from wfpd.compiler.pack import pack
from wfpd.config import Known
from wfpd.errors import FwpError
from wfpd.model.policy import Callout, Filter, Policy, ProviderContext, Sublayer, ValueSet

MOST_OBJECTS = 4096
"""Of one kind, filters excepted."""
MOST_STAGED = 16_384
"""Filters that one transaction may add."""
MOST_CHANGES = 131_072
"""Of one transaction: what is added and deleted again counts twice."""
MOST_FILTERS = 65_536
"""Filters of all sessions."""

Objects = Mapping[Kind, Mapping[uuid.UUID, Entry]]


@dataclass(frozen=True, slots=True)
class Store:
    """Every object that is no filter, and every filter of a session."""

    objects: Objects = field(default_factory=lambda: {kind: {} for kind in OBJECT_KINDS})
    filters: Shelves[FilterEntry] = field(default_factory=Shelves)
    next_id: int = 1

    def entries(self, kind: Kind) -> Mapping[uuid.UUID, Entry]:
        """All objects of a kind."""
        return self.objects[kind]

    def named(self, kind: Kind) -> dict[str, Entry]:
        """By name, and by key as text.  Of two with one name the policy file's has it, else the older."""
        return _named(self.objects[kind])


def _named(entries: Mapping[uuid.UUID, Entry]) -> dict[str, Entry]:
    found = {str(key): entry for key, entry in entries.items()}
    for entry in sorted(entries.values(), key=lambda entry: (entry.owner.session is not None, entry.id)):
        found.setdefault(entry.item.name, entry)
    return found


def known(store: Store | Working) -> Known:
    """What a change may name."""
    by_name = {kind: {name: entry.item for name, entry in store.named(kind).items()} for kind in OBJECT_KINDS}
    return Known(
        by_name[Kind.PROVIDER],  # type: ignore[arg-type]
        by_name[Kind.SUBLAYER],  # type: ignore[arg-type]
        by_name[Kind.PROVIDER_CONTEXT],  # type: ignore[arg-type]
        by_name[Kind.CALLOUT],  # type: ignore[arg-type]
        "",
    )


class _Undo(NamedTuple):
    """How one change is taken back.  Of a large transaction there are many, each a single object without a cycle."""

    mapping: dict[Any, Any]
    key: object
    value: object = None
    """What was there; None: nothing."""
    noted: bool = True
    """The change is the last of those that subscribers are told."""

    def apply(self, changes: list[Change]) -> None:
        """Take it back."""
        if self.noted:
            changes.pop()
        if self.value is None:
            self.mapping.pop(self.key)
        else:
            self.mapping[self.key] = self.value


class Working:
    """A transaction's view: a store and what was changed in it."""

    def __init__(self, store: Store, ground: Ground) -> None:
        self.base = store
        self._ground = ground
        self._objects = {kind: dict(entries) for kind, entries in store.objects.items()}
        self._next_id = store.next_id
        self.added: dict[bytes, Added] = {}
        self.removed: dict[bytes, None] = {}
        """Running filters that go."""
        self._sets: dict[str, ValueSet] = {}
        self.changes: list[Change] = []
        self._undo: list[_Undo] = []
        self._names: dict[Kind, dict[str, Entry]] = {}
        self._order = 0
        """Of the next filter."""

    # ------------------------------------------------------------------------------- reading

    def named(self, kind: Kind) -> dict[str, Entry]:
        """As Store.named."""
        if kind not in self._names:
            self._names[kind] = _named(self._objects[kind])
        return self._names[kind]

    def entries(self, kind: Kind) -> Mapping[uuid.UUID, Entry]:
        """All objects of a kind."""
        return self._objects[kind]

    def has_filter(self, key: bytes) -> bool:
        """Whether a filter of this key would be there."""
        return key in self.added or (key not in self.removed and self._ground.has(key))

    def references(self, kind: Kind, entry: Entry) -> dict[Kind, int]:
        """How many objects refer to this one, by kind; kinds of which none does are left out."""
        key, name = entry.item.key, entry.item.name
        count = self._ground.references(kind, key, name)
        count -= sum(self._ground.refers(gone, kind, key, name) for gone in self.removed)
        count += sum(_refers(added.entry, kind, key, name) for added in self.added.values())
        counts = {Kind.FILTER: count}
        if kind is Kind.PROVIDER:
            counts |= {
                other: sum(
                    getattr(one.item, "provider", None) == name and one.owner.lifetime is not Lifetime.BUILTIN
                    for one in entries.values()
                )
                for other, entries in self._objects.items()
            }
        return {other: number for other, number in counts.items() if number}

    # ------------------------------------------------------------------------------ changing

    @contextmanager
    def whole(self) -> Iterator[None]:
        """All of what is done within, or nothing of it."""
        mark = len(self._undo)
        try:
            yield
        except BaseException:
            while len(self._undo) > mark:
                self._undo.pop().apply(self.changes)
            self._names.clear()
            raise

    def add(self, item: Item, owner: Owner, *, call: object = None, number: int | None = None) -> Entry:
        """Add an object that is no filter; with the run-time `number` that one of its key had."""
        self._check_room()
        kind = KIND_OF[type(item)]
        entries = self._objects[kind]
        if item.key in entries:
            raise FwpError("FWP_E_ALREADY_EXISTS", f"a {kind.words} has the key {item.key}")
        if len(entries) >= MOST_OBJECTS:
            code = {Kind.SUBLAYER: "FWP_E_TOO_MANY_SUBLAYERS", Kind.CALLOUT: "FWP_E_TOO_MANY_CALLOUTS"}.get(kind)
            raise FwpError(code or "FWP_E_OUT_OF_BOUNDS", f"there are {MOST_OBJECTS} {kind.words}s already")
        if (provider := getattr(item, "provider", "")) and owner.session is not None:
            self._check_lifetime(owner, self._provider(provider), f"{kind.words} {item.name!r}")
        entry = Entry(item, owner, self._next_id if number is None else number, call)
        self._next_id += number is None
        entries[item.key] = entry
        self._names.pop(kind, None)
        self._note(_Undo(entries, item.key), _change(Event.ADD, kind, entry))
        return entry

    def _provider(self, name: str) -> Entry:
        found = self.named(Kind.PROVIDER).get(name)
        if found is None:
            raise FwpError("FWP_E_PROVIDER_NOT_FOUND", f"there is no provider {name!r}")
        return found

    @staticmethod
    def _check_lifetime(owner: Owner, to: Entry, what: str) -> None:
        if not owner.may_refer_to(to.owner):
            raise FwpError(
                "FWP_E_LIFETIME_MISMATCH",
                f"{what} would outlive {KIND_OF[type(to.item)].words} {to.item.name!r}, which goes with its session",
                hint="an object refers to objects that live as long, or to those of its own dynamic session",
            )

    def delete(self, kind: Kind, key: uuid.UUID, *, forced: bool = False) -> None:
        """Delete an object that is no filter.  `forced`: what refers to it is about to go too, or may stay without."""
        self._check_room()
        entries = self._objects[kind]
        entry = entries.get(key)
        if entry is None:
            raise FwpError(kind.not_found, f"no {kind.words} has the key {key}")
        if entry.owner.lifetime is Lifetime.BUILTIN:
            raise FwpError("FWP_E_BUILTIN_OBJECT", f"{kind.words} {entry.item.name!r} is built in")
        if not forced and (counts := self.references(kind, entry)):
            raise _in_use(kind, entry, counts)
        del entries[key]
        self._names.pop(kind, None)
        self._note(_Undo(entries, key, entry), _change(Event.DELETE, kind, entry))

    def add_filter(self, item: Filter, owner: Owner, expires: float | None = None) -> Added:
        """Add an engine filter; its names are those of objects, or their keys as texts."""
        self._check_room()
        key = item.key.bytes
        if self.has_filter(key):
            raise FwpError("FWP_E_ALREADY_EXISTS", f"a filter has the key {item.key}",
                           hint="the key of a filter comes from its name: give it another name, or delete that one "
                           "first")  # fmt: skip
        if len(self.added) >= MOST_STAGED or len(self.base.filters) + len(self.added) >= MOST_FILTERS:
            raise FwpError("FWP_E_OUT_OF_BOUNDS", f"a transaction adds at most {MOST_STAGED} filters, "
                           f"all sessions together {MOST_FILTERS}")  # fmt: skip
        what = f"filter {item.name!r}"
        sublayer = self._referred(owner, Kind.SUBLAYER, item.sublayer, what)
        callout = self._referred(owner, Kind.CALLOUT, item.callout, what)
        context = self._referred(owner, Kind.PROVIDER_CONTEXT, item.provider_context, what)
        self._referred(owner, Kind.PROVIDER, item.provider, what)
        assert isinstance(sublayer, Sublayer)
        assert callout is None or isinstance(callout, Callout)
        assert context is None or isinstance(context, ProviderContext)
        entry = FilterEntry(key, item.name, item.provider, owner, sublayer.key,
                            callout.key if callout else None, context.key if context else None, expires)  # fmt: skip
        # Ties of weight are broken by the order of adding.
        added = self.added[key] = Added(replace(item, order=self._order), entry, sublayer, callout, context)
        self._order += 1
        change = Change(Event.ADD, Kind.FILTER, item.key, entry.id, item.name, item.provider)
        self._note(_Undo(self.added, key), change)
        return added

    def _referred(self, owner: Owner, kind: Kind, name: str, what: str) -> Item | None:
        if not name:
            return None
        found = self.named(kind).get(name)
        if found is None:
            raise FwpError(kind.not_found, f"there is no {kind.words} {name!r}")
        self._check_lifetime(owner, found, what)
        return found.item

    def delete_filter(self, key: bytes, name: str = "", provider: str = "") -> None:
        """Delete an engine filter; name and provider are for subscribers."""
        self._check_room()
        if (added := self.added.pop(key, None)) is not None:
            name, provider = added.entry.name, added.entry.provider
            undo = _Undo(self.added, key, added)
        elif key not in self.removed and self._ground.has(key):
            self.removed[key] = None
            undo = _Undo(self.removed, key)
        else:
            raise FwpError("FWP_E_FILTER_NOT_FOUND", f"no filter has the key {uuid.UUID(bytes=key)}")
        if (entry := self.base.filters.get(key)) is not None:
            name, provider = entry.name, entry.provider
        change = Change(Event.DELETE, Kind.FILTER, uuid.UUID(bytes=key), filter_id(key), name, provider)
        self._note(undo, change)

    def add_sets(self, sets: Mapping[str, ValueSet]) -> None:
        """Sets that filters of this transaction name."""
        for name, item in sets.items():
            mine = self._sets.get(name)
            if mine is not None and not _same_values(mine, item):
                raise FwpError("FWP_E_ALREADY_EXISTS", f"this transaction has another set {name!r}")
            if mine is None:
                self._sets[name] = item
                self._undo.append(_Undo(self._sets, name, noted=False))

    def _check_room(self) -> None:
        if len(self.changes) >= MOST_CHANGES:
            raise FwpError("FWP_E_OUT_OF_BOUNDS", f"a transaction makes at most {MOST_CHANGES} changes")

    def _note(self, undo: _Undo, change: Change) -> None:
        self.changes.append(change)
        self._undo.append(undo)

    # ------------------------------------------------------------------------------ the result

    def packed(self) -> tuple[bytes | None, list[Callout]]:
        """The added filters as packed tables, and the callouts that these name."""
        if not self.added:
            return None, []
        added = self.added.values()
        sublayers = {one.item.sublayer: one.sublayer for one in added}
        callouts = {one.item.callout: one.callout for one in added if one.callout is not None}
        contexts = {one.item.provider_context: one.context for one in added if one.context is not None}
        policy = Policy(
            filters=tuple(one.item for one in added),
            sublayers=tuple(_as(item, name) for name, item in sublayers.items()),
            callouts=tuple(_as(item, name) for name, item in callouts.items()),
            provider_contexts=tuple(_as(item, name) for name, item in contexts.items()),
            sets=tuple(self._sets.values()),
        )
        return pack(policy), list(policy.callouts)

    def contexts(self) -> dict[str, object]:
        """Data of the provider contexts that the added filters name, by the name they use."""
        return {one.item.provider_context: one.context.data for one in self.added.values() if one.context is not None}

    def call_of(self, callout: Callout) -> object:
        """What a session registered for a callout, or None."""
        entry = self._objects[Kind.CALLOUT].get(callout.key)
        return None if entry is None else entry.call

    def store(self) -> Store:
        """The store after this transaction."""
        added = {key: one.entry for key, one in self.added.items()}
        filters = self.base.filters.changed(added, self.removed) if added or self.removed else self.base.filters
        return Store(self._objects, filters, self._next_id)


Named = TypeVar("Named", Sublayer, Callout, ProviderContext)


def _as(item: Named, name: str) -> Named:
    """The object under the name that filters know it by."""
    return item if item.name == name else replace(item, name=name)


def _refers(entry: FilterEntry, kind: Kind, key: uuid.UUID, name: str) -> bool:
    if kind is Kind.PROVIDER:
        return entry.provider == name
    return key == {
        Kind.SUBLAYER: entry.sublayer, Kind.CALLOUT: entry.callout, Kind.PROVIDER_CONTEXT: entry.context,
    }[kind]  # fmt: skip


def _in_use(kind: Kind, entry: Entry, counts: Mapping[Kind, int]) -> FwpError:
    """Who refers to an object, and which commands list them."""
    name = entry.item.name
    who = ", ".join(f"{count} {other.words}{'s' if count > 1 else ''}" for other, count in counts.items())
    refer = "refers" if sum(counts.values()) == 1 else "refer"
    option = f"--{kind.value.replace('_', '-')} {shlex.quote(name)}"
    commands = ", ".join(f"`wfpd {other.plural.replace('_', '-')} list {option}`" for other in counts)
    return FwpError("FWP_E_IN_USE", f"{who} {refer} to {kind.words} {name!r}", hint=f"see {commands}")


def _change(event: Event, kind: Kind, entry: Entry) -> Change:
    item = entry.item
    return Change(event, kind, item.key, entry.id, item.name, getattr(item, "provider", ""))


def _same_values(one: ValueSet, other: ValueSet) -> bool:
    return (one.type, list(one.ranges), list(one.ranges_v6), one.texts) == (
        other.type, list(other.ranges), list(other.ranges_v6), other.texts,
    )  # fmt: skip

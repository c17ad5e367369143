"""What one reader sees: the objects and the tables of one moment, or those of a transaction."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from wfpd.bfe.objects import KIND_OF, OF_FILE, Added, Entry, FilterEntry, Item, Kind, Lifetime, filter_id
from wfpd.bfe.working import Store, Working
from wfpd.dataplane import Snapshot
from wfpd.errors import FwpError
from wfpd.model.layers import slot_name

if TYPE_CHECKING:
    from wfpd.bfe.engine import Bfe

Described = dict[str, Any]
Show = Callable[[Any], Described]
_OBJECT_TEMPLATE = frozenset({"provider", "name"})


@dataclass(frozen=True, slots=True)
class View:
    """Objects, and the filters of up to two tables: those that run, and those of a transaction."""

    engine: Bfe
    objects: Store | Working
    running: Snapshot | None
    staged: Snapshot | None = None
    removed: frozenset[bytes] = frozenset()
    """Filters of the running tables that the transaction deletes."""

    @classmethod
    def of_moment(cls, engine: Bfe) -> View:
        """What stands now."""
        return cls(engine, *engine.moment())

    @classmethod
    def of_working(cls, engine: Bfe, working: Working) -> View:
        """What a transaction sees."""
        packed, _ = working.packed()
        staged = None if packed is None else engine.ground.staged(packed)
        return cls(engine, working, engine.ground.snapshot, staged, frozenset(working.removed))

    # ------------------------------------------------------------------------------- objects

    def get(self, kind: Kind, key: uuid.UUID) -> Described:
        """One object."""
        if kind is Kind.FILTER:
            for snapshot in (self.staged, self.running):
                if snapshot is None or (place := self.engine.ground.find(snapshot, key.bytes)) is None:
                    continue
                if snapshot is self.staged or key.bytes not in self.removed:
                    return self._filter((snapshot, place))
        elif (entry := self._entries(kind).get(key)) is not None:
            return self._object(kind, entry)
        raise FwpError(kind.not_found, f"no {kind.words} has the key {key}")

    def _entries(self, kind: Kind) -> Mapping[uuid.UUID, Entry]:
        return self.objects.entries(kind)

    def _object(self, kind: Kind, entry: Entry) -> Described:
        count = self.engine.ground.references(kind, entry.item.key, entry.item.name)
        found = shown(kind, entry, count)
        if kind is Kind.CALLOUT:
            found |= self.engine.ground.callout_state(entry.item.name, entry.item.key.bytes)
        return found

    def _filter(self, place: tuple[Snapshot, int]) -> Described:
        described = self.engine.ground.described(*place)
        key = uuid.UUID(described["key"]).bytes
        entry = self._filter_entry(key)
        owner = OF_FILE if entry is None else entry.owner
        return {
            **described, "id": filter_id(key), "provider": described["provider"] or None,
            "lifetime": owner.lifetime.value, "session": _text(owner.session),
            "uid": None if owner.session is None else owner.uid,
            "expires": None if entry is None else self._until(entry),
        }  # fmt: skip

    def _filter_entry(self, key: bytes) -> FilterEntry | None:
        if isinstance(self.objects, Working):
            added = self.objects.added.get(key)
            return self.objects.base.filters.get(key) if added is None else added.entry
        return self.objects.filters.get(key)

    def _until(self, entry: FilterEntry) -> float | None:
        """Seconds since the epoch at which it goes."""
        return None if entry.expires is None else round(time.time() + entry.expires - self.engine.clock(), 3)

    # --------------------------------------------------------------------------- enumeration

    def places(self, kind: Kind, template: Mapping[str, Any]) -> tuple[Sequence[Any], Show]:
        """What a template admits, and how one of it is shown."""
        if kind is Kind.FILTER:
            return self._filter_places(template), self._filter
        if unknown := sorted(template.keys() - _OBJECT_TEMPLATE):
            raise FwpError("FWP_E_INVALID_PARAMETER", f"a template of {kind.words}s has no {unknown[0]!r}")
        entries = [entry for entry in self._entries(kind).values() if _admits(template, entry.item)]
        if kind is Kind.SUBLAYER:
            entries.sort(key=lambda entry: -getattr(entry.item, "weight", 0))
        return entries, lambda entry: self._object(kind, entry)

    def _filter_places(self, template: Mapping[str, Any]) -> Sequence[tuple[Snapshot, int]]:
        ground = self.engine.ground
        places: list[tuple[Snapshot, int]] = []
        for snapshot in (self.staged, self.running):
            if snapshot is None:
                continue
            found = ground.enumerate(snapshot, template, self.objects)
            if snapshot is self.running and self.removed:
                found = [place for place in found if ground.key(snapshot, place) not in self.removed]
            places += ((snapshot, place) for place in found)
        return places


def added(items: Iterable[tuple[Item, object]], filters: Iterable[Added]) -> list[Described]:
    """What a change has added, briefly."""
    found: list[Described] = [
        {"key": str(item.key), "name": item.name, "type": KIND_OF[type(item)].plural} for item, _ in items
    ]
    return found + [
        {"key": str(one.item.key), "name": one.item.name, "type": Kind.FILTER.plural, "layer": slot_name(one.item.slot),
         "sublayer": one.sublayer.name, "weight": one.item.weight, "provider": one.item.provider or None}
        for one in filters
    ]  # fmt: skip


def _admits(template: Mapping[str, Any], item: Item) -> bool:
    return all(getattr(item, name, None) == value for name, value in template.items())


def _text(key: uuid.UUID | None) -> str | None:
    return None if key is None else str(key)


def shown(kind: Kind, entry: Entry, n_filters: int) -> Described:
    """An object that is no filter, as it is listed."""
    item, owner = entry.item, entry.owner
    found: Described = {
        "key": str(item.key), "id": entry.id, "name": item.name, "description": item.description,
        "lifetime": owner.lifetime.value, "session": _text(owner.session), "n_filters": n_filters,
    }  # fmt: skip
    for name, label in (("weight", "weight"), ("requested", "requested_weight"), ("data", "data"), ("use", "use"),
                        ("options", "options"), ("operate", "operate")):  # fmt: skip
        if hasattr(item, name):
            found[label] = getattr(item, name)
    if kind is not Kind.PROVIDER:
        builtin = owner.lifetime is Lifetime.BUILTIN
        found["provider"] = None if builtin else getattr(item, "provider", "") or None
    if kind is Kind.CALLOUT:
        found["registered"] = bool(getattr(item, "use", ""))
    return found

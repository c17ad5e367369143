"""The engine's ground: the running tables, as the engine asks for them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from wfpd.bfe.objects import Kind
from wfpd.bfe.working import Store, Working
from wfpd.callouts.registered import Registered
from wfpd.callouts.registry import load_callouts
from wfpd.control.tables import Tables
from wfpd.control.template import Template
from wfpd.dataplane import Part, Snapshot, live_ids, references
from wfpd.model.policy import Callout
from wfpd.observe.described import describe_filter

Change = Callable[[bytes | None, Sequence[tuple[Callout, object]], Iterable[bytes], Mapping[str, object]], int]
"""Makes a change of the tables the running one; its generation."""
Hits = Callable[[Sequence[int]], Sequence[tuple[int, float]]]
"""Of counter slots: hits, and the time of the last one in seconds since the epoch, 0 = none yet."""


class TablesGround:
    """See wfpd.bfe.ground.Ground."""

    def __init__(
        self,
        tables: Tables,
        change: Change,
        hits: Hits,
        callout_path: Callable[[], Sequence[str]] = tuple,
        errors: Callable[[], Mapping[str, int]] = dict,
        calls: Callable[[], Mapping[str, int]] = dict,
        contexts: Callable[[int], int] = lambda number: 0,
        watches: Callable[[], Mapping[str, Mapping[str, Any]]] = dict,
    ) -> None:
        """`errors` and `calls`: of callouts, by name; `contexts`: how many flow contexts one of this number has;
        `watches`: as `Engine.callout_watches`."""
        self._tables = tables
        self._change = change
        self._hits = hits
        self._callout_path = callout_path
        self._errors, self._calls, self._contexts, self._watches = errors, calls, contexts, watches

    def apply(
        self,
        packed: bytes | None,
        callouts: Sequence[tuple[Callout, object]],
        remove: Iterable[bytes],
        contexts: Mapping[str, object],
    ) -> int:
        return self._change(packed, callouts, remove, contexts)

    @property
    def snapshot(self) -> Snapshot | None:
        return self._tables.snapshot

    @property
    def generation(self) -> int:
        snapshot = self._tables.snapshot
        return 0 if snapshot is None else snapshot.generation

    def has(self, key: bytes) -> bool:
        return self._tables.has(key)

    def is_of_file(self, key: bytes) -> bool:
        snapshot = self._tables.snapshot
        return snapshot is not None and snapshot.root.is_of_file(key)

    def _info(self, key: bytes) -> dict[str, Any] | None:
        snapshot = self._tables.snapshot
        place = None if snapshot is None else snapshot.find(key)
        return None if snapshot is None or place is None else snapshot.filter_info(place)

    def name_of(self, key: bytes) -> tuple[str, str]:
        found = self._info(key)
        return ("", "") if found is None else (found["name"], found["provider"])

    def names(self) -> Mapping[bytes, tuple[str, str]]:
        snapshot = self._tables.snapshot
        found = () if snapshot is None else map(snapshot.filter_info, live_ids(snapshot))
        return {one["key"]: (one["name"], one["provider"]) for one in found}

    def refers(self, key: bytes, kind: Kind, to: uuid.UUID, name: str) -> bool:
        found = self._info(key)
        return found is not None and found[kind.value] == name

    def references(self, kind: Kind, to: uuid.UUID, name: str) -> int:
        snapshot = self._tables.snapshot
        if snapshot is None or kind is Kind.FILTER:
            return 0
        return references(snapshot, kind.value, to.bytes, name)

    def callout_state(self, name: str, key: bytes) -> dict[str, Any]:
        found: dict[str, Any] = {"calls": self._calls().get(name, 0), "errors": self._errors().get(name, 0),
                                 "suspended": bool(self._watches().get(name, {}).get("suspended", False))}  # fmt: skip
        snapshot = self._tables.snapshot
        if snapshot is None or not snapshot.root.has_callout(key):
            return found
        item = snapshot.root.callable_of(key)
        if isinstance(item, Registered):
            made = type(item.instance)
            found |= {"class": f"{made.__module__}:{made.__qualname__}", "layers": list(item.layers),
                      "contexts": self._contexts(item.number)}  # fmt: skip
        return found

    def load(self, callout: Callout) -> object:
        return load_callouts([callout], self._callout_path())[0]

    def staged(self, packed: bytes) -> Snapshot:
        callouts = Part(packed, search=False).callout_keys()
        return Snapshot(packed, [None] * len(callouts), generation=1, on_error=1, on_malformed=1, on_late=1,
                        flows_full=1)  # fmt: skip

    def find(self, snapshot: Snapshot, key: bytes) -> int | None:
        return snapshot.find(key)

    def key(self, snapshot: Snapshot, place: int) -> bytes:
        found: bytes = snapshot.filter_info(place)["key"]
        return found

    def enumerate(self, snapshot: Snapshot, template: Mapping[str, Any], objects: Store | Working) -> Sequence[int]:
        return Template(template, objects).admitted(snapshot)

    def described(self, snapshot: Snapshot, place: int) -> dict[str, Any]:
        hits, last = 0, 0.0
        running = self._tables.snapshot
        if running is not None and snapshot.slots is running.slots:  # Its counters are the running ones.
            ((hits, last),) = self._hits([snapshot.filter_info(place)["counter_slot"]])
        return {**describe_filter(snapshot, place), "hits": hits, "last_hit": last or None}

"""Tables as a dict: what the engine stands on in tests of the engine alone."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from wfpd.bfe.objects import Kind
from wfpd.dataplane import Part, Snapshot
from wfpd.errors import KernelError
from wfpd.explaining import bare_snapshot
from wfpd.model.policy import Callout, Policy


class SimpleGround:
    """Filters by key; a snapshot's numbers are those of the dict's order."""

    def __init__(self) -> None:
        self.filters: dict[bytes, dict[str, Any]] = {}
        self.of_file: set[bytes] = set()
        self.generation = 0
        self.calls: list[tuple[int, int]] = []
        """Filters added and removed by each switch."""
        self.fails = False
        self.loaded: list[str] = []
        self.registered: dict[str, object] = {}
        self.while_applying: Callable[[], object] = lambda: None
        self.snapshot: Any = self

    def apply(
        self,
        packed: bytes | None,
        callouts: Sequence[tuple[Callout, object]],
        remove: Iterable[bytes],
        contexts: Mapping[str, object],
    ) -> int:
        if self.fails:
            raise KernelError("the rules cannot be installed")
        self.while_applying()
        removed = list(remove)
        added = {} if packed is None else filters_of(self.staged(packed))
        for key in removed:
            del self.filters[key]
        assert not added.keys() & self.filters.keys()
        self.filters |= added
        self.registered |= {callout.name: call for callout, call in callouts}
        self.calls.append((len(added), len(removed)))
        self.generation += 1
        return self.generation

    def publish(self, policy: Policy) -> int:
        """A policy file's filters in place of those of the file before."""
        taken = filters_of(bare_snapshot(policy))
        self.filters = {key: one for key, one in self.filters.items() if key not in self.of_file} | taken
        self.of_file = set(taken)
        self.generation += 1
        return self.generation

    def has(self, key: bytes) -> bool:
        return key in self.filters

    def is_of_file(self, key: bytes) -> bool:
        return key in self.of_file

    def name_of(self, key: bytes) -> tuple[str, str]:
        found = self.filters.get(key)
        return ("", "") if found is None else (found["name"], found["provider"])

    def names(self) -> Mapping[bytes, tuple[str, str]]:
        return {key: (one["name"], one["provider"]) for key, one in self.filters.items()}

    def refers(self, key: bytes, kind: Kind, to: uuid.UUID, name: str) -> bool:
        return self.filters[key][kind.value] == name

    def references(self, kind: Kind, to: uuid.UUID, name: str) -> int:
        return sum(self.refers(key, kind, to, name) for key in self.filters)

    def callout_state(self, name: str, key: bytes) -> dict[str, Any]:
        return {"errors": 3 if name == "c" else 0, "suspended": name == "c"}

    def load(self, callout: Callout) -> object:
        self.loaded.append(callout.use)
        return lambda classify: None

    def staged(self, packed: bytes) -> Snapshot:
        part = Part(packed, search=False)
        return Snapshot(packed, [None] * len(part.callout_keys()), generation=1, on_error=1, on_malformed=1, on_late=1,
                        flows_full=1)  # fmt: skip

    def _of(self, snapshot: Any) -> dict[bytes, dict[str, Any]]:
        return self.filters if snapshot is self else filters_of(snapshot)

    def find(self, snapshot: Any, key: bytes) -> int | None:
        keys = list(self._of(snapshot))
        return keys.index(key) if key in keys else None

    def key(self, snapshot: Any, place: int) -> bytes:
        return list(self._of(snapshot))[place]

    def enumerate(self, snapshot: Any, template: Mapping[str, Any], objects: object) -> Sequence[int]:
        return [place for place, one in enumerate(self._of(snapshot).values())
                if all(one[name] == value for name, value in template.items())]  # fmt: skip

    def described(self, snapshot: Any, place: int) -> dict[str, Any]:
        key, found = list(self._of(snapshot).items())[place]
        return {**found, "key": str(uuid.UUID(bytes=key))}


def filters_of(snapshot: Snapshot) -> dict[bytes, dict[str, Any]]:
    """What a snapshot says of its filters, by key."""
    found = (snapshot.filter_info(index) for index in range(snapshot.n_filters))
    return {
        one["key"]: {"name": one["name"], "provider": one["provider"], "layer": one["layer"],
                     "sublayer": one["sublayer"], "callout": one["callout"], "weight": one["weight"],
                     "provider_context": one["provider_context"]}
        for one in found
    }  # fmt: skip

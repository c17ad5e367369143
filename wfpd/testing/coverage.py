"""Which filters the cases have hit, layer by layer.

A hit is what the metrics count: its result was the terminating one of its sublayer, or its callout was
asked.  A filter in audit mode is hit where it matched.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from wfpd.dataplane import Snapshot
from wfpd.model.layers import BY_SLOT, slot_name


class Coverage:
    """One policy's filters, and which of them were hit."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._hit: set[int] = set()

    def note(self, visits: Iterable[Mapping[str, Any]]) -> None:
        """Take note of visits that were explained; one that was given up as late tells of the layers before."""
        for visit in visits:
            for layer in visit["layers"]:
                for step in layer["steps"]:
                    if step["answer"] is not None or step["said"] in ("permit", "block", "audit"):
                        self._hit.add(step["filter"])

    def document(self) -> dict[str, Any]:
        """By layer: how many filters there are, how many were hit, and the names of the others."""
        layers = []
        for slot in BY_SLOT:
            indexes = [self._snapshot.layer_filter(slot, i) for i in range(self._snapshot.layer_count(slot))]
            if not indexes:
                continue
            missed = [self._snapshot.filter_name(index) for index in indexes if index not in self._hit]
            layers.append({"layer": slot_name(slot), "filters": len(indexes), "hit": len(indexes) - len(missed),
                           "missed": missed})  # fmt: skip
        return {"filters": sum(layer["filters"] for layer in layers), "hit": sum(layer["hit"] for layer in layers),
                "layers": layers}  # fmt: skip

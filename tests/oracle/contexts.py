"""Flow contexts as plainly as can be: a dict."""

from __future__ import annotations


class PlainContexts:
    """See wfpd.dataplane._flow_contexts; of unlimited size."""

    def __init__(self) -> None:
        self.kept: dict[tuple[int, int, int], object] = {}
        self.ended: list[tuple[int, int, object]] = []

    def add(self, flow: int, slot: int, callout: int, value: object) -> str:
        if (flow, slot, callout) in self.kept:
            return "exists"
        self.kept[flow, slot, callout] = value
        return "ok"

    def _end(self, keys: list[tuple[int, int, int]]) -> None:
        self.ended += [(key[0], key[1], self.kept.pop(key)) for key in keys]

    def remove(self, flow: int, slot: int, callout: int) -> bool:
        there = (flow, slot, callout) in self.kept
        self._end([(flow, slot, callout)] if there else [])
        return there

    def end_flow(self, flow: int) -> None:
        self._end([key for key in self.kept if key[0] == flow])

    def retire(self, live: set[int]) -> None:
        self._end([key for key in self.kept if key[2] not in live])

    def drain(self) -> list[tuple[int, int, object]]:
        found, self.ended = self.ended, []
        return found

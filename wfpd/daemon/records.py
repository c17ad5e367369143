"""From the packet path's ring to event records with names."""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable, Iterable
from typing import Any

from wfpd.dataplane import Snapshot, parse_of
from wfpd.model.layers import slot_name
from wfpd.observe.flow_ends import flow_record
from wfpd.observe.record import EventRecord

UDP = 17
KEPT_BASES = 16
"""Bases whose names are kept for events that are still in the ring."""
KEPT_FILTERS = 50_000
"""Filters of the kept bases together: a large one takes half a kilobyte for each."""
KEPT_GENERATIONS = 16_384
"""Generations of which it is known on which base they stood."""
FORGOTTEN_AT_ONCE = 1024
"""Generations: each time the recorder is looked through for names that are still needed."""


class _Base:
    """The last snapshot over one base: it names the filters of all before it."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot


class RecordMaker:
    """Turns `Engine.drain_events()` dicts into EventRecords; remembers the last generations' names.

    `learn` is called by one thread at a time, `record` and `flow` by another, `names` by any.
    """

    def __init__(self, recorded: Callable[[], Iterable[tuple[int, int]]] = tuple) -> None:
        """`recorded`: (generation, filter) of what the recorder holds; it keeps its names when their snapshot goes."""
        self._recorded = recorded
        self._names: dict[tuple[int, int], dict[str, Any]] = {}
        """(generation, filter) of forgotten generations: no more than what the recorder holds names."""
        self._forgetting = threading.Lock()
        self._bases: list[_Base] = []
        self._generations: collections.OrderedDict[int, _Base] = collections.OrderedDict()

    def learn(self, snapshot: Snapshot) -> None:
        """A snapshot is going to run."""
        base = next((base for base in self._bases if base.snapshot.root is snapshot.root), None)
        if base is None:
            base = _Base(snapshot)
            self._bases = [*self._bases, base]
        base.snapshot = snapshot
        self._generations[snapshot.generation] = base
        if len(self._generations) > KEPT_GENERATIONS:
            self._drop(list(self._generations)[:FORGOTTEN_AT_ONCE])
        self._forget(2)

    def make_room(self) -> None:
        """A snapshot is going to be built: of large ones only the running one stays."""
        self._forget(1)

    def _forget(self, at_least: int) -> None:
        """Drop the oldest: those too many, and of large ones all but the last `at_least`."""
        kept = self._bases
        while len(kept) > KEPT_BASES or (
            len(kept) > at_least and sum(base.snapshot.n_filters for base in kept) > KEPT_FILTERS
        ):
            gone, kept = kept[0], kept[1:]
            self._drop([one for one, base in self._generations.items() if base is gone])
        self._bases = kept

    def _drop(self, generations: Iterable[int]) -> None:
        """Forget on which base these stood; what the recorder still holds of them keeps its names."""
        going = set(generations)
        found: dict[tuple[int, int], dict[str, Any]] = {}
        for key in self._recorded():
            if key in self._names or key[0] in going:
                found[key] = self.names(*key)
        with self._forgetting:
            self._names = found
            for generation in going:
                del self._generations[generation]

    def names(self, generation: int, number: int) -> dict[str, Any]:
        """`filter`, `sublayer`, `sublayer_weight`, `callout` of a recorded filter; empty: not known any more."""
        with self._forgetting:
            known = self._names.get((generation, number))
            snapshot = self._of(generation)
        if known is not None:
            return known
        if snapshot is None:
            return {}
        info = snapshot.filter_info(number)
        return {"filter": info["name"], "sublayer": info["sublayer"], "sublayer_weight": info["sublayer_weight"],
                "callout": info["callout"]}  # fmt: skip

    def _of(self, generation: int) -> Snapshot | None:
        base = self._generations.get(generation)
        return None if base is None else base.snapshot

    def info(self, generation: int, index: int) -> dict[str, Any] | None:
        """Snapshot.filter_info() of a filter of that generation, None if it is not known any more."""
        snapshot = self._of(generation)
        return None if snapshot is None else snapshot.filter_info(index)

    def record(self, event: dict[str, Any], interface: str) -> EventRecord:
        """One event; `interface` is the arrival interface's name."""
        snapshot = self._of(event["generation"])
        info = {}
        callout = None
        if snapshot is not None and event["filter"] is not None:
            info = snapshot.filter_info(event["filter"])
        if snapshot is not None and event["callout"] is not None:
            callout = snapshot.callout_name(event["callout"])
        audit = event["kind"] == "audit"
        verdict = "block" if event["would_block"] else event["verdict"]
        if audit and info.get("action") in ("permit", "block"):
            verdict = info["action"]
        return EventRecord(
            timestamp_ns=event["timestamp_ns"],
            verdict=verdict,
            reason=event["reason"],
            malformed=event["malformed"] or "",
            layer=None if event["slot"] is None else slot_name(event["slot"]),
            sublayer=info.get("sublayer"),
            filter=info.get("name"),
            callout=callout,
            veto=event["veto"],
            audit=audit or event["would_block"],
            passed=event["verdict"] == "permit",
            reply=(event["reply"] or "none") if event["hook"] != "postrouting" else "none",
            generation=event["generation"],
            suppressed=event["suppressed"],
            flow_id=event["flow_id"],
            to_server=event["to_server"],
            in_iface=interface,
            **packet_members(event["bytes"], event["length"]),
        )

    def flow(self, ended: dict[str, Any], interface: str, offset_ns: int) -> EventRecord:
        """One ended flow; `offset_ns` turns the monotonic clock into time since the epoch."""
        return flow_record(ended, self.filter_of, offset_ns=offset_ns, interface=interface)

    def filter_of(self, slot: int, place: int, layer_generation: int) -> dict[str, Any] | None:
        """The filter in any snapshot that has that content of the layer, or stands on the base that had it."""
        same = (base.snapshot for base in reversed(self._bases)
                if base.snapshot.layer_generation(slot) == layer_generation)  # fmt: skip
        snapshot = next(same, None) or self._of(layer_generation)
        if snapshot is None:
            return None
        found: dict[str, Any] = snapshot.filter_info(snapshot.layer_filter(slot, place))
        return found


def packet_members(data: bytes, length: int) -> dict[str, Any]:
    """The packet's part of a record, from its first bytes; empty if they are no IP packet."""
    view = parse_of(data, max(length, len(data)))
    if view["family"] not in (4, 6) or not data:
        return {"length": length}
    v4 = view["family"] == 4
    size = 4 if v4 else 16
    at = 12 if v4 else 8
    members: dict[str, Any] = {
        "source": data[at : at + size],
        "destination": data[at + size : at + 2 * size],
        "length": view["length"],
        "tos": (view["dscp"] << 2) | view["ecn"],
        "ttl": view["ttl"],
    }
    if view["has_protocol"]:
        members["protocol"] = view["protocol"]
    if v4:
        members["ip_id"] = int.from_bytes(data[4:6], "big")
    else:
        members["flow_label"] = int.from_bytes(data[1:4], "big") & 0xFFFFF
    if view["has_ports"]:
        members.update(source_port=view["source_port"], destination_port=view["destination_port"])
    if view.get("protocol") == UDP and view["has_ports"]:
        at = view["transport_offset"] + 4
        members["udp_length"] = int.from_bytes(data[at : at + 2], "big")
    if view["has_icmp"]:
        members.update(icmp_type=view["icmp_type"], icmp_code=view["icmp_code"])
    if view["has_tcp"]:
        members.update(
            tcp_seq=view["tcp_sequence"], tcp_ack=view["tcp_acknowledgment"], tcp_window=view["tcp_window"],
            tcp_flags=view["tcp_flags"],
        )  # fmt: skip
    return members

"""From the packet path's ring to event records with names."""

from __future__ import annotations

import collections
from typing import Any

from wfpd.dataplane import Snapshot, parse_of
from wfpd.model.layers import slot_name
from wfpd.observe.flow_ends import flow_record
from wfpd.observe.record import EventRecord

UDP = 17
KEPT_GENERATIONS = 16
"""Snapshots whose names are kept for events that are still in the ring."""
KEPT_FILTERS = 50_000
"""Filters of the kept snapshots together: a large one takes half a kilobyte for each."""


class RecordMaker:
    """Turns `Engine.drain_events()` dicts into EventRecords; remembers the last generations' names."""

    def __init__(self) -> None:
        self._snapshots: collections.OrderedDict[int, Snapshot] = collections.OrderedDict()

    def learn(self, snapshot: Snapshot) -> None:
        """A snapshot was published."""
        self._snapshots[snapshot.generation] = snapshot
        self._forget(2)

    def make_room(self) -> None:
        """A snapshot is going to be built: of large ones only the running one stays."""
        self._forget(1)

    def _forget(self, at_least: int) -> None:
        """Drop the oldest: those too many, and of large ones all but the last `at_least`."""
        kept = self._snapshots
        while len(kept) > KEPT_GENERATIONS or (
            len(kept) > at_least and sum(item.n_filters for item in kept.values()) > KEPT_FILTERS
        ):
            kept.popitem(last=False)

    def record(self, event: dict[str, Any], interface: str) -> EventRecord:
        """One event; `interface` is the arrival interface's name."""
        snapshot = self._snapshots.get(event["generation"])
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
        return flow_record(ended, self._filter_of, offset_ns=offset_ns, interface=interface)

    def _filter_of(self, slot: int, place: int, layer_generation: int) -> dict[str, Any] | None:
        """The filter in any snapshot that still has that content of the layer."""
        for snapshot in reversed(list(self._snapshots.values())):
            if snapshot.layer_generation(slot) == layer_generation:
                found: dict[str, Any] = snapshot.filter_info(snapshot.layer_filter(slot, place))
                return found
        return None


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

"""An ended flow of the packet path's table as an event record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from wfpd.dataplane import REASON_NAMES
from wfpd.model.layers import slot_name
from wfpd.observe.record import EventRecord, FlowTotals

_WITH_PORTS = frozenset({6, 17, 33, 132, 136})
_ICMP = frozenset({1, 58})
_TCP_STATES = {"opening": "new", "established": "established", "closing": "closed"}
_REASONS = {"timeout": "timeout", "shutdown": "shutdown"}
"""Suricata's words for an end; every other cause is `forced`, and our own word says which."""

Names = Callable[[int, int, int], Mapping[str, Any] | None]
"""(slot, place, layer generation) to what Snapshot.filter_info() says, None if it is not known any more."""


def flow_record(
    ended: Mapping[str, Any], names: Names, *, offset_ns: int = 0, interface: str = "", packet_count: int = 0
) -> EventRecord:
    """One dict of Flows.drain_ended(); `offset_ns` turns the table's clock into time since the epoch."""
    info: Mapping[str, Any] = {}
    if ended["slot"] is not None and ended["place"] is not None:
        info = names(ended["slot"], ended["place"], ended["layer_generation"]) or {}
    return EventRecord(
        timestamp_ns=ended["ended_ns"] + offset_ns,
        verdict="permit",
        reason=REASON_NAMES[ended["reason"]],
        layer=None if ended["slot"] is None else slot_name(ended["slot"]),
        sublayer=info.get("sublayer"),
        filter=info.get("name"),
        callout=info.get("callout"),
        generation=ended["generation"],
        flow_id=ended["flow_id"],
        in_iface=interface,
        packet_count=packet_count,
        flow=_totals(ended, offset_ns),
        **_ends(ended),
    )


def _ends(ended: Mapping[str, Any]) -> dict[str, Any]:
    """The 5-tuple from the end that started; the flow of all inbound groups has none."""
    if ended["inbound_group"]:
        return {}
    (source, source_port), (destination, destination_port) = ended["client"], ended["server"]
    found = {"source": source, "destination": destination, "protocol": ended["protocol"]}
    if ended["protocol"] in _WITH_PORTS:
        found |= {"source_port": source_port, "destination_port": destination_port}
    elif ended["protocol"] in _ICMP:
        found |= {"icmp_type": ended["icmp_type"], "icmp_code": ended["icmp_code"]}
    return found


def _totals(ended: Mapping[str, Any], offset_ns: int) -> FlowTotals:
    return FlowTotals(
        start_ns=ended["first_ns"] + offset_ns,
        end_ns=ended["last_ns"] + offset_ns,
        packets_to_server=ended["packets"][0],
        packets_to_client=ended["packets"][1],
        bytes_to_server=ended["bytes"][0],
        bytes_to_client=ended["bytes"][1],
        state=_TCP_STATES.get(ended["state"], "established" if ended["packets"][1] else "new"),
        end_reason=_REASONS.get(ended["end"], "forced"),
        cause=ended["end"],
    )

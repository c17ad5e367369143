"""What a staged policy has found, as a document with names."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from wfpd.candidates import Candidate
from wfpd.daemon.records import packet_members
from wfpd.dataplane import Stage, parse_of
from wfpd.imagined import Imagined
from wfpd.model.layers import slot_name
from wfpd.witness import command

Document = dict[str, Any]
_FIXED = 20
"""Bytes of what has no transport header: an IPv4 header without options."""
_OTHERS = 8
"""Bytes of a transport header that is not TCP's."""
_HOOKS = ("input", "output", "forward")
"""Those that `wfpd explain` knows."""


def report(stage: Stage, named: Sequence[Mapping[str, Any]], interface_name: Callable[[int], str]) -> Document:
    """Totals and differences; `named` has the active filters' names, by row.  `same` false: something would change,
    or it is not known."""
    totals = stage.totals()
    differences = _differences(stage, named, interface_name)
    return {
        "same": not (totals["would_block"] or totals["would_permit"] or totals["not_decided"]),
        "packets": {name: totals[name] for name in
                    ("seen", "left_out", "compared", "same", "would_block", "would_permit", "older_flows", "waiting")},
        "not_decided": {"packets": totals["not_decided"], "callouts": stage.not_decided()},
        "not_compared": {"ring_full": totals["ring_full"], "unparsable": totals["unparsable"]},
        "differences": differences,
        "other": totals["other"],
    }  # fmt: skip


def _differences(
    stage: Stage, named: Sequence[Mapping[str, Any]], interface_name: Callable[[int], str]
) -> list[Document]:
    """The pairs of filters, the one with most packets first; one pair's rows of several generations are one."""
    found: dict[tuple[Any, ...], Document] = {}
    offset = time.time_ns() - time.monotonic_ns()
    for number, active in enumerate(named):
        row = stage.difference(number)
        staged = {} if row["staged"] is None else stage.replayer.snapshot.filter_info(row["staged"])
        sides = (
            _side(active, row["active_slot"], row["active_reason"]),
            _side(staged, row["staged_slot"], row["staged_reason"]),
        )
        first, last = ((row[name] + offset) / 1e9 for name in ("first_ns", "last_ns"))
        before = found.setdefault(
            (row["verdict"], *(tuple(side.values()) for side in sides)),
            {"verdict": row["verdict"], "active": sides[0], "staged": sides[1], "packets": 0, "bytes": 0,
             "older_flows": 0, "first": first, "last": last, "example": _example(row["example"], interface_name)},
        )  # fmt: skip
        for name in ("packets", "bytes", "older_flows"):
            before[name] += row[name]
        before["first"], before["last"] = min(before["first"], first), max(before["last"], last)
    return sorted(found.values(), key=lambda one: -one["packets"])


def _side(info: Mapping[str, Any], slot: int | None, reason: str | None) -> Document:
    """Which filter of one policy decides, at which layer; without a filter, why."""
    return {"layer": None if slot is None else slot_name(slot), "sublayer": info.get("sublayer"),
            "filter": info.get("name"), "reason": reason}  # fmt: skip


def _example(packet: Mapping[str, Any], interface_name: Callable[[int], str]) -> Document:
    interface = interface_name(packet["out_interface"] if packet["hook"] == "output" else packet["in_interface"])
    return {
        "hook": packet["hook"],
        "length": packet["length"],
        "bytes": headers(packet["bytes"], packet["length"]).hex(),
        "mark": packet["mark"],
        "interface": interface or None,
        "command": explain_command(packet, interface),
    }


def headers(data: bytes, length: int) -> bytes:
    """The packet's headers: who may read what is counted is not shown what was said."""
    view = parse_of(data, max(length, len(data)))
    at = view["transport_offset"] if view["family"] in (4, 6) else 0
    if not at:
        return data[:_FIXED]
    return data[: at + ((data[at + 12] >> 4) * 4 if view["has_tcp"] else _OTHERS)]


def explain_command(packet: Mapping[str, Any], interface: str) -> str | None:
    """The `wfpd explain` that describes the packet's headers; None where it has no words for them."""
    members = packet_members(packet["bytes"], packet["length"])
    if packet["hook"] not in _HOOKS or "protocol" not in members:
        return None
    made = Imagined(
        members["protocol"],
        ipaddress.ip_address(members["source"]),
        ipaddress.ip_address(members["destination"]),
        members.get("source_port", 0),
        members.get("destination_port", 0),
        **({"flags": members["tcp_flags"]} if "tcp_flags" in members else {}),
        icmp_type=members.get("icmp_type", 0),
        icmp_code=members.get("icmp_code", 0),
    )
    mark = packet["mark"] or None
    return command(Candidate(made, (packet["hook"],), mark, interface.encode() if interface else None))

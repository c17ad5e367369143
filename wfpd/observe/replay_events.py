"""`wfpd replay --eve`: the same events as the daemon's, from a capture's packets and their decisions."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import IO, Any

from wfpd.observe.community_id import flow_number
from wfpd.observe.events import Encoder
from wfpd.observe.record import EventRecord
from wfpd.observe.suppress import Suppressor

_EXTENSIONS = frozenset({0, 43, 60})
_FRAGMENT, _AH = 44, 51
_WITH_PORTS = frozenset({6, 17, 33, 132, 136})
_DIRECTIONS = 65536
"""Conversations whose first packet's direction is remembered."""
_WINDOWS = 16384
"""Drops and what waits behind them: about 16 MB at most."""


def dissect(packet: bytes) -> dict[str, Any]:
    """The members of an EventRecord that an IP packet's bytes give; never raises, takes what is there."""
    try:
        found, at, first = (_ipv4 if packet[0] >> 4 == 4 else _ipv6)(packet)
    except (IndexError, struct.error):
        return {}
    if first:
        found |= _transport(found["protocol"], packet[at:])
    return found


def _ipv4(packet: bytes) -> tuple[dict[str, Any], int, bool]:
    tos, length, ident, fragment, ttl, protocol = struct.unpack_from("!xBHHHBB", packet)
    source, destination = struct.unpack_from("!4s4s", packet, 12)
    found = {"source": source, "destination": destination, "protocol": protocol, "tos": tos, "ttl": ttl,
             "ip_id": ident, "length": length}  # fmt: skip
    return found, (packet[0] & 15) * 4, not fragment & 0x1FFF


def _ipv6(packet: bytes) -> tuple[dict[str, Any], int, bool]:
    head, length, protocol, ttl, source, destination = struct.unpack_from("!IHBB16s16s", packet)
    at, first = 40, True
    while at + 8 <= len(packet):
        if protocol in _EXTENSIONS:
            protocol, size = packet[at], (packet[at + 1] + 1) * 8
        elif protocol == _AH:
            protocol, size = packet[at], (packet[at + 1] + 2) * 4
        elif protocol == _FRAGMENT:
            first = first and not int.from_bytes(packet[at + 2 : at + 4], "big") & 0xFFF8
            protocol, size = packet[at], 8
        else:
            break
        at += size
        if not first:
            break
    found = {"source": source, "destination": destination, "protocol": protocol, "tos": head >> 20 & 0xFF,
             "ttl": ttl, "flow_label": head & 0xFFFFF, "length": length + 40}  # fmt: skip
    return found, at, first


def _transport(protocol: int, data: bytes) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if protocol in _WITH_PORTS and len(data) >= 4:
        found["source_port"], found["destination_port"] = struct.unpack_from("!HH", data)
    if protocol in (1, 58) and len(data) >= 2:
        found["icmp_type"], found["icmp_code"] = data[0], data[1]
    if protocol == 6 and len(data) >= 16:
        found["tcp_seq"], found["tcp_ack"], found["tcp_flags"], found["tcp_window"] = struct.unpack_from(
            "!IIxBH", data, 4
        )
    if protocol == 17 and len(data) >= 6:
        found["udp_length"] = int.from_bytes(data[4:6], "big")
    return found


class ReplayEvents:
    """Writes the events of one replay; `close` writes what is held back."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        self._encoder = Encoder()
        self._suppressor = Suppressor(hold=True, max_windows=_WINDOWS)
        self._clients: dict[tuple[object, ...], object] = {}

    def add(
        self, number: int, timestamp_ns: int, packet: bytes, interface: str, line: Mapping[str, Any],
        told: Mapping[str, Any],
    ) -> None:  # fmt: skip
        """One packet with its line of replay, and what Replay.told says beside it."""
        record = EventRecord(
            timestamp_ns,
            line["verdict"],
            line["reason"],
            packet_count=number,
            in_iface=interface,
            **_members(packet, line["reason"]),
        )
        ports = (record.source_port or 0, record.destination_port or 0)
        flow_id = told.get("flow_id") or flow_number(record.source, record.destination, record.protocol or 0, ports)
        to_server = self._to_server(record)
        record = replace(record, flow_id=flow_id, to_server=told["to_server"] if told.get("flow_id") else to_server,
                         generation=1)  # fmt: skip
        self._write(self._suppressor.tick(timestamp_ns))
        if line["verdict"] == "block":
            self._write(self._suppressor.feed(replace(
                record, layer=line["layer"], sublayer=line["sublayer"], filter=line["filter"], veto=line["veto"],
                malformed=line.get("malformed", ""), callout=_callout(line), reply=told.get("reply") or "none",
            )))  # fmt: skip
        for info in told.get("noted", ()):
            if info["audit"] or line["verdict"] == "permit":
                self._write(self._suppressor.feed(_noted(record, info)))

    def end(self, flows: Iterable[EventRecord]) -> None:
        """Flows that have ended."""
        for flow in flows:
            self._write(self._suppressor.feed(flow))

    def close(self) -> None:
        """The capture is over."""
        self._write(self._suppressor.finish())
        self._out.flush()

    def _to_server(self, record: EventRecord) -> bool:
        """The conversation's first packet goes to the server."""
        near, far = (record.source, record.source_port), (record.destination, record.destination_port)
        key = (record.protocol, frozenset((near, far)))
        if key not in self._clients and len(self._clients) >= _DIRECTIONS:
            del self._clients[next(iter(self._clients))]
        return self._clients.setdefault(key, near) == near

    def _write(self, records: Iterable[EventRecord]) -> None:
        for record in records:
            self._out.write(self._encoder.line(record))


def _noted(record: EventRecord, info: Mapping[str, Any]) -> EventRecord:
    """What a filter that logs its permits, or is in audit mode, says of a packet."""
    said = info["action"] if info["audit"] and info["action"] in ("permit", "block") else record.verdict
    return replace(
        record, verdict=said, audit=info["audit"], passed=record.verdict == "permit", layer=info["layer"], malformed="",
        sublayer=info["sublayer"], filter=info["name"], callout=info["callout"],
        reason=info["reason"],
    )  # fmt: skip


def _members(packet: bytes, reason: str) -> dict[str, Any]:
    found: dict[str, Any] = {"length": len(packet)} | ({} if reason == "not_ip" else dissect(packet))
    found["length"] = found["length"] or len(packet)  # A header may say 0: offload, or a jumbogram.
    return found


def _callout(line: Mapping[str, Any]) -> str | None:
    """The last callout called at the deciding layer, where a callout decided."""
    if line["reason"] not in ("callout", "veto", "missing_callout", "late", "error"):
        return None
    rows = [row for row in line["layers"] if row["layer"] == line["layer"] and row["callouts"]]
    return rows[-1]["callouts"][-1] if rows else None

"""Event records as lines of JSON in EVE's form (docs/events.md, event_schema.json).

`drop` is Suricata's object of the same name, `verdict` uses its words; what WFP adds stands in one
object, `wfp`.  Whatever came from a packet is a number, an address, or escaped by the JSON writer.
"""

from __future__ import annotations

import ipaddress
import json
import time
from collections.abc import Callable

from wfpd.observe.community_id import community_id, flow_number
from wfpd.observe.record import EventRecord, FlowTotals, Suspension

SCHEMA_VERSION = 2

_PROTOCOLS = {1: "ICMP", 2: "IGMP", 4: "IPIP", 6: "TCP", 17: "UDP", 33: "DCCP", 41: "IPV6", 46: "RSVP", 47: "GRE",
              50: "ESP", 51: "AH", 58: "IPV6-ICMP", 88: "EIGRP", 89: "OSPF", 103: "PIM", 108: "IPCOMP", 112: "VRRP",
              115: "L2TP", 132: "SCTP", 136: "UDPLITE"}  # fmt: skip

# Suricata's words where its list has one for the cause; else our own reason.
_DROP_REASONS = {"filter": "rules", "callout": "rules", "veto": "rules", "missing_callout": "rules",
                 "malformed": "decode_error", "limit": "flow_memcap", "flow": "flow_drop"}  # fmt: skip
_TCP_FLAGS = (("fin", 0x01), ("syn", 0x02), ("rst", 0x04), ("psh", 0x08), ("ack", 0x10), ("urg", 0x20),
              ("ece", 0x40), ("cwr", 0x80))  # fmt: skip
_TCP, _RST = 6, 0x04
_WITH_PORTS = frozenset({6, 17, 33, 132, 136})
_ICMP_ERRORS = {1: frozenset({3, 4, 5, 11, 12}), 58: frozenset(range(128))}
_REJECT_TARGET = "to_client"
"""A reply goes to the sender of the packet; Suricata's name for that end."""

Event = dict[str, object]


def utc_offset(seconds: int) -> int:
    """The local zone's offset at a Unix time, in seconds east of UTC."""
    return time.localtime(seconds).tm_gmtoff


def format_timestamp(nanoseconds: int, offset: Callable[[int], int] = utc_offset) -> str:
    """`2026-01-31T12:00:00.000001+0100`."""
    seconds, fraction = divmod(nanoseconds, 1_000_000_000)
    try:
        east = offset(seconds)
        when = time.gmtime(seconds + east)
    except (OverflowError, OSError, ValueError):
        east, when, fraction = 0, time.gmtime(0), 0
    hours, minutes = divmod(abs(east) // 60, 60)
    sign = "-" if east < 0 else "+"
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', when)}.{fraction // 1000:06d}{sign}{hours:02d}{minutes:02d}"


class Encoder:
    """EventRecord to one line.  Used live and by replay."""

    def __init__(self, flow_key: bytes = b"", offset: Callable[[int], int] = utc_offset) -> None:
        """`flow_key` makes the ids of packets without a flow unpredictable; replay leaves it empty."""
        self._flow_key = flow_key
        self._offset = offset

    def event(self, record: EventRecord) -> Event:
        """The event as an object, keys in EVE's usual order."""
        if record.suspension is not None:
            return _suspension(record.suspension, format_timestamp(record.timestamp_ns, self._offset))
        event: Event = {
            "timestamp": format_timestamp(record.timestamp_ns, self._offset),
            "event_type": _event_type(record),
            "flow_id": self._flow_id(record),
        }
        if record.in_iface:
            event["in_iface"] = record.in_iface
        if record.packet_count:
            event["pcap_cnt"] = record.packet_count
        if record.ip_version:
            event.update(_five_tuple(record))
        event["direction"] = "to_server" if record.to_server or not record.flow_id else "to_client"
        if record.flow is not None:
            event["flow"] = _flow(record.flow, self._offset)
        else:
            event["verdict"] = _verdict(record)
            if event["event_type"] == "drop":
                event["drop"] = _drop(record)
        event["wfp"] = _wfp(record)
        return event

    def line(self, record: EventRecord) -> bytes:
        """One line, with its newline; pure ASCII."""
        return json.dumps(self.event(record), separators=(",", ":")).encode("ascii") + b"\n"

    def _flow_id(self, record: EventRecord) -> int:
        if record.flow_id:
            return record.flow_id & 0x1FFFFFFFFFFFFF or 1
        ports = (record.source_port or 0, record.destination_port or 0)
        return flow_number(record.source, record.destination, record.protocol or 0, ports, self._flow_key)


def _suspension(said: Suspension, timestamp: str) -> Event:
    return {
        "timestamp": timestamp,
        "event_type": "callout",
        "callout": {
            "name": said.callout,
            "state": "suspended" if said.suspended else "back",
            "slow_calls": said.slow_calls,
            "skipped": said.skipped,
        },
    }


def _event_type(record: EventRecord) -> str:
    if record.flow is not None:
        return "flow"
    return "drop" if record.verdict == "block" and not record.audit else "wfp"


def _five_tuple(record: EventRecord) -> Event:
    found: Event = {
        "src_ip": str(ipaddress.ip_address(record.source)),
        "dest_ip": str(ipaddress.ip_address(record.destination)),
        "ip_v": record.ip_version,
    }
    if record.protocol is None:
        return found
    found["proto"] = _PROTOCOLS.get(record.protocol, str(record.protocol))
    ports = icmp = None
    if record.icmp_type is not None:
        icmp = (record.icmp_type, record.icmp_code or 0)
        found["icmp_type"], found["icmp_code"] = icmp
    elif record.source_port is not None and record.destination_port is not None:
        ports = (record.source_port, record.destination_port)
        found["src_port"], found["dest_port"] = ports
    found["community_id"] = community_id(record.source, record.destination, record.protocol, ports, icmp)
    return found


def _verdict(record: EventRecord) -> Event:
    if record.audit:
        return {"action": "pass" if record.passed else "drop"}
    if record.verdict == "permit":
        return {"action": "pass"}
    if record.reply == "none" or not _is_answered(record):
        return {"action": "drop"}
    kind = "tcp-reset" if record.reply == "tcp_reset" else "icmp-prohib"
    return {"action": "drop", "reject": [kind], "reject_target": _REJECT_TARGET}


def _is_answered(record: EventRecord) -> bool:
    """Whether the kernel sends the reply asked for: nf_send_reset(), nf_send_unreach(), icmp_send()."""
    if not record.source or _names_no_host(record.source) or _names_no_host(record.destination):
        return False
    if record.reply == "tcp_reset":
        return record.protocol == _TCP and record.tcp_flags is not None and not record.tcp_flags & _RST
    if record.protocol in _WITH_PORTS:
        return record.source_port is not None  # Else it is a later fragment.
    errors = _ICMP_ERRORS.get(record.protocol or 0)
    return errors is None or (record.icmp_type is not None and record.icmp_type not in errors)


def _names_no_host(address: bytes) -> bool:
    if not any(address):
        return True
    return address[0] == 0xFF if len(address) == 16 else address[0] >> 4 == 0xE or address == b"\xff" * 4


def _drop(record: EventRecord) -> Event:
    drop: Event = {"len": record.length}
    if record.ip_version == 6:
        drop["len"] = max(0, record.length - 40)  # Suricata gives IPv6's own payload length.
    names = ("tos", "ttl", "ipid") if record.ip_version == 4 else ("tc", "hoplimit", "flowlbl")
    other = record.ip_id if record.ip_version == 4 else record.flow_label
    for name, value in zip(names, (record.tos, record.ttl, other), strict=True):
        if value is not None:
            drop[name] = value
    if record.tcp_flags is not None:
        drop.update(_tcp(record, record.tcp_flags))
    if record.udp_length is not None:
        drop["udplen"] = record.udp_length
    drop["reason"] = _DROP_REASONS.get(record.reason, record.reason)
    return drop


def _tcp(record: EventRecord, flags: int) -> Event:
    values = (("tcpseq", record.tcp_seq), ("tcpack", record.tcp_ack), ("tcpwin", record.tcp_window))
    found: Event = {name: value for name, value in values if value is not None}
    found.update({name: bool(flags & bit) for name, bit in _TCP_FLAGS})
    return found


def _wfp(record: EventRecord) -> Event:
    found: Event = {
        "verdict": record.verdict,
        "reason": record.reason,
        "layer": record.layer,
        "sublayer": record.sublayer,
        "filter": record.filter,
        "callout": record.callout,
        "veto": record.veto,
        "generation": record.generation,
        "suppressed": record.suppressed,
    }
    if record.malformed:
        found["malformed"] = record.malformed
    if record.audit:
        found["audit"] = True
    if record.flow is not None:
        found["end"] = record.flow.cause
    return found


def _flow(totals: FlowTotals, offset: Callable[[int], int]) -> Event:
    return {
        "pkts_toserver": totals.packets_to_server,
        "pkts_toclient": totals.packets_to_client,
        "bytes_toserver": totals.bytes_to_server,
        "bytes_toclient": totals.bytes_to_client,
        "start": format_timestamp(totals.start_ns, offset),
        "end": format_timestamp(totals.end_ns, offset),
        "age": max(0, totals.end_ns - totals.start_ns) // 1_000_000_000,
        "state": totals.state,
        "reason": totals.end_reason,
    }

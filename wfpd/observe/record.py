"""One event as it leaves the packet path's ring, names resolved: the input of the encoder."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FlowTotals:
    """What a flow's end reports beside the flow's identity."""

    start_ns: int
    """Time of the first packet, nanoseconds since the epoch."""
    end_ns: int
    """Time of the last packet; the end itself is noticed later."""
    packets_to_server: int = 0
    packets_to_client: int = 0
    bytes_to_server: int = 0
    bytes_to_client: int = 0
    state: str = "established"
    """new, established or closed."""
    end_reason: str = "timeout"
    """timeout, forced or shutdown."""
    cause: str = "timeout"
    """timeout, half_open, oldest, reused, reauthorization or shutdown."""


@dataclass(frozen=True, slots=True)
class Suspension:
    """A callout's time budget has suspended it, or its probe has brought it back."""

    callout: str
    suspended: bool
    slow_calls: int
    """Since the start."""
    skipped: int
    """Calls that were not made because of a suspension, since the start."""


@dataclass(frozen=True, slots=True)
class EventRecord:
    """One decided packet, (with `flow`) one ended flow, or (with `suspension`) what became of a callout.

    Members a packet does not have are None.
    """

    timestamp_ns: int
    """Nanoseconds since the epoch: the packet's arrival, in replay the capture's clock."""
    verdict: str
    """permit or block: the decision, also where audit mode let a block pass."""
    reason: str = "no_match"
    """As in replay: filter, callout, veto, missing_callout, malformed, flow, limit, late, error, ..."""
    malformed: str = ""
    """Stable name of the fault, where reason is malformed."""
    layer: str | None = None
    """Full name: ipforward_v4."""
    sublayer: str | None = None
    filter: str | None = None
    callout: str | None = None
    veto: bool = False
    audit: bool = False
    """`verdict` is what the filter would have done, as the daemon or the filter is in audit mode."""
    passed: bool = True
    """With `audit`: whether the packet passed after all."""
    reply: str = "none"
    """none, tcp_reset or icmp_unreachable, as given after suppression."""
    generation: int = 0
    suppressed: int = 0
    """Like drops that were not sent and are counted in this one."""
    flow_id: int = 0
    """53 bits; 0 = the packet belongs to no flow."""
    to_server: bool = True
    """Direction within the flow; a packet of no flow is shown as to_server."""
    in_iface: str = ""
    packet_count: int = 0
    """Number of the packet in the capture, from 1; 0 outside replay."""
    source: bytes = b""
    """Address, 4 or 16 bytes in network order; empty if the packet is not IP."""
    destination: bytes = b""
    protocol: int | None = None
    """IP protocol (of IPv6 the upper-layer one)."""
    source_port: int | None = None
    destination_port: int | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None
    length: int = 0
    """Bytes of the whole IP packet."""
    tos: int | None = None
    """IPv4 TOS byte or IPv6 traffic class."""
    ttl: int | None = None
    """IPv4 TTL or IPv6 hop limit."""
    ip_id: int | None = None
    """IPv4 identification."""
    flow_label: int | None = None
    """IPv6 flow label."""
    tcp_seq: int | None = None
    tcp_ack: int | None = None
    tcp_window: int | None = None
    """Unscaled."""
    tcp_flags: int | None = None
    """fin syn rst psh ack urg ece cwr from bit 0 on."""
    udp_length: int | None = None
    flow: FlowTotals | None = None
    """Present: this is a flow's end, and the packet members but the 5-tuple mean nothing."""
    suspension: Suspension | None = None
    """Present: this is about a callout, and no other member but the time means anything."""

    @property
    def ip_version(self) -> int:
        """4, 6, or 0 if the packet is not IP."""
        return {4: 4, 16: 6}.get(len(self.source), 0)

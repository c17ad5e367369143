"""Lets so many packets or bytes a second pass, by filter, by source address or by flow."""

from __future__ import annotations

from typing import Any

from wfpd.callouts._buckets import Buckets
from wfpd.callouts._packet import flow_of, source_of, total_length
from wfpd.callouts.builtin.answers import REFUSALS, refuse
from wfpd.callouts.builtin.options import whole, word

PERIODS = {"second": 1, "minute": 60, "hour": 3600}
LARGEST_PACKET = 65_535
"""What the kernel hands over at once, segments that it has joined included."""


class RateLimit:
    """A token bucket for each filter, source address or flow; its clock is the packets' own time.

    `rate`: tokens that a bucket gets in each `period` (second; minute, hour).
    `unit` (packets): what costs a token, packets or bytes (of the whole IP packet).  A packet that the kernel has
        joined of several segments is one packet.
    `burst`: tokens that a bucket holds at most; without it as many as `rate`, of bytes at least 65535.  A packet of
        more bytes never passes.
    `per` (filter): whose bucket it is: filter (one for each filter that names the callout), source (address), or flow
        (addresses, protocol and ports; both directions together).
    `entries` (65536): buckets that there is room for, 24 bytes each.  Where there is none a full one is forgotten, else
        one that was asked long ago, whose owner gets a new burst.
    `within` (continue): the answer while tokens are there, continue or permit.
    `beyond` (block): the answer when there are none: block, absorb (dropped silently), reset, tcp_reset or
        icmp_unreachable.
    """

    def __init__(
        self, rate: int, unit: str = "packets", period: str = "second", burst: int | None = None, per: str = "filter",
        entries: int = 65_536, within: str = "continue", beyond: str = "block",
    ) -> None:  # fmt: skip
        whole("rate", rate, 1, 9_200_000_000)
        seconds = PERIODS[word("period", period, tuple(PERIODS))]
        self.bytes = word("unit", unit, ("packets", "bytes")) == "bytes"
        if burst is None:
            burst = max(rate, LARGEST_PACKET) if self.bytes else rate
        whole("burst", burst, 1, 9_200_000_000 // seconds)
        self.per = word("per", per, ("filter", "source", "flow"))
        whole("entries", entries, 1, 1 << 24)
        self.permits = word("within", within, ("continue", "permit")) == "permit"
        self.refusal = word("beyond", beyond, REFUSALS)
        self.buckets = Buckets(rate, seconds, burst, entries)

    def key(self, c: Any) -> object:
        """Whose bucket it is; what has no addresses shares one."""
        if self.per == "filter":
            return c.filter
        return source_of(c.packet) if self.per == "source" else flow_of(c.packet)

    def classify(self, c: Any) -> None:
        """Take the packet's tokens."""
        amount = total_length(c.packet) if self.bytes else 1
        if not self.buckets.take(self.key(c), amount, c.now_ns):
            refuse(c, self.refusal)
        elif self.permits:
            c.permit()
        else:
            c.continue_()

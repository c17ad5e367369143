"""Lets so many flows exist at once, in all or by source address."""

from __future__ import annotations

import threading
from typing import Any

from wfpd.callouts.builtin.answers import REFUSALS, refuse
from wfpd.callouts.builtin.options import whole, word

INBOUND = 1
"""FWP_DIRECTION_INBOUND."""


class ConnectionLimit:
    """Refuses a new flow while `most` flows that it has counted exist.

    It needs two filters with the same conditions: at ale_auth_recv_accept or ale_auth_connect, where it refuses, and at
    ale_flow_established, where it counts what was authorized by all layers.  A flow is counted until it ends.
    `most`: flows at once.
    `per` (source): for each address of who began the flow, or all: together.
    `beyond` (block): the answer to a flow too many: block, absorb, reset, tcp_reset, icmp_unreachable.
    Flows that began before the filter at ale_flow_established was there are not counted.
    """

    layers = ("ale_auth_recv_accept", "ale_auth_connect", "ale_flow_established")

    def __init__(self, most: int, per: str = "source", beyond: str = "block") -> None:
        self.most = whole("most", most, 1, 1 << 32)
        self.by_source = word("per", per, ("source", "all")) == "source"
        self.refusal = word("beyond", beyond, REFUSALS)
        self.counts: dict[object, int] = {}
        self._lock = threading.Lock()

    def classify(self, c: Any) -> None:
        """Count a flow that has come to be, refuse one too many; one that was counted is only authorized anew."""
        c.continue_()
        if c.layer.startswith("ale_flow_established"):
            if c.flow_context is None:
                key = self._key(c, c.values["direction"] == INBOUND)
                c.set_flow_context(c.layer, (key,))
                self._change(key, 1)
        elif c.flow_context is None and self._full(self._key(c, c.layer.startswith("ale_auth_recv_accept"))):
            refuse(c, self.refusal)

    def flow_delete(self, f: Any) -> None:
        """One fewer."""
        self._change(f.context[0], -1)

    def _full(self, key: object) -> bool:
        return self.counts.get(key, 0) >= self.most

    def _key(self, c: Any, inbound: bool) -> object:
        if not self.by_source:
            return None
        return c.values["ip_remote_address" if inbound else "ip_local_address"]

    def _change(self, key: object, by: int) -> None:
        with self._lock:
            count = self.counts.get(key, 0) + by
            if count > 0:
                self.counts[key] = count
            else:
                self.counts.pop(key, None)

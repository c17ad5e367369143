"""Drops what its filter matches without a trace on the wire."""

from __future__ import annotations

from typing import Any

from wfpd.callouts.builtin.answers import refuse
from wfpd.callouts.builtin.options import flag


class SilentDrop:
    """Answers BLOCK with ABSORB: no reply, and no discard layer sees the packet.

    `clear_right` (true): the block is hard, so no later sublayer can permit the packet.
    Where nothing can be absorbed (ipforward, datagram_data and others) it is a block without a reply.
    """

    def __init__(self, clear_right: bool = True) -> None:
        self.clear_right = flag("clear_right", clear_right)

    def classify(self, c: Any) -> None:
        """Drop it."""
        refuse(c, "absorb", clear_right=self.clear_right)

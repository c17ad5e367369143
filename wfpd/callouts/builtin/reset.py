"""Blocks and says so to the sender."""

from __future__ import annotations

from typing import Any

from wfpd.callouts.builtin.answers import refuse
from wfpd.callouts.builtin.options import flag, word

REPLIES = ("reset", "tcp_reset", "icmp_unreachable")


class Reset:
    """Answers BLOCK with a reply to the sender.

    `reply` (reset): tcp_reset, icmp_unreachable, or reset: a TCP reset for TCP, else an ICMP error.
    `clear_right` (true): the block is hard.
    """

    def __init__(self, reply: str = "reset", clear_right: bool = True) -> None:
        self.reply = word("reply", reply, REPLIES)
        self.clear_right = flag("clear_right", clear_right)

    def classify(self, c: Any) -> None:
        """Refuse it."""
        refuse(c, self.reply, clear_right=self.clear_right)

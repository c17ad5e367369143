"""Writes the DSCP of packets."""

from __future__ import annotations

from typing import Any

from wfpd.callouts._rewrite import DscpWriter
from wfpd.callouts.builtin.answers import WRITABLE
from wfpd.callouts.builtin.options import whole

NAMES = {
    **{f"cs{n}": 8 * n for n in range(8)},
    **{f"af{row}{column}": 8 * row + 2 * column for row in range(1, 5) for column in range(1, 4)},
    "ef": 46, "le": 1,
}  # fmt: skip


class DscpSet:
    """Gives every packet the DSCP `dscp` and leaves its ECN bits; answers CONTINUE.

    `dscp`: 0 to 63, or cs0-cs7, af11-af43, ef, le.
    The packet path calls the compiled side; classify() is the same in Python.
    """

    modifies = True
    layers = WRITABLE

    def __init__(self, dscp: int | str) -> None:
        if isinstance(dscp, str):
            if dscp not in NAMES:
                raise ValueError(f"dscp: {dscp[:20]!a} is no name of a DSCP: {', '.join(NAMES)}")
            dscp = NAMES[dscp]
        self.dscp = whole("dscp", dscp, 0, 63)
        self._writer = DscpWriter(self.dscp)
        self.native = self._writer.native

    def classify(self, c: Any) -> None:
        """Write it where it is another one."""
        c.continue_()
        packet = c.packet
        if packet[0] >> 4 == 4:
            wanted = self.dscp << 2 | packet[1] & 3
            if packet[1] != wanted:
                c.write(1, bytes([wanted]))
        else:
            word = packet[0] << 8 | packet[1]
            wanted = word & 0xF03F | self.dscp << 6
            if word != wanted:
                c.write(0, wanted.to_bytes(2, "big"))

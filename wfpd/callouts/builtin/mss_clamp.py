"""Lowers the segment size that a TCP connection begins with."""

from __future__ import annotations

from typing import Any

from wfpd.callouts._packet import mss_option
from wfpd.callouts._rewrite import SegmentClamp
from wfpd.callouts.builtin.answers import WRITABLE
from wfpd.callouts.builtin.options import whole

IP_AND_TCP = {4: 40, 6: 60}
"""Bytes of the headers that an MTU has and a segment size has not."""


class MssClamp:
    """Lowers the maximum segment size option of SYN packets, never raises it; answers CONTINUE.

    Exactly one of `mss`: bytes of data in a segment, 88 to 65535; or `mtu`: bytes of an IP packet, 148 to 65535: the
    size is then 40 bytes less in IPv4, 60 in IPv6.  A SYN without the option is left alone.
    The packet path calls the compiled side; classify() is the same in Python.
    """

    modifies = True
    layers = WRITABLE

    def __init__(self, mss: int | None = None, mtu: int | None = None) -> None:
        if (mss is None) == (mtu is None):
            raise ValueError("mss, mtu: give one of the two")
        if mss is not None:
            whole("mss", mss, 88, 65_535)
            self.most = {4: mss, 6: mss}
        if mtu is not None:
            whole("mtu", mtu, 148, 65_535)
            self.most = {family: mtu - headers for family, headers in IP_AND_TCP.items()}
        self._clamp = SegmentClamp(self.most[4], self.most[6])
        self.native = self._clamp.native

    def classify(self, c: Any) -> None:
        """Lower it where it is above."""
        c.continue_()
        packet = c.packet
        found = mss_option(packet)
        if found is None:
            return
        most = self.most[packet[0] >> 4]
        if found[1] > most:
            c.write(found[0], most.to_bytes(2, "big"))

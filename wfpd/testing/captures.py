"""Packets of a test as a capture file."""

from __future__ import annotations

import os
from collections.abc import Iterable

from wfpd.capture import LINK_RAW, CapturedPacket
from wfpd.replay import PassedWriter

GAP_NS = 1_000_000


def write_capture(path: str | os.PathLike[str], packets: Iterable[bytes]) -> int:
    """A pcap file of IP packets, a millisecond apart; how many there are."""
    number = 0
    with open(path, "wb") as file:
        writer = PassedWriter(file)
        for number, data in enumerate(packets, 1):
            writer.add(CapturedPacket(number, number * GAP_NS, data, len(data), True, None, LINK_RAW[-1]), data)
    return number

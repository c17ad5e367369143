"""Captures, as commands open them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from wfpd.cli.printing import complain
from wfpd.errors import ControlError

if TYPE_CHECKING:
    from wfpd.capture import CapturedPacket


def open_capture(path: str) -> Iterator[CapturedPacket]:
    """The packets of a pcap or pcapng file; ControlError if it cannot be opened."""
    from wfpd import replay

    try:
        return replay.read_capture(path)
    except OSError as error:
        raise ControlError(f"cannot open {path}: {error.strerror}") from error


def warn_of_links(packets: Iterator[CapturedPacket]) -> Iterator[CapturedPacket]:
    """The same packets; one line on stderr for each link type whose packets cannot be told to be IP."""
    from wfpd.capture import SUPPORTED_LINK_TYPES

    said: set[int] = set()
    for packet in packets:
        if packet.link_type not in SUPPORTED_LINK_TYPES and packet.link_type not in said:
            said.add(packet.link_type)
            complain(f"warning: link type {packet.link_type} is not read: every packet of it counts as not IP")
        yield packet

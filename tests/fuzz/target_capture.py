"""The reader of capture files."""

from __future__ import annotations

import contextlib
import io

from wfpd import capture
from wfpd.errors import CaptureError


def read_any(data: bytes) -> None:
    """Any bytes: packets whose bytes stand in the file, numbered from 1, then the end or a CaptureError."""
    total = 0
    with contextlib.suppress(CaptureError):
        for number, packet in enumerate(capture.read_capture(io.BytesIO(data)), 1):
            assert packet.number == number
            assert packet.is_ip or not packet.data
            assert packet.data in data
            assert len(packet.data) <= packet.original_length
            total += len(packet.data)
    assert total <= len(data)


TARGETS = {"capture": read_any}

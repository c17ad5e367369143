"""journald's native protocol: one datagram an entry, fields as KEY=value lines."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable

JOURNAL_SOCKET = "/run/systemd/journal/socket"


def encode(fields: Iterable[tuple[str, str]]) -> bytes:
    """One entry.  A value with a line break goes in the length-prefixed form."""
    out = bytearray()
    for key, value in fields:
        data = value.encode("utf-8", "backslashreplace")
        if b"\n" in data:
            out += key.encode("ascii") + b"\n" + struct.pack("<Q", len(data)) + data + b"\n"
        else:
            out += key.encode("ascii") + b"=" + data + b"\n"
    return bytes(out)


class Journal:
    """Sends entries, never waits."""

    def __init__(self, path: str = JOURNAL_SOCKET) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)

    def send(self, fields: Iterable[tuple[str, str]]) -> bool:
        """False if journald is absent, busy, or the entry is too long."""
        try:
            self._socket.sendto(encode(fields), self._path)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

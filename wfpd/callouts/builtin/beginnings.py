"""The first bytes of each TCP connection, put together from packets: enough for a protocol that says its purpose first.

It is no stream reassembly: the first copy of a byte counts, what comes out of order waits only within bounds, a SYN
begins anew, and packets that have passed have passed.  The layer `stream` has none of these limits.
"""

from __future__ import annotations

import threading

WAITING = 16
"""Segments of one connection that may wait for one before them."""
HELD = 64 << 20
"""Bytes of all connections together."""
SYN, ACK = 2, 16


class Beginning:
    """What is known of one direction's first bytes, at most `most` of them and as many that wait."""

    __slots__ = ("data", "n_waiting", "start", "waiting")

    def __init__(self, start: int) -> None:
        self.start = start
        self.data = bytearray()
        self.waiting: dict[int, bytes] = {}
        self.n_waiting = 0
        """Bytes that wait."""

    @property
    def size(self) -> int:
        """Bytes kept."""
        return len(self.data) + self.n_waiting

    def add(self, sequence: int, data: bytes | memoryview, most: int) -> None:
        """Take a segment as far as there is room."""
        offset = sequence - self.start & 0xFFFFFFFF
        if offset >= 1 << 31:  # It begins before the beginning.
            data, offset = data[(1 << 32) - offset :], 0
        if offset > len(self.data):
            self._wait(offset, data, most)
            return
        self._extend(offset, data, most)
        while self.waiting and (offset := min(self.waiting)) <= len(self.data):
            waited = self.waiting.pop(offset)
            self.n_waiting -= len(waited)
            self._extend(offset, waited, most)

    def _wait(self, offset: int, data: bytes | memoryview, most: int) -> None:
        before = self.waiting.get(offset, b"")
        more = bytes(data[len(before) :])
        if not before and len(self.waiting) == WAITING:
            return
        if offset + len(before) + len(more) <= most and self.n_waiting + len(more) <= most:
            self.waiting[offset] = before + more
            self.n_waiting += len(more)

    def _extend(self, offset: int, data: bytes | memoryview, most: int) -> None:
        known = len(self.data) - offset
        if known < len(data):
            self.data += data[known : most - offset]


class Beginnings:
    """Connections by the sender's key (both ends, sender first): at most `entries`, with `held` bytes in all.

    Beyond that the oldest goes first.  `most`: bytes kept of one.  Several threads may use it.
    """

    def __init__(self, entries: int, most: int, held: int = HELD) -> None:
        self.entries, self.most, self.most_held = entries, most, held
        self.flows: dict[bytes, Beginning | str] = {}
        """What was decided, or what is known so far."""
        self.held = 0
        self.evicted = 0
        """Connections that were forgotten before they were decided."""
        self._lock = threading.Lock()

    def begin(self, key: bytes, start: int) -> Beginning:
        """A new connection whose first byte has the sequence number `start`."""
        found = Beginning(start)
        self._put(key, found)
        return found

    def add(self, key: bytes, known: Beginning, sequence: int, data: bytes | memoryview) -> None:
        """Take a segment of a connection; where its bytes are too many in all, others are forgotten."""
        with self._lock:
            before = known.size
            known.add(sequence, data, self.most)
            if self.flows.get(key) is known:  # Another thread may have made its place another's.
                self.held += known.size - before
            while self.held > self.most_held and self.flows:
                self._forget()

    def decide(self, key: bytes, how: str) -> None:
        """From now on this is the answer to the connection, and its bytes are not kept."""
        self._put(key, how)

    def _put(self, key: bytes, what: Beginning | str) -> None:
        with self._lock:
            gone = self.flows.get(key)
            if isinstance(gone, Beginning):
                self.held -= gone.size
            elif gone is None and len(self.flows) >= self.entries:
                self._forget()
            self.flows[key] = what

    def _forget(self) -> None:
        gone = self.flows.pop(next(iter(self.flows)))
        if isinstance(gone, Beginning):
            self.held -= gone.size
            self.evicted += 1


def other_way(key: bytes) -> bytes:
    """The key of the answering direction."""
    half = (len(key) - 4) // 2
    return key[half:-4] + key[:half] + key[-2:] + key[-4:-2]

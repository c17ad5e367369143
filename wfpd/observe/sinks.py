"""Where event lines go: a file, journald, subscribers of the control socket.

Nothing here makes the ring's reader wait for a slow taker: what a sink cannot take is dropped and counted.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable
from typing import Protocol

from wfpd.observe.events import Encoder
from wfpd.observe.journal import Journal
from wfpd.observe.record import EventRecord
from wfpd.observe.suppress import Suppressor


class Sink(Protocol):
    """One taker of events."""

    name: str
    dropped: int
    """Events it could not take."""

    def write(self, record: EventRecord, line: bytes) -> None:
        """Take one event; never raises, never waits for a reader."""
        ...

    def reopen(self) -> None:
        """Begin anew after a rotation."""
        ...

    def close(self) -> None:
        """Let go."""
        ...


class FileSink:
    """Appends to a file; `reopen` follows a rotation."""

    name = "file"

    def __init__(self, path: str) -> None:
        """OSError if it cannot be opened."""
        self.path = path
        self.dropped = 0
        self._fd = self._open()

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
        return os.open(self.path, flags, 0o640)

    def write(self, record: EventRecord, line: bytes) -> None:
        """One whole line, or nothing that counts."""
        try:
            written = os.write(self._fd, line)
        except OSError:
            self.dropped += 1
            return
        if written < len(line):
            self.dropped += 1
            self._end_line()

    def _end_line(self) -> None:
        with contextlib.suppress(OSError):
            os.write(self._fd, b"\n")

    def reopen(self) -> None:
        """Open the path anew; the old file is kept if that fails (OSError)."""
        fresh = self._open()
        old, self._fd = self._fd, fresh
        os.close(old)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


class JournalSink:
    """One journal entry an event, with the fields one would search by."""

    name = "journald"

    def __init__(self, journal: Journal | None = None) -> None:
        self.dropped = 0
        self._journal = journal or Journal()

    def write(self, record: EventRecord, line: bytes) -> None:
        """MESSAGE is the line itself."""
        fields = [("MESSAGE", line.decode("ascii").rstrip("\n")), ("SYSLOG_IDENTIFIER", "wfpd"),
                  ("PRIORITY", "5" if record.verdict == "block" else "6"), ("WFPD_VERDICT", record.verdict),
                  ("WFPD_REASON", record.reason)]  # fmt: skip
        for key, value in (("WFPD_LAYER", record.layer), ("WFPD_SUBLAYER", record.sublayer),
                           ("WFPD_FILTER", record.filter)):  # fmt: skip
            if value is not None:
                fields.append((key, value))
        if not self._journal.send(fields):
            self.dropped += 1

    def reopen(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Close the socket."""
        self._journal.close()


class Taker(Protocol):
    """Who gets every event's line: a subscriber of the control socket."""

    def put(self, line: bytes) -> bool:
        """False: full, dropped.  Called from the reader's thread; it must not block."""
        ...


class Hub:
    """The sink of all subscribers."""

    name = "control"

    def __init__(self) -> None:
        self.dropped = 0
        self._subscribers: frozenset[Taker] = frozenset()
        self._lock = threading.Lock()

    def add(self, subscriber: Taker) -> None:
        """From now on it gets every event."""
        with self._lock:
            self._subscribers |= {subscriber}

    def remove(self, subscriber: Taker) -> None:
        """No more events for it."""
        with self._lock:
            self._subscribers -= {subscriber}

    def write(self, record: EventRecord, line: bytes) -> None:
        """To every subscriber; drops are counted for each."""
        for subscriber in self._subscribers:
            if not subscriber.put(line):
                self.dropped += 1

    def reopen(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Forget all."""
        self._subscribers = frozenset()


class EventStream:
    """Records in, lines out to every sink.  One thread feeds it; `reopen` may come from another."""

    def __init__(self, sinks: Iterable[Sink], encoder: Encoder, suppressor: Suppressor | None = None) -> None:
        self._sinks = tuple(sinks)
        self._encoder = encoder
        self._suppressor = suppressor or Suppressor()
        self._lock = threading.Lock()

    def feed(self, record: EventRecord) -> None:
        """One record of the ring."""
        self._send(self._suppressor.feed(record))

    def tick(self, now_ns: int) -> None:
        """Send what has been held back long enough; about once a second."""
        self._send(self._suppressor.tick(now_ns))

    def _send(self, records: Iterable[EventRecord]) -> None:
        with self._lock:
            for record in records:
                line = self._encoder.line(record)
                for sink in self._sinks:
                    sink.write(record, line)

    def reopen(self) -> None:
        """Files follow their rotation.  OSError if one cannot be opened; its old file then goes on."""
        with self._lock:
            for sink in self._sinks:
                sink.reopen()

    def dropped(self) -> dict[str, int]:
        """{sink: events it could not take}."""
        totals: dict[str, int] = {}
        for sink in self._sinks:
            totals[sink.name] = totals.get(sink.name, 0) + sink.dropped
        return totals

    def close(self) -> None:
        """Send what is held back and close every sink."""
        self._send(self._suppressor.finish())
        for sink in self._sinks:
            sink.close()

"""The first drop of a flow and filter in 10 s is sent, the others are counted in an event.

Live, the first is sent at once; when its 10 s are over, the last drop held back is sent with the
count of the others.  In replay nothing is urgent, so the first waits and carries the count itself.
Either way the events' 1 + `suppressed` add up to the drops, and there is at most one in 10 s.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace

from wfpd.observe.record import EventRecord

WINDOW_NS = 10_000_000_000
MAX_WINDOWS = 65536
"""Flows and filters followed at once; the oldest is closed early when there are more."""

_Key = tuple[object, ...]


@dataclass(slots=True)
class _Window:
    start_ns: int
    record: EventRecord
    """Live: the last drop held back (or the one sent).  In replay: the first."""
    held: int = 0
    """Drops that no event speaks of yet, without `record` itself in replay."""


def _is_drop(record: EventRecord) -> bool:
    return record.flow is None and record.verdict == "block"


def _key(record: EventRecord) -> _Key:
    flow: _Key
    if record.flow_id:
        flow = (record.flow_id,)
    else:
        ends = sorted(((record.source, record.source_port or 0), (record.destination, record.destination_port or 0)))
        flow = (*ends, record.protocol)
    return (*flow, record.layer, record.filter, record.reason, record.audit)


class Suppressor:
    """Feeds records through; order is kept.  One thread."""

    def __init__(self, *, hold: bool = False, window_ns: int = WINDOW_NS, max_windows: int = MAX_WINDOWS) -> None:
        """`hold`: replay's way (see the module)."""
        self._hold = hold
        self._window_ns = window_ns
        self._max = max_windows
        self._windows: OrderedDict[_Key, _Window] = OrderedDict()  # A plain dict's first key is slow after pops.
        self._passing = 0
        self._now = 0

    def feed(self, record: EventRecord) -> Iterator[EventRecord]:
        """What is to be sent now that `record` has come."""
        yield from self.tick(record.timestamp_ns)
        if not _is_drop(record):
            yield from self._pass(record)
            return
        key = _key(record)
        window = self._windows.get(key)
        if window is None:
            yield from self._make_room()
            self._windows[key] = _Window(self._now, record)
            if not self._hold:
                yield record
        else:
            window.held += 1 + record.suppressed
            if not self._hold:
                window.record = record

    def tick(self, now_ns: int) -> Iterator[EventRecord]:
        """What is to be sent because time has passed; a clock that steps back counts as standing still."""
        self._now = max(self._now, now_ns)
        while self._windows:
            key, window = next(iter(self._windows.items()))
            if self._now - window.start_ns < self._window_ns:
                return
            yield from self._close(key)

    def finish(self) -> Iterator[EventRecord]:
        """Everything still held back, at the end."""
        while self._windows:
            yield from self._close(next(iter(self._windows)), reopen=False)

    def _pass(self, record: EventRecord) -> Iterator[EventRecord]:
        if not self._hold or not self._windows:
            yield record
        else:  # Behind the drops that still wait; a key of its own that never collects anything.
            self._passing += 1
            yield from self._make_room()
            self._windows[("pass", self._passing)] = _Window(self._now, record)

    def _make_room(self) -> Iterator[EventRecord]:
        if len(self._windows) >= self._max:
            yield from self._close(next(iter(self._windows)), reopen=False)

    def _close(self, key: _Key, reopen: bool = True) -> Iterator[EventRecord]:
        window = self._windows.pop(key)
        if self._hold:
            yield replace(window.record, suppressed=window.record.suppressed + window.held)
        elif window.held:
            yield replace(window.record, suppressed=window.held - 1)
            if reopen:
                self._windows[key] = _Window(self._now, window.record)

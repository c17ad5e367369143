"""Who is at the other end of a connection, as its methods see it: role, notifications, the end.

A connection makes one Peer.  Methods run in a pool, the connection in the event loop's thread, and what
notifies in any other: everything here may be called from any thread.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping

from wfpd.control import protocol
from wfpd.control.limits import WAITING_BYTES, Room
from wfpd.control.protocol import Role

log = logging.getLogger(__name__)

MAX_WAITING = 4096
"""Notifications that may wait for one connection."""
MAX_WAITING_BYTES = 1024 * 1024
"""Their bytes."""


class Peer:
    """One connection's other end, the same object for all of its calls; hashed by identity."""

    def __init__(
        self,
        uid: int,
        pid: int,
        role: Role,
        *,
        wake: Callable[[], None] = lambda: None,
        submit: Callable[[Callable[[], None]], object] = lambda work: work(),
        room: Room | None = None,
        finished: Callable[[], None] = lambda: None,
    ) -> None:
        """`uid`, `pid`: as the kernel says.

        `wake` is called when the first notification waits, in the thread that notifies, and must not block; `submit`
        runs what is to be called at the end; `room` is shared by all connections of a user; `finished` is called last.
        """
        self.uid = uid
        self.pid = pid
        self.role = role
        self.dropped = 0
        """Notifications that did not fit."""
        self._wake = wake
        self._submit = submit
        self._room = room or Room(WAITING_BYTES)
        self._on_finished = finished
        self._lock = threading.Lock()
        self._lines: deque[bytes] = deque()
        self._size = 0
        self._callbacks: list[Callable[[], object]] = []
        self._running = self._ended = self._finished = False

    def __repr__(self) -> str:
        return f"Peer(uid={self.uid}, pid={self.pid}, role={self.role.name.lower()})"

    # ------------------------------------------------------------------------------ for methods

    def notify(self, method: str, params: Mapping[str, object]) -> bool:
        """Send a notification.  False: too much waits or the connection has ended; it is dropped and counted."""
        return self.send(protocol.notification_line(method, params))

    def send(self, line: bytes) -> bool:
        """A notification that is one line already."""
        with self._lock:
            fits = len(self._lines) < MAX_WAITING and self._size + len(line) <= MAX_WAITING_BYTES
            if self._ended or not fits or not self._room.take(len(line)):
                self.dropped += 1
                return False
            self._lines.append(line)
            self._size += len(line)
            first = len(self._lines) == 1
        if first:
            self._wake()
        return True

    def at_end(self, callback: Callable[[], object]) -> None:
        """Have `callback` called once when the connection has ended, for whatever reason, and no call of it runs.

        It runs in the server's pool.  What is given after the end is called at once.
        """
        with self._lock:
            if not self._finished:
                self._callbacks.append(callback)
                return
        _guarded(callback)

    # --------------------------------------------------------------------------- for the server

    def take(self, most: int) -> bytes:
        """The oldest notifications, taken off: one, or more of at most so many bytes; empty when none waits."""
        taken: list[bytes] = []
        size = 0
        with self._lock:
            while self._lines and (not taken or size + len(self._lines[0]) <= most):
                taken.append(self._lines.popleft())
                size += len(taken[-1])
            self._size -= size
        self._room.give(size)
        return b"".join(taken)

    def begin(self) -> bool:
        """A call is about to run.  False: the connection has ended, do not run it."""
        with self._lock:
            self._running = not self._ended
            return self._running

    def done(self) -> None:
        """The call has ended, in the thread that ran it."""
        with self._lock:
            self._running = False
            if not self._ended:
                return
        self._finish()

    def end(self) -> None:
        """The connection has ended; what is to be called then is, after the call that still runs."""
        with self._lock:
            if self._ended:
                return
            self._ended = True
            size, self._size = self._size, 0
            self._lines.clear()
            running, idle = self._running, not self._callbacks
        self._room.give(size)
        if running:
            return
        if idle:
            self._finish()
        else:
            self._submit(self._finish)

    def _finish(self) -> None:
        while True:
            with self._lock:
                if not self._callbacks:
                    self._finished = True
                    break
                callback = self._callbacks.pop(0)
            _guarded(callback)
        self._on_finished()


def _guarded(callback: Callable[[], object]) -> None:
    try:
        callback()
    except Exception:
        log.exception("control: what was to be done at a connection's end failed")

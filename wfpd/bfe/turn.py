"""Whose turn it is to write: one session at a time, the others wait in order."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from wfpd.errors import FwpError

MOST_WAITING = 64
"""Sessions that wait at once; one more is refused as if its time were over."""


class Turn:
    """The right to write.  `who` is any object, told apart by identity; `describe` names it in a refusal."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._condition = threading.Condition()
        self._holder: object | None = None
        self._since = 0.0
        self._waiting: deque[object] = deque()

    @property
    def holder(self) -> object | None:
        """Who writes."""
        return self._holder

    @property
    def held_for(self) -> float:
        """Seconds."""
        return self._clock() - self._since if self._holder is not None else 0.0

    def take(self, who: object, seconds: float, is_over: Callable[[], bool] = lambda: False) -> None:
        """Wait for the turn.  FWP_E_TIMEOUT after `seconds`; FWP_E_SESSION_ABORTED once `is_over` (see `wake`)."""
        deadline = self._clock() + seconds
        with self._condition:
            if len(self._waiting) >= MOST_WAITING:
                raise self._timeout(f"{MOST_WAITING} sessions wait to write")
            ticket = object()
            self._waiting.append(ticket)
            try:
                while self._holder is not None or self._waiting[0] is not ticket:
                    if is_over():
                        raise FwpError("FWP_E_SESSION_ABORTED", "the session has ended")
                    left = deadline - self._clock()
                    if left <= 0:
                        raise self._timeout(f"not within {seconds:g} s")
                    self._condition.wait(left)
                self._holder, self._since = who, self._clock()
            finally:
                self._waiting.remove(ticket)
                self._condition.notify_all()

    def _timeout(self, why: str) -> FwpError:
        held = f"{self._holder} has held the transaction for {self.held_for:.0f} s" if self._holder is not None else ""
        return FwpError("FWP_E_TIMEOUT", f"the transaction lock was not obtained: {why}", hint=held)

    def give(self, who: object) -> None:
        """End the turn; nothing where another or nobody has it."""
        with self._condition:
            if self._holder is who:
                self._holder = None
                self._condition.notify_all()

    def wake(self) -> None:
        """Let those who wait look whether they are over."""
        with self._condition:
            self._condition.notify_all()

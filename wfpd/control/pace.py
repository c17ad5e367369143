"""How much is read at once from a connection of a user who does not administer, and when again.

A byte that was sent by itself costs the kernel as much as a whole line, and while it copies hundreds of them nobody
else runs on that processor: such a read takes longer than a packet.  So reads are timed, by the processor's time of the
thread: slow ones are followed by small ones and are dear, and a line that comes by the byte is read ever less often.

Nothing here reads a clock or a socket: times are the caller's, in seconds.
"""

from __future__ import annotations

import math

READ_SIZE = 16384
"""Bytes of one read, at most."""
FIRST_READ, SMALLEST_READ = 128, 32
"""Bytes of the first read, and of one after a slow one; one filled quickly is followed by one twice as large."""
SLOW_READ = 15e-6
"""From so many seconds on a read is slow,"""
SLOWER = 10
"""if it took so many times as long as the quickest one that there was: machines differ."""
QUICKEST = 0.5e-6
"""No read is quicker, whatever a clock says."""
SPARSE = 16
"""Bytes that were sent together take less than one read more for so many of them; those sent alone take more."""
READ_COST = 50e-6
"""Seconds of a processor that a read and what follows from it cost about."""
SLOW_COST, MOST_TOOK = 20, 1e-3
"""A slow read costs its user so many times what it took: with a share of a fifth for all, 1% of the time.  Of more
seconds something else has taken the rest."""
FIRST_PAUSE, LONGEST_PAUSE = 0.001, 0.25
"""Seconds until more is read of a line that a read has not ended though it took all there was, or was slow: twice as
long after each, so a line that comes by the byte takes no processor."""


class Quickest:
    """The quickest read of a server."""

    def __init__(self) -> None:
        self.took = math.inf

    def slow_from(self, took: float) -> float:
        """How long a read takes that is slow; the one that took so long counts."""
        self.took = min(self.took, max(took, QUICKEST))
        return max(SLOW_READ, SLOWER * self.took)


class Pace:
    """One connection's."""

    def __init__(self, quickest: Quickest) -> None:
        self.size = FIRST_READ
        """Bytes of the next read."""
        self.pause = FIRST_PAUSE
        """Before the next read of a line that comes slowly."""
        self._quickest = quickest

    def after(self, n_bytes: int, took: float, *, ended: bool) -> tuple[float, float]:
        """A read has brought `n_bytes`, with a line's end or not: seconds to charge, and to wait before the next."""
        slow_from = self._quickest.slow_from(took)
        slow, filled = took >= slow_from, n_bytes == self.size
        together = (took - self._quickest.took) * SPARSE < n_bytes * self._quickest.took
        cost = SLOW_COST * min(took, MOST_TOOK) if slow else READ_COST
        if slow:
            self.size = SMALLEST_READ
        elif filled and together:
            self.size = min(2 * self.size, READ_SIZE)
            self.pause = max(self.pause / 2, FIRST_PAUSE)
            return cost, 0.0
        if ended:
            self.pause = FIRST_PAUSE
            return cost, 0.0
        pause, self.pause = self.pause, min(2 * self.pause, LONGEST_PAUSE)
        return cost, pause

"""Injection in the daemon: a helper while, and only while, a policy has a callout that injects."""

from __future__ import annotations

from wfpd.dataplane import Engine, Snapshot
from wfpd.injection.handles import Injections
from wfpd.injection.sender import Sender
from wfpd.netfilter.marks import Marks

START_SECONDS = 3.0
"""A policy that injects waits at most so long for its helper, so that its first packets find one."""


class Injecting:
    """Follows what runs.  Called by the threads that publish, which take turns."""

    def __init__(self, engine: Engine, marks: Marks, sender: Sender | None = None) -> None:
        self._engine = engine
        self._sender = sender or Sender()
        self._injections = Injections(self._sender.send, marks, self._sender.count)
        self._injections.armed = False
        self.wanted = False
        """What runs has a callout that injects."""

    def follow(self, snapshot: Snapshot) -> None:
        """Tell of what is to run next, before it does."""
        self.wanted = any(getattr(item, "injects", False) for item in snapshot.callouts)
        if self.wanted:
            self._sender.start(START_SECONDS)
            self._engine.set_injections(self._injections)

    def armed(self, injects: bool) -> None:
        """Rules stand, and whether they know the marks of injected packets."""
        self._injections.armed = injects
        if not injects:
            self.close()

    def close(self) -> None:
        """Let the helper go."""
        self._sender.stop()

    def counts(self) -> tuple[dict[str, int], int]:
        """Packets by result, and how many helpers have ended though they were needed."""
        return self._sender.counts(), self._sender.deaths

"""The signals that stop the daemon, and how its children stay out of them."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
"""Meant for the daemon, though a service manager or a terminal may send them to its children too."""


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """The calling thread takes no stop signal meanwhile; a child started here takes none until it changes its mask."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

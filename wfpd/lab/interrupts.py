"""Ctrl-C, SIGTERM and SIGHUP as KeyboardInterrupt, but never between starting something and noting it down."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _State:
    """How many `held` are open, and whether a signal came meanwhile."""

    depth = 0
    pending = False


def _interrupt(_number: int, _frame: object) -> None:
    if _State.depth:
        _State.pending = True
    else:
        raise KeyboardInterrupt


def catch() -> None:
    """From now on each of the signals ends the lab as Ctrl-C does."""
    for number in _SIGNALS:
        signal.signal(number, _interrupt)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """A signal that comes inside is raised at the end, when what was done is known to who takes it away.

    Not by masking: a child would inherit the mask.
    """
    _State.depth += 1
    try:
        yield
    finally:
        _State.depth -= 1
    if _State.pending and not _State.depth:
        _State.pending = False
        raise KeyboardInterrupt

"""From `use: "module:Class"` to a callable; the only place that imports callouts.

Callouts come from the directories of `callout_path` and from installed packages, never from the
working directory.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from wfpd.errors import PolicyError, Problem
from wfpd.model.policy import Callout

Classify = Callable[[Any], None]


@contextmanager
def _search_path(directories: Sequence[str]) -> Iterator[None]:
    """sys.path without the working directory and with `directories` in front."""
    here = os.path.realpath(os.getcwd())
    before = sys.path[:]
    kept = [entry for entry in before if entry and os.path.realpath(entry) != here]
    sys.path[:] = [*directories, *kept]
    try:
        yield
    finally:
        sys.path[:] = before


def _load_one(callout: Callout) -> Classify:
    module_name, _, class_name = callout.use.partition(":")
    module = importlib.import_module(module_name)
    made = getattr(module, class_name)(**dict(callout.options))
    classify: Classify = made.classify
    return classify


def load_callouts(callouts: Sequence[Callout], callout_path: Sequence[str] = ()) -> list[Classify | None]:
    """The classify callables by callout index; None where a callout is added but not registered.

    Raises PolicyError with every callout that cannot be imported or made.
    """
    found: list[Classify | None] = []
    problems: list[Problem] = []
    with _search_path(callout_path):
        importlib.invalidate_caches()
        for callout in callouts:
            if not callout.use:
                found.append(None)
                continue
            try:
                found.append(_load_one(callout))
            except BaseException as error:  # A callout's import may do anything, exit included.
                if isinstance(error, KeyboardInterrupt):
                    raise
                found.append(None)
                problems.append(_problem(callout, error))
    if problems:
        raise PolicyError(problems)
    return found


def _problem(callout: Callout, error: BaseException) -> Problem:
    return Problem(
        f"use: {callout.use!r} cannot be loaded: {type(error).__name__}: {error}",
        callout.location,
        f'callout "{callout.name}"',
        'use is "module:Class"; the module is looked for in daemon: callout_path and in installed packages',
    )

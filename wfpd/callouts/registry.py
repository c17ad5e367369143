"""From `use: "module:Class"` to a registered callout; the only place that imports callouts.

Callouts come from the directories of `callout_path` and from installed packages, never from the
working directory.
"""

from __future__ import annotations

import importlib
import os
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from wfpd.callouts._capsule import check_capsule
from wfpd.callouts.registered import Registered
from wfpd.errors import PolicyError, Problem
from wfpd.model.policy import Callout


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


_FOUND = 'use is "module:Class"; the module is looked for in daemon: callout_path and in installed packages'
_MADE = "the class is called with the options as keyword arguments, and what it raises is an error of the policy"


def _class_of(callout: Callout) -> Callable[..., Any]:
    module_name, _, class_name = callout.use.partition(":")
    made: Callable[..., Any] = getattr(importlib.import_module(module_name), class_name)
    if not callable(made):
        raise TypeError(f"{class_name} is no class")
    return made


def _register(callout: Callout, made: Any, old: Registered | None) -> Registered:
    inherits = old is not None and old.use == callout.use and callable(getattr(made, "inherit", None))
    if old is not None and inherits:
        made.inherit(old.instance)
    if getattr(made, "native", None) is not None:
        check_capsule(made.native)
    return Registered(callout, made, old.number if old is not None and inherits else 0)


class Registry:
    """The callouts of the policy file that are registered now."""

    def __init__(self) -> None:
        self._running: dict[uuid.UUID, Registered] = {}

    def load(self, callouts: Sequence[Callout], callout_path: Sequence[str] = ()) -> list[Registered | None]:
        """What is to be registered, by callout index; None where a callout is added but not registered.

        One that runs stays, with its instance, while its key, `use` and options do; with other options a class that
        has `inherit(old)` is handed the instance that ran.  Raises PolicyError with every callout that cannot be
        imported or made.
        """
        found: list[Registered | None] = []
        problems: list[Problem] = []
        with _search_path(callout_path):
            importlib.invalidate_caches()
            for callout in callouts:
                old = self._running.get(callout.key)
                if not callout.use:
                    found.append(None)
                    continue
                if old is not None and old.is_same(callout):
                    old.budget = callout.budget  # Tables that are built from now on have it.
                    found.append(old)
                    continue
                hint = _FOUND
                try:
                    made_by = _class_of(callout)
                    hint = _MADE
                    made = made_by(**dict(callout.options))
                    hint = ""
                    found.append(_register(callout, made, old))
                except BaseException as error:  # A callout's import may do anything, exit included.
                    if isinstance(error, KeyboardInterrupt):
                        raise
                    found.append(None)
                    problems.append(_problem(callout, error, hint))
        if problems:
            raise PolicyError(problems)
        return found

    @property
    def running(self) -> tuple[Registered, ...]:
        """What is registered."""
        return tuple(self._running.values())

    def keep(self, callouts: Iterable[object]) -> None:
        """These run now; the others are closed when no packet can reach them any more."""
        self._running = {one.key: one for one in callouts if isinstance(one, Registered)}


def load_callouts(callouts: Sequence[Callout], callout_path: Sequence[str] = ()) -> list[Registered | None]:
    """Registry.load where nothing runs yet."""
    return Registry().load(callouts, callout_path)


def _problem(callout: Callout, error: BaseException, hint: str) -> Problem:
    return Problem(
        f"use: {callout.use!r} cannot be loaded: {type(error).__name__}: {error}",
        callout.location,
        f'callout "{callout.name}"',
        hint,
    )

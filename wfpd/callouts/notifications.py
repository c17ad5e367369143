"""Telling callouts which filters name them: notify(n), before the filters run and after they are gone."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from wfpd.errors import FwpError

logger = logging.getLogger("wfpd.callouts")


class Tables(Protocol):
    """What is asked of a snapshot."""

    @property
    def callouts(self) -> list[Any]: ...
    def filters_of_callouts(self, callouts: list[int]) -> list[tuple[int, int]]: ...
    def filter_info(self, index: int) -> dict[str, Any]: ...
    def provider_context(self, index: int) -> Any: ...
    def callout_of(self, index: int) -> Any: ...
    def find(self, key: bytes) -> int | None: ...
    def set_filter_contexts(self, values: dict[int, Any]) -> None: ...


@dataclass(slots=True)
class Notification:
    """What notify(n) gets."""

    kind: str
    """add or delete"""
    filter: str
    """Its name."""
    filter_key: bytes
    layer: str
    """With its family."""
    provider_context: object
    """The data of the filter's provider context, or None."""
    context: object = None
    """Set on add it comes back as c.filter_context; a number of 64 bits also reaches native callouts."""


@dataclass(slots=True)
class _Told:
    item: Any
    slot: int
    """The filter's counter slot: with its key it says that the filter is as it was."""
    note: Notification


class Notifications:
    """Which filters callouts have been told of.  For one thread at a time."""

    def __init__(self, on_error: Callable[[str, BaseException], object] | None = None) -> None:
        """`on_error`: told of exceptions on delete, which change nothing."""
        self._told: Mapping[bytes, _Told] = {}
        self._on_error = on_error

    def prepare(self, tables: Tables, running: Tables | None) -> Step:
        """Tell of the filters that are new in `tables`, which is not published yet; what then follows.

        FwpError where a callout refuses one (FWP_E_CALLOUT_NOTIFICATION_FAILED), or where its class does not apply to
        the filter's layer (FWP_E_INCOMPATIBLE_LAYER): those told before it were told of its end then.
        """
        step = Step(self, self._told)
        items = tables.callouts
        asks = [n for n, item in enumerate(items) if getattr(item, "notify", None) or getattr(item, "layers", None)]
        if not asks and not self._told:
            return step
        contexts: dict[int, Any] = {}
        try:
            for index, number in tables.filters_of_callouts(asks):
                told = self._tell(step, tables, index, items[number], running)
                if told.note.context is not None:
                    contexts[index] = told.note.context
        except BaseException:
            step.undo()
            raise
        tables.set_filter_contexts(contexts)
        return step

    def _tell(self, step: Step, tables: Tables, index: int, item: Any, running: Tables | None) -> _Told:
        info = tables.filter_info(index)
        key, data = info["key"], tables.provider_context(index)
        old = self._told.get(key)
        if old is not None and (old.item, old.slot, old.note.provider_context) == (item, info["counter_slot"], data):
            step.after[key] = old
            return old
        if not item.serves(info["layer"]):
            raise FwpError("FWP_E_INCOMPATIBLE_LAYER",
                           f'filter "{info["name"]}": callout "{item.name}" '
                           f"does not apply to {info['layer']}")  # fmt: skip
        told = _Told(item, info["counter_slot"], Notification("add", info["name"], key, info["layer"], data))
        if item.notify is not None and not _ran_without(running, key, told.slot):
            try:
                item.notify(told.note)
            except Exception as error:
                raise FwpError(
                    "FWP_E_CALLOUT_NOTIFICATION_FAILED",
                    f'callout "{item.name}" refuses filter "{info["name"]}": {type(error).__name__}: {error}',
                ) from error
            step.added.append(told)
        step.after[key] = told
        return told

    def delete(self, told: _Told) -> None:
        """Tell of a filter's end."""
        if told.item.notify is None:
            return
        note = told.note
        gone = Notification("delete", note.filter, note.filter_key, note.layer, note.provider_context, note.context)
        try:
            told.item.notify(gone)
        except Exception as error:
            if self._on_error is not None:
                self._on_error(told.item.name, error)
            else:
                logger.exception("callout %s: notify() failed", told.item.name)

    def stand(self, told: Mapping[bytes, _Told]) -> None:
        """What is told now."""
        self._told = told


def _ran_without(running: Tables | None, key: bytes, slot: int) -> bool:
    """Whether the filter runs already and its callout was not registered: then nobody is told of it."""
    at = None if running is None else running.find(key)
    if running is None or at is None:
        return False
    return running.filter_info(at)["counter_slot"] == slot and running.callout_of(at) is None


class Step:
    """One publication: its callouts know of the filters that come."""

    def __init__(self, owner: Notifications, before: Mapping[bytes, _Told]) -> None:
        self._owner, self._before = owner, before
        self.after: dict[bytes, _Told] = {}
        self.added: list[_Told] = []

    def undo(self) -> None:
        """It failed: what was added is deleted, the newest first."""
        for told in reversed(self.added):
            self._owner.delete(told)
        self.added = []

    def settle(self) -> None:
        """It runs: tell of the filters that are gone."""
        self._owner.stand(self.after)
        for key, told in self._before.items():
            if self.after.get(key) is not told:
                self._owner.delete(told)

"""The client's side of the protocol without a socket: calls to bytes, bytes to answers and notifications."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wfpd.client.errors import CallError, error_of
from wfpd.control.protocol import MAX_ANSWER, MAX_LINE, request_line
from wfpd.errors import ControlError, UsageError

MAX_KEPT = 10_000
"""Notifications that are kept for who does not take them; then the oldest is lost and counted."""
LOST_SUBSCRIPTIONS = 64
"""Subscriptions whose notifications are kept before it is known whose they are."""

Key = tuple[str, object]
"""Whose a notification is: its method and, of changes, the subscription."""


@dataclass(frozen=True, slots=True)
class Answer:
    """To the call `ident`; None: to the connection as a whole.  `error` is (code, message, data)."""

    ident: int | None
    result: Any = None
    error: tuple[int, str, object] | None = None

    def failure(self, method: str) -> CallError | None:
        """The exception that it means; None: it is a result."""
        return None if self.error is None else error_of(method, *self.error)


@dataclass(frozen=True, slots=True)
class Notification:
    """What comes without being asked for."""

    method: str
    params: Mapping[str, Any]

    @property
    def key(self) -> Key:
        """Whose it is."""
        return self.method, self.params.get("subscription") if self.method == "change" else None


class Kept:
    """Notifications of one taker, oldest first."""

    def __init__(self) -> None:
        self.waiting: deque[Mapping[str, Any]] = deque()
        self.lost = 0
        """Those that came while MAX_KEPT waited."""

    def put(self, params: Mapping[str, Any]) -> None:
        """One more."""
        if len(self.waiting) >= MAX_KEPT:
            self.waiting.popleft()
            self.lost += 1
        self.waiting.append(params)


class Inbox:
    """Notifications by taker.  What comes before the answer to its subscription waits for it."""

    def __init__(self) -> None:
        self._takers: dict[Key, Kept] = {}
        self._early: dict[Key, Kept] = {}
        self._n_subscribing = 0

    def begin(self) -> None:
        """A subscription is asked for."""
        self._n_subscribing += 1

    def end(self, key: Key | None) -> Kept:
        """It was answered: its notifications from now on and those that came early.  None: it failed."""
        self._n_subscribing -= 1
        kept = Kept()
        if key is not None:
            kept = self._takers.get(key) or self._early.pop(key, kept)
            self._takers[key] = kept
        if not self._n_subscribing:
            self._early.clear()
        return kept

    def close(self, key: Key) -> None:
        """What comes for it is not kept any more."""
        self._takers.pop(key, None)

    def put(self, notification: Notification) -> None:
        """Keep it for its taker, if it has one."""
        key = notification.key
        taker = self._takers.get(key)
        if taker is None and self._n_subscribing and len(self._early) < LOST_SUBSCRIPTIONS:
            taker = self._early.setdefault(key, Kept())
        if taker is not None:
            taker.put(notification.params)


class Core:
    """One connection's calls and answers."""

    def __init__(self, max_answer: int = MAX_ANSWER) -> None:
        self._max_answer = max_answer
        self._ident = 0
        self._buffer = bytearray()
        self._searched = 0

    def request(self, method: str, params: Mapping[str, object]) -> tuple[int, bytes]:
        """A call's number and line.  UsageError if it cannot be sent."""
        self._ident += 1
        try:
            line = request_line(method, params, self._ident)
        except (TypeError, ValueError, RecursionError) as error:
            raise UsageError(f"{method}: what cannot be written as JSON cannot be sent: {error}") from error
        if len(line) > MAX_LINE:
            raise UsageError(f"{method}: a call is at most {MAX_LINE} bytes, this one is {len(line)}",
                             hint="several calls in one transaction do as one")  # fmt: skip
        return self._ident, line

    def feed(self, data: bytes) -> list[Answer | Notification]:
        """What came, as far as it is complete.  ControlError if it is nothing that wfpd says."""
        self._buffer += data
        found: list[Answer | Notification] = []
        begin = 0
        while (end := self._buffer.find(b"\n", max(begin, self._searched))) >= 0:
            if end - begin > self._max_answer:
                break
            found.append(_message(bytes(self._buffer[begin:end])))
            begin = end + 1
        del self._buffer[:begin]
        self._searched = len(self._buffer)
        if self._searched > self._max_answer:
            self._buffer.clear()
            raise ControlError(f"wfpd's answer is longer than {self._max_answer} bytes")
        return found


def _message(line: bytes) -> Answer | Notification:
    try:
        document = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _not_wfpd() from error
    if not isinstance(document, dict) or document.get("jsonrpc") != "2.0":
        raise _not_wfpd()
    if "method" in document:
        method, params = document["method"], document.get("params", {})
        if not isinstance(method, str) or not isinstance(params, dict):
            raise _not_wfpd()
        if not isinstance(params.get("subscription"), str | int | None):
            raise _not_wfpd()
        return Notification(method, params)
    ident = document.get("id")
    if isinstance(ident, bool) or not isinstance(ident, int | None) or ("result" in document) == ("error" in document):
        raise _not_wfpd()
    if "result" in document:
        return Answer(ident, document["result"])
    return Answer(ident, None, _error(document["error"]))


def _error(body: object) -> tuple[int, str, object]:
    if not isinstance(body, dict) or not isinstance(body.get("code"), int):
        raise _not_wfpd()
    return body["code"], str(body.get("message", "")), body.get("data")


def _not_wfpd() -> ControlError:
    return ControlError("what answers is not wfpd", hint="--socket names wfpd's own control socket")


def unreachable(path: str, error: OSError) -> ControlError:
    """Why there is no connection."""
    hint = "is wfpd running? systemctl status wfpd"
    if isinstance(error, PermissionError):
        hint = "daemon: control: names the groups that may; root always may"
    elif isinstance(error, BlockingIOError):
        return ControlError(f"wfpd at {path} takes no connection in time", hint="try again")
    return ControlError(f"cannot reach wfpd at {path}: {error.strerror or error}", hint=hint)


class Closed(ControlError):
    """The connection has ended."""

    def __init__(self) -> None:
        super().__init__("wfpd closed the connection", hint="systemctl status wfpd")


def member(result: Any, name: str) -> Any:
    """A member that every result of the method has.  ControlError if this one does not."""
    if not isinstance(result, dict) or name not in result:
        raise _not_wfpd()
    return result[name]


def changes_key(result: Any) -> Key:
    """Whose the notifications of a subscription to changes are."""
    subscription = member(result, "subscription")
    if not isinstance(subscription, str | int):
        raise _not_wfpd()
    return "change", subscription


def listed(result: Any) -> tuple[list[Any], str | None]:
    """Objects and cursor of one page."""
    objects, cursor = member(result, "objects"), result.get("cursor")
    if not isinstance(objects, list) or not isinstance(cursor, str | None):
        raise _not_wfpd()
    return objects, cursor


def given(**params: object) -> dict[str, object]:
    """Parameters without those that were left out; `for_` is `for`."""
    return {name.rstrip("_"): value for name, value in params.items() if value is not None}

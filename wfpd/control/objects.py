"""The control socket's methods for the engine's objects: sessions, transactions, add, delete, get, list, changes.

A connection is a session: an ordinary one from its first call on, or the one that `session.open` makes.
"""

from __future__ import annotations

import json
import math
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from wfpd.bfe import Bfe, Done, Event, Kind, Session
from wfpd.bfe.cursors import LARGEST_PAGE, PAGE, Page
from wfpd.bfe.fragment import Fragment
from wfpd.bfe.objects import Lifetime
from wfpd.bfe.session import LONGEST_WAIT
from wfpd.bfe.working import Working
from wfpd.control.admin import Method
from wfpd.control.protocol import INVALID_PARAMS, NOT_ALLOWED, REFUSED, Role, RpcError
from wfpd.errors import FWP_E, FwpError, PolicyError

WAITING = frozenset({"transaction.begin"})
"""Methods of the role read that may wait for other sessions."""
MAX_KEYS = 1000
"""Of one removal; a request line holds no more."""
LONGEST_EXPIRY = 366 * 86400.0
_NAMES = frozenset({"name", "provider", "layer", "sublayer", "callout", "provider_context"})
"""Members of a template that are names."""
MOST_TEXT = 1024
"""Bytes of a name or another short text."""


class Caller(Protocol):
    """The connection that calls."""

    uid: int
    pid: int
    role: Role

    def at_end(self, callback: Callable[[], None]) -> None:
        """Call this when the connection has ended."""

    def notify(self, method: str, params: Mapping[str, Any]) -> bool:
        """Send a notification; False where there is no room."""


Call = Callable[[Mapping[str, Any], Any], object]


class ObjectMethods:
    """The methods, and the session of each connection."""

    def __init__(self, engine: Bfe) -> None:
        self._engine = engine
        self._sessions: WeakKeyDictionary[Any, Session] = WeakKeyDictionary()
        self._lock = threading.Lock()

    def methods(self) -> dict[str, Method]:
        """The methods by name."""
        read, operate, administer = Role.READ, Role.OPERATE, Role.ADMINISTER
        found: dict[str, tuple[Role, Call, bool, str]] = {
            "session.open": (operate, self._open, False, "name description key dynamic txn_wait_timeout"),
            "session.close": (operate, self._close, False, ""),
            "sessions.list": (read, self._list_sessions, False, ""),
            "transaction.begin": (read, self._begin, False, "read_only"),
            "transaction.commit": (read, self._commit, True, ""),
            "transaction.abort": (read, self._abort, False, ""),
            "changes.subscribe": (read, self._subscribe, False, "types on_add on_delete template"),
            "changes.unsubscribe": (read, self._unsubscribe, False, "subscription"),
        }
        for kind in Kind:
            may_change = operate if kind is Kind.FILTER else administer
            more = "policy for" if kind is Kind.FILTER else ""
            found[f"{kind.plural}.add"] = (may_change, partial(self._add, kind), True, f"{kind.value} {more}")
            found[f"{kind.plural}.delete"] = (may_change, partial(self._delete, kind), True, "keys")
            found[f"{kind.plural}.get"] = (read, partial(self._get, kind), False, "key")
            found[f"{kind.plural}.list"] = (read, partial(self._list, kind), False, "template size cursor")
            found[f"{kind.plural}.close"] = (read, self._close_cursor, False, "cursor")
        return {
            name: Method(role, _refusing(call), changes, frozenset(parameters.split()), name in WAITING)
            for name, (role, call, changes, parameters) in found.items()
        }

    # ------------------------------------------------------------------------------ sessions

    def _session(self, caller: Caller) -> Session:
        with self._lock:
            found = self._sessions.get(caller)
        return found or self._make(caller)

    def _make(self, caller: Caller, **words: Any) -> Session:
        made = self._engine.open(uid=caller.uid, pid=caller.pid, **words)
        with self._lock:
            self._sessions[caller] = made
        caller.at_end(made.end)
        return made

    def _open(self, parameters: Mapping[str, Any], caller: Caller) -> object:
        with self._lock:
            if caller in self._sessions:
                raise FwpError("FWP_E_ALREADY_EXISTS", "this connection has a session",
                               hint="session.open comes before the first call about objects")  # fmt: skip
        dynamic = _flag(parameters, "dynamic", False)
        if not dynamic and caller.role < Role.ADMINISTER:
            raise RpcError(NOT_ALLOWED, "the role operate opens dynamic sessions only")
        wait = _number(parameters, "txn_wait_timeout", 0.0, 0.0, LONGEST_WAIT)
        key = None if parameters.get("key") is None else _key(parameters["key"])
        made = self._make(caller, name=_text(parameters, "name"), description=_text(parameters, "description"),
                          dynamic=dynamic, key=key, wait=wait)  # fmt: skip
        return {"key": str(made.key), "id": made.number, "dynamic": made.dynamic}

    def _close(self, _parameters: Mapping[str, Any], caller: Caller) -> object:
        with self._lock:
            found = self._sessions.pop(caller, None)
        if found is not None:
            found.end()
        return {}

    def _list_sessions(self, _parameters: Mapping[str, Any], _caller: Caller) -> object:
        now = self._engine.clock()
        return {
            "sessions": [
                {"key": str(one.key), "id": one.number, "name": one.name, "dynamic": one.dynamic, "uid": one.uid,
                 "pid": one.pid, "transaction": one.transaction, "since": one.opened,
                 "held_for": None if one.since is None else round(now - one.since, 3)}
                for one in self._engine.sessions()
            ]
        }  # fmt: skip

    def _begin(self, parameters: Mapping[str, Any], caller: Caller) -> object:
        read_only = _flag(parameters, "read_only", False)
        if not read_only and caller.role < Role.OPERATE:
            raise RpcError(NOT_ALLOWED, "a transaction that writes needs the role operate")
        self._session(caller).begin(read_only=read_only)
        return {}

    def _commit(self, _parameters: Mapping[str, Any], caller: Caller) -> object:
        return {"generation": self._session(caller).commit()}

    def _abort(self, _parameters: Mapping[str, Any], caller: Caller) -> object:
        self._session(caller).abort()
        return {}

    # ------------------------------------------------------------------------------- objects

    def _add(self, kind: Kind, parameters: Mapping[str, Any], caller: Caller) -> object:
        given = {name for name in (kind.value, "policy") if name in parameters}
        if len(given) != 1:
            raise RpcError(INVALID_PARAMS, f"one of {kind.value} and policy" if kind is Kind.FILTER else
                           f"{kind.value} is missing")  # fmt: skip
        expires = _number(parameters, "for", None, 0.001, LONGEST_EXPIRY)
        if "policy" in given:
            text = parameters["policy"]
            if not isinstance(text, str):
                raise RpcError(INVALID_PARAMS, "policy is a text")
        else:
            if not isinstance(described := parameters[kind.value], dict):
                raise RpcError(INVALID_PARAMS, f"{kind.value} is an object")
            text = json.dumps({"version": 1, kind.plural: [described]})
        guard = partial(_may_add, caller.role, expires)
        try:
            done = self._session(caller).add_text(text, expires_in=expires, guard=guard,
                                                  callouts=caller.role >= Role.ADMINISTER)  # fmt: skip
        except PolicyError as error:
            raise error if "policy" in given else error.without_places() from None
        return _added(kind, done)

    def _delete(self, kind: Kind, parameters: Mapping[str, Any], caller: Caller) -> object:
        keys = parameters.get("keys")
        if not isinstance(keys, list) or not 0 < len(keys) <= MAX_KEYS:
            raise RpcError(INVALID_PARAMS, f"keys is a list of 1 to {MAX_KEYS}")
        found = dict.fromkeys(_key(key) for key in keys)
        done = self._session(caller).delete(kind, found, partial(_may_delete, caller))
        return {"generation": done.generation, "deleted": len(found)}

    def _get(self, kind: Kind, parameters: Mapping[str, Any], caller: Caller) -> object:
        return {"object": self._session(caller).get(kind, _key(parameters.get("key")))}

    def _list(self, kind: Kind, parameters: Mapping[str, Any], caller: Caller) -> object:
        session = self._session(caller)
        size = int(_number(parameters, "size", PAGE, 1, LARGEST_PAGE) or PAGE)
        if parameters.get("cursor") is not None:
            return _page(session.next(_text(parameters, "cursor"), size))
        return _page(session.list(kind, _template(parameters), size))

    def _close_cursor(self, parameters: Mapping[str, Any], caller: Caller) -> object:
        self._session(caller).close_cursor(_text(parameters, "cursor"))
        return {}

    # ------------------------------------------------------------------------- subscriptions

    def _subscribe(self, parameters: Mapping[str, Any], caller: Caller) -> object:
        words = parameters.get("types", [kind.plural for kind in Kind])
        known = {kind.plural: kind for kind in Kind}
        if not isinstance(words, list) or any(not isinstance(word, str) or word not in known for word in words):
            raise RpcError(INVALID_PARAMS, f"types is a list of {', '.join(known)}")
        wanted = {Event.ADD: _flag(parameters, "on_add", True), Event.DELETE: _flag(parameters, "on_delete", True)}
        template = _template(parameters)
        if template.keys() - {"provider", "name"}:
            raise RpcError(INVALID_PARAMS, "template is an object with provider and name")
        number = self._session(caller).subscribe(
            partial(caller.notify, "change"), kinds=[known[word] for word in words],
            events=[event for event, wants in wanted.items() if wants],
            provider=template.get("provider"), name=template.get("name"),
        )  # fmt: skip
        return {"subscription": number}

    def _unsubscribe(self, parameters: Mapping[str, Any], caller: Caller) -> object:
        self._session(caller).unsubscribe(int(_number(parameters, "subscription", 0, 0, 2**53) or 0))
        return {}


# ------------------------------------------------------------------------------- who may what


def _may_add(role: Role, expires: float | None, found: Fragment, working: Working) -> None:
    """A role below administer adds filters that expire, in sublayers given to it, and nothing else."""
    if role >= Role.ADMINISTER:
        return
    if expires is None:
        raise RpcError(NOT_ALLOWED, "the role operate adds filters that expire: say for how long (for)")
    if found.items:
        raise RpcError(NOT_ALLOWED, "the role operate adds filters only")
    for item in found.filters:
        sublayer = working.named(Kind.SUBLAYER)[item.sublayer].item
        if not getattr(sublayer, "operate", False):
            raise RpcError(NOT_ALLOWED, f"sublayer {item.sublayer!r} is not given to the role operate",
                           {"hint": "sublayers: {operate: true} gives it"})  # fmt: skip


def _may_delete(caller: Caller, key: uuid.UUID, working: Working) -> None:
    """A role below administer deletes the filters that its user added and that expire."""
    if caller.role >= Role.ADMINISTER:
        return
    added = working.added.get(key.bytes)
    entry = working.base.filters.get(key.bytes) if added is None else added.entry
    mine = entry is not None and entry.owner.uid == caller.uid and entry.owner.lifetime is not Lifetime.FILE
    if entry is None or not mine or entry.expires is None:
        raise RpcError(NOT_ALLOWED, "the role operate deletes its own filters that expire")


# ------------------------------------------------------------------------------- in and out


def _refusing(call: Call) -> Call:
    """With the engine's refusals as errors of the protocol."""

    def refusing(parameters: Mapping[str, Any], caller: Any) -> object:
        try:
            return call(parameters, caller)
        except FwpError as error:
            data = {"error": error.code, "code": error.number} | ({"hint": error.hint} if error.hint else {})
            raise RpcError(REFUSED, error.message, data) from error
        except PolicyError as error:
            raise RpcError(REFUSED, _summary(error), _problems(error)) from error

    return refusing


def _summary(error: PolicyError) -> str:
    """Without the hint of the only problem, which goes by itself."""
    return str(replace(error.problems[0], hint="")) if len(error.problems) == 1 else error.message


def _problems(error: PolicyError) -> dict[str, Any]:
    data: dict[str, Any] = {"problems": [str(problem) for problem in error.problems[:1000]]}
    if len(error.problems) == 1 and error.problems[0].hint:
        data["hint"] = error.problems[0].hint
    code = next((problem.code for problem in error.problems if problem.code), None)
    return data | ({"error": code, "code": FWP_E[code]} if code in FWP_E else {})


def _added(kind: Kind, done: Done) -> dict[str, Any]:
    if kind is not Kind.FILTER:
        return {"generation": done.generation, "objects": done.objects}
    filters = [one for one in done.objects if "layer" in one]
    return {"generation": done.generation, "filters": filters}


def _page(page: Page) -> dict[str, Any]:
    return {"objects": page.objects, "cursor": page.cursor, "total": page.total}


def _key(value: object) -> uuid.UUID:
    if isinstance(value, str):
        try:
            return uuid.UUID(value)
        except ValueError:
            pass
    raise RpcError(INVALID_PARAMS, f"{str(value)[:64]!r} is no key: an object's GUID")


def _text(parameters: Mapping[str, Any], name: str) -> str:
    value = parameters.get(name, "")
    if not isinstance(value, str) or len(value) > MOST_TEXT or not value.isprintable():
        raise RpcError(INVALID_PARAMS, f"{name} is a printable text of at most {MOST_TEXT} characters")
    return value


def _template(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """What is asked of names is a text; of the provider, that there is none may be asked by null."""
    template = parameters.get("template", {})
    if not isinstance(template, dict):
        raise RpcError(INVALID_PARAMS, "template is an object")
    for name in _NAMES & template.keys():
        if not isinstance(template[name], str) and (name, template[name]) != ("provider", None):
            raise RpcError(INVALID_PARAMS, f"{name} of a template is a text")
    return template


def _flag(parameters: Mapping[str, Any], name: str, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise RpcError(INVALID_PARAMS, f"{name} is true or false")
    return value


def _number(parameters: Mapping[str, Any], name: str, default: Any, low: float, high: float) -> Any:
    value = parameters.get(name)
    if value is None:
        return default
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not math.isfinite(value)
        or not low <= value <= high
    ):
        raise RpcError(INVALID_PARAMS, f"{name} is a number from {low:g} to {high:g}")
    return value

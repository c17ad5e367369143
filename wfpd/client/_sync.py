"""The blocking client: one connection, one call after the other, for one thread."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Generic, TypeVar

from wfpd.client import types
from wfpd.client._core import Answer, Closed, Core, Inbox, Kept, Key, changes_key, given, listed, member, unreachable
from wfpd.client.errors import CallError
from wfpd.control.protocol import DEFAULT_PATH, VERSION
from wfpd.errors import ControlError, WfpdError

PAGE = 500
"""Objects of one page of a list."""

Shown = TypeVar("Shown")
Entry = TypeVar("Entry")


class Client:
    """A connection that has said hello.  ControlError if the daemon cannot be reached, or a call takes too long."""

    def __init__(self, path: str = DEFAULT_PATH, timeout: float | None = 120.0) -> None:
        """`timeout`: seconds that the answer to a call may take; None = for ever."""
        self._timeout = timeout
        self._core = Core()
        self._inbox = Inbox()
        self._answers: deque[Answer] = deque()
        self._socket = connect(path, timeout)
        try:
            self.hello: types.Hello = self.call("hello", version=VERSION)
        except CallError as refused:
            self.close()
            raise ControlError(f"wfpd at {path} refuses: {refused.message}", hint=refused.hint) from refused
        except BaseException:
            self.close()
            raise
        self.events = Events(self)
        self.session = Session(self)
        self.sessions = Sessions(self)
        self.providers: Objects[types.Shown, types.Entry] = Objects(self, "provider")
        self.sublayers: Objects[types.SublayerShown, types.SublayerEntry] = Objects(self, "sublayer")
        self.provider_contexts: Objects[types.Shown, types.Entry] = Objects(self, "provider_context")
        self.callouts: Objects[types.CalloutShown, types.CalloutEntry] = Objects(self, "callout")
        self.filters = Filters(self)
        self.layers = Layers(self)
        self.sets = Sets(self)
        self.flows: Listed[types.FlowShown] = Listed(self, "flows")
        self.stage = Stage(self)

    # -------------------------------------------------------------------------------- the wire

    def call(self, method: str, /, **params: object) -> Any:
        """The result; a CallError if the daemon says no."""
        ident, line = self._core.request(method, params)
        deadline = None if self._timeout is None else time.monotonic() + self._timeout
        self._send(line)
        while True:
            while self._answers:
                answer = self._answers.popleft()
                if answer.ident in (ident, None):
                    if failure := answer.failure(method):
                        raise failure
                    return answer.result
            self._receive(deadline)

    def _send(self, line: bytes) -> None:
        try:
            self._socket.settimeout(self._timeout)
            self._socket.sendall(line)
        except OSError as error:
            self.close()  # Part of a line may have been sent: nothing can follow it.
            raise ControlError(f"wfpd closed the connection: {error.strerror or error}") from error

    def _receive(self, deadline: float | None) -> None:
        """Wait for something, until `deadline` (monotonic)."""
        left = None if deadline is None else max(deadline - time.monotonic(), 0.001)
        try:
            self._socket.settimeout(left)
            data = self._socket.recv(262144)
        except ConnectionError as error:
            raise Closed from error
        except OSError as error:
            raise ControlError(f"wfpd does not answer: {error}", hint="systemctl status wfpd") from error
        if not data:
            raise Closed
        for message in self._core.feed(data):
            if isinstance(message, Answer):
                self._answers.append(message)
            else:
                self._inbox.put(message)

    def close(self) -> None:
        """Close the connection: its transaction is aborted, objects of a dynamic session are deleted."""
        self._socket.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --------------------------------------------------------------------------------- methods

    def version(self) -> types.Version:
        """The daemon's version."""
        found: types.Version = self.call("version")
        return found

    def status(self) -> types.Status:
        """Whether it enforces, and how it is."""
        found: types.Status = self.call("status")
        return found

    def schema(self) -> dict[str, Any]:
        """The published schema of every method."""
        found: dict[str, Any] = self.call("schema")
        return found

    def counters(self) -> types.Counters:
        """One reading of everything that is counted."""
        found: types.Counters = self.call("counters")
        return found

    def reload(self, confirm: float | None = None) -> types.Reloaded:
        """Read the policy file again; with `confirm`, it goes back after so many seconds unless confirmed."""
        found: types.Reloaded = self.call("reload", **given(confirm=confirm))
        return found

    def confirm(self) -> types.Reloaded:
        """Keep the policy that waits to be confirmed."""
        found: types.Reloaded = self.call("confirm")
        return found

    def explain(
        self,
        hook: str,
        protocol: str,
        source: str,
        destination: str,
        *,
        flags: str | None = None,
        icmp: str | None = None,
        payload: int | None = None,
        interface: str | None = None,
        mark: int | None = None,
        near: int | None = None,
        answers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Why a packet like this would be permitted or blocked now."""
        found: dict[str, Any] = self.call("explain", **given(
            hook=hook, protocol=protocol, source=source, destination=destination, flags=flags, icmp=icmp,
            payload=payload, interface=interface, mark=mark, near=near, answers=answers))  # fmt: skip
        return found

    def explain_data(
        self,
        hook: str,
        data: bytes,
        *,
        length: int | None = None,
        interface: str | None = None,
        mark: int | None = None,
        near: int | None = None,
        answers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """The same of a packet that somebody has: its bytes from the IP header on, and its length before it was cut."""
        found: dict[str, Any] = self.call("explain", **given(
            hook=hook, data=data.hex(), length=length, interface=interface, mark=mark, near=near,
            answers=answers))  # fmt: skip
        return found

    def why(
        self,
        *,
        address: str | None = None,
        port: int | None = None,
        protocol: str | None = None,
        filter: str | None = None,
        since: float | None = None,
        verdict: str | None = None,
        size: int | None = None,
        bytes: bool | None = None,
    ) -> dict[str, Any]:
        """Records of decided packets that match, the newest first, and how many are kept and were overwritten."""
        found: dict[str, Any] = self.call("why", **given(
            address=address, port=port, protocol=protocol, filter=filter, since=since, verdict=verdict,
            size=size, bytes=bytes))  # fmt: skip
        return found

    @contextlib.contextmanager
    def transaction(self, read_only: bool = False) -> Iterator[Transaction]:
        """Everything inside happens at once, or nothing of it: committed at the end, aborted by an exception."""
        self.call("transaction.begin", **given(read_only=read_only or None))
        transaction = Transaction()
        try:
            yield transaction
            transaction.generation = member(self.call("transaction.commit"), "generation")
        except BaseException:
            with contextlib.suppress(WfpdError):
                self.call("transaction.abort")
            raise

    def changes(
        self,
        types: Sequence[str] | None = None,
        *,
        on_add: bool = True,
        on_delete: bool = True,
        template: Mapping[str, object] | None = None,
    ) -> Changes:
        """Subscribe to other sessions' changes now; iterate over them, close to end it."""
        wanted = given(types=None if types is None else list(types), template=template)
        self._inbox.begin()
        key: Key | None = None
        try:
            found = self.call("changes.subscribe", on_add=on_add, on_delete=on_delete, **wanted)
            key = changes_key(found)
        finally:
            kept = self._inbox.end(key)
        return Changes(self, key, kept)

    def _follow(self, kept: Kept) -> Iterator[Any]:
        """Notifications of one taker until the connection ends."""
        while True:
            while kept.waiting:
                yield kept.waiting.popleft()
            try:
                self._receive(None)
            except Closed:
                return


def connect(path: str, timeout: float | None) -> socket.socket:
    """A connected socket; ControlError.

    The connecting itself blocks: a socket with a timeout of Python's would be told "try again" while many connect.
    """
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(timeout))
        made.connect(path)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(None))
    except OSError as error:
        made.close()
        raise unreachable(path, error) from error
    return made


def _timeval(seconds: float | None) -> bytes:
    """A struct timeval; 0 is for ever."""
    whole, part = divmod(0.0 if seconds is None else max(seconds, 1e-6), 1.0)
    return struct.pack("ll", int(whole), int(part * 1e6))


class Transaction:
    """A transaction; `generation` is known after the commit."""

    generation: int | None = None


class Changes:
    """An iterator over changes."""

    def __init__(self, client: Client, key: Key, kept: Kept) -> None:
        self._client, self._key, self._kept = client, key, kept
        self._iterator = client._follow(kept)

    @property
    def lost(self) -> int:
        """Changes that were not taken in time here; the daemon's own loss comes as a change with `error`."""
        return self._kept.lost

    def __iter__(self) -> Iterator[types.Change]:
        return self

    def __next__(self) -> types.Change:
        found: types.Change = next(self._iterator)
        return found

    def close(self) -> None:
        """Unsubscribe."""
        self._client._inbox.close(self._key)
        self._client.call("changes.unsubscribe", subscription=self._key[1])

    def __enter__(self) -> Changes:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with contextlib.suppress(ControlError):
            self.close()


class _Part:
    def __init__(self, client: Client) -> None:
        self._client = client


class Events(_Part):
    """Events of packets."""

    def __call__(self) -> Iterator[types.Event]:
        """Subscribe now; then events until the connection ends."""
        inbox = self._client._inbox
        inbox.begin()
        key: Key | None = None
        try:
            self._client.call("events.subscribe")
            key = ("event", None)
        finally:
            kept = inbox.end(key)
        return self._client._follow(kept)

    def last(self) -> types.Event:
        """The last block; empty if there was none."""
        found: types.Event = self._client.call("events.last")
        return found

    def reopen(self) -> types.Reopened:
        """Open event files anew."""
        found: types.Reopened = self._client.call("events.reopen")
        return found


class Session(_Part):
    """This connection's own session."""

    def open(
        self,
        *,
        name: str | None = None,
        description: str | None = None,
        key: str | None = None,
        dynamic: bool | None = None,
        txn_wait_timeout: float | None = None,
    ) -> types.Opened:
        """Before any other object method; without it the session is static."""
        found: types.Opened = self._client.call("session.open", **given(
            name=name, description=description, key=key, dynamic=dynamic,
            txn_wait_timeout=txn_wait_timeout))  # fmt: skip
        return found

    def close(self) -> None:
        """Abort its transaction and delete what a dynamic one has added."""
        self._client.call("session.close")


class Sessions(_Part):
    """All sessions."""

    def list(self) -> list[types.SessionShown]:
        """Those that are open."""
        found: list[types.SessionShown] = member(self._client.call("sessions.list"), "sessions")
        return found


class Listed(Generic[Shown]):
    """What is listed page by page."""

    def __init__(self, client: Client, plural: str) -> None:
        self._client = client
        self._plural = plural

    def list(self, *, page: int = PAGE, **template: object) -> Iterator[Shown]:
        """All that match the template, from one snapshot, read page by page."""
        wanted: dict[str, object] = {"template": template} if template else {}
        cursor: str | None = None
        try:
            while True:
                more: dict[str, object] = {} if cursor is None else {"cursor": cursor}
                found = self._client.call(f"{self._plural}.list", size=page, **(more or wanted))
                objects, cursor = listed(found)
                yield from objects
                if cursor is None:
                    return
        finally:
            if cursor is not None:
                with contextlib.suppress(WfpdError):
                    self._client.call(f"{self._plural}.close", cursor=cursor)


class Objects(Listed[Shown], Generic[Shown, Entry]):
    """Objects of one type."""

    def __init__(self, client: Client, singular: str) -> None:
        super().__init__(client, f"{singular}s")
        self._singular = singular

    def add(self, entry: Entry) -> types.Added:
        """Add one, given as in a policy file."""
        found: types.Added = self._client.call(f"{self._plural}.add", **{self._singular: entry})
        return found

    def delete(self, *keys: str) -> types.Deleted:
        """Delete those of these keys, all or none."""
        found: types.Deleted = self._client.call(f"{self._plural}.delete", keys=list(keys))
        return found

    def get(self, key: str) -> Shown:
        """One by its key."""
        found: Shown = member(self._client.call(f"{self._plural}.get", key=key), "object")
        return found


class Filters(Listed[types.FilterShown]):
    """Filters."""

    def __init__(self, client: Client) -> None:
        super().__init__(client, "filters")

    def add(
        self, entry: types.FilterEntry | None = None, *, policy: str | None = None, for_: float | None = None
    ) -> types.AddedFilters:
        """Add one, or all of a policy file's text; for so many seconds with `for_`."""
        found: types.AddedFilters = self._client.call("filters.add", **given(filter=entry, policy=policy, for_=for_))
        return found

    def delete(self, *keys: str) -> types.Deleted:
        """Delete those of these keys, all or none."""
        found: types.Deleted = self._client.call("filters.delete", keys=list(keys))
        return found

    def get(self, key: str) -> types.FilterShown:
        """One by its key."""
        found: types.FilterShown = member(self._client.call("filters.get", key=key), "object")
        return found


class Layers(_Part):
    """Layers."""

    def list(self) -> list[types.LayerShown]:
        """All of them."""
        found: list[types.LayerShown] = member(self._client.call("layers.list"), "objects")
        return found


class Sets(_Part):
    """Named sets."""

    def list(self) -> list[types.SetShown]:
        """All of them."""
        found: list[types.SetShown] = member(self._client.call("sets.list"), "objects")
        return found

    def get(self, name: str, *, size: int | None = None) -> dict[str, Any]:
        """One with its values."""
        found: dict[str, Any] = self._client.call("sets.get", **given(name=name, size=size))
        return found


class Stage(_Part):
    """A policy that is tried beside the one that runs."""

    def start(
        self,
        path: str,
        *,
        sample: int | None = None,
        answers: dict[str, str] | None = None,
        seconds: float | None = None,
    ) -> dict[str, Any]:
        """Begin to try this file, whose path is absolute, for at most so many seconds.  Refused has its problems."""
        params = given(path=path, sample=sample, answers=answers, **{"for": seconds})
        found: dict[str, Any] = self._client.call("stage.start", **params)
        return found

    def status(self) -> dict[str, Any]:
        """What was found so far."""
        found: dict[str, Any] = self._client.call("stage.status")
        return found

    def stop(self) -> dict[str, Any]:
        """End it."""
        found: dict[str, Any] = self._client.call("stage.stop")
        return found

"""The client for asyncio: one connection, any number of calls at once, the methods of `Client`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Generic, TypeVar

from wfpd.client import types
from wfpd.client._core import Answer, Closed, Core, Inbox, Kept, Key, Notification, changes_key, given, listed, member
from wfpd.client._sync import PAGE, Transaction, connect
from wfpd.client.errors import CallError
from wfpd.control.protocol import DEFAULT_PATH, VERSION
from wfpd.errors import ControlError, WfpdError

Shown = TypeVar("Shown")
Entry = TypeVar("Entry")


class AsyncClient:
    """`async with AsyncClient() as client`.  ControlError if the daemon cannot be reached, or a call takes too long."""

    def __init__(self, path: str = DEFAULT_PATH, timeout: float | None = 120.0) -> None:
        """`timeout`: seconds that the answer to a call may take; None = for ever."""
        self._path = path
        self._timeout = timeout
        self._core = Core()
        self._inbox = Inbox()
        self._pending: dict[int, asyncio.Future[Answer]] = {}
        self._failure: ControlError | None = None
        self._came = asyncio.Event()
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self.hello: types.Hello
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

    async def connect(self) -> AsyncClient:
        """Connect and say hello; `async with` does it."""
        made = await asyncio.to_thread(connect, self._path, self._timeout)
        reader, self._writer = await asyncio.open_unix_connection(sock=made)
        self._reading = asyncio.create_task(self._read(reader))
        try:
            self.hello = await self.call("hello", version=VERSION)
        except CallError as refused:
            await self.close()
            raise ControlError(f"wfpd at {self._path} refuses: {refused.message}", hint=refused.hint) from refused
        except BaseException:
            await self.close()
            raise
        return self

    async def call(self, method: str, /, **params: object) -> Any:
        """The result; a CallError if the daemon says no.  Cancelled, it may be done nevertheless; others go on."""
        ident = self._send(method, params)
        answer = self._pending[ident] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(self._timeout):
                assert self._writer is not None
                with contextlib.suppress(ConnectionError):  # The reader says what has happened.
                    await self._writer.drain()
                found = await answer
        except TimeoutError as error:
            raise ControlError(f"wfpd does not answer: {method}", hint="systemctl status wfpd") from error
        finally:
            del self._pending[ident]
            if answer.done() and not answer.cancelled():
                answer.exception()  # Looked at: a call that was cancelled tells nobody.
        if failure := found.failure(method):
            raise failure
        return found.result

    def _send(self, method: str, params: Mapping[str, object]) -> int:
        """Hand a whole line to the transport; the call's number."""
        if self._failure is not None:
            raise self._failure
        if self._writer is None:
            raise ControlError("the client is not connected", hint="async with AsyncClient() as client: ...")
        ident, line = self._core.request(method, params)
        self._writer.write(line)
        return ident

    async def _read(self, reader: asyncio.StreamReader) -> None:
        failure: ControlError = Closed()
        try:
            while data := await reader.read(262144):
                for message in self._core.feed(data):
                    self._take(message)
        except ConnectionError:
            pass
        except ControlError as error:
            failure = error
        finally:
            self._fail(failure)

    def _take(self, message: Answer | Notification) -> None:
        if not isinstance(message, Answer):
            self._inbox.put(message)
            self._came.set()
        elif message.ident is None:
            failed = message.failure("wfpd")
            raise ControlError(f"wfpd refuses the connection: {failed.message if failed else message.result}")
        elif (waiting := self._pending.get(message.ident)) is not None and not waiting.done():
            waiting.set_result(message)

    def _fail(self, failure: ControlError) -> None:
        self._failure = self._failure or failure
        for waiting in self._pending.values():
            if not waiting.done():
                waiting.set_exception(self._failure)
        self._came.set()
        if self._writer is not None:
            self._writer.close()

    async def close(self) -> None:
        """Close the connection: its transaction is aborted, objects of a dynamic session are deleted."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        self._fail(Closed())
        if self._writer is not None:
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()

    async def __aenter__(self) -> AsyncClient:
        return await self.connect()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # --------------------------------------------------------------------------------- methods

    async def version(self) -> types.Version:
        """The daemon's version."""
        found: types.Version = await self.call("version")
        return found

    async def status(self) -> types.Status:
        """Whether it enforces, and how it is."""
        found: types.Status = await self.call("status")
        return found

    async def schema(self) -> dict[str, Any]:
        """The published schema of every method."""
        found: dict[str, Any] = await self.call("schema")
        return found

    async def counters(self) -> types.Counters:
        """One reading of everything that is counted."""
        found: types.Counters = await self.call("counters")
        return found

    async def reload(self, confirm: float | None = None) -> types.Reloaded:
        """Read the policy file again; with `confirm`, it goes back after so many seconds unless confirmed."""
        found: types.Reloaded = await self.call("reload", **given(confirm=confirm))
        return found

    async def confirm(self) -> types.Reloaded:
        """Keep the policy that waits to be confirmed."""
        found: types.Reloaded = await self.call("confirm")
        return found

    async def explain(
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
        found: dict[str, Any] = await self.call("explain", **given(
            hook=hook, protocol=protocol, source=source, destination=destination, flags=flags, icmp=icmp,
            payload=payload, interface=interface, mark=mark, near=near, answers=answers))  # fmt: skip
        return found

    async def explain_data(
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
        found: dict[str, Any] = await self.call("explain", **given(
            hook=hook, data=data.hex(), length=length, interface=interface, mark=mark, near=near,
            answers=answers))  # fmt: skip
        return found

    async def why(
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
        found: dict[str, Any] = await self.call("why", **given(
            address=address, port=port, protocol=protocol, filter=filter, since=since, verdict=verdict,
            size=size, bytes=bytes))  # fmt: skip
        return found

    @contextlib.asynccontextmanager
    async def transaction(self, read_only: bool = False) -> AsyncIterator[Transaction]:
        """Everything inside happens at once, or nothing of it: committed at the end, aborted by an exception."""
        transaction = Transaction()
        try:
            await self.call("transaction.begin", **given(read_only=read_only or None))
        except asyncio.CancelledError:
            self._abort()  # It may begin nevertheless.
            raise
        try:
            yield transaction
            transaction.generation = member(await self.call("transaction.commit"), "generation")
        except BaseException as error:
            if isinstance(error, Exception):
                with contextlib.suppress(WfpdError):
                    await self.call("transaction.abort")
            else:
                self._abort()
            raise

    def _abort(self) -> None:
        """Abort without waiting for the answer; calls are served in order."""
        with contextlib.suppress(ControlError):
            self._send("transaction.abort", {})

    async def changes(
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
            found = await self.call("changes.subscribe", on_add=on_add, on_delete=on_delete, **wanted)
            key = changes_key(found)
        finally:
            kept = self._inbox.end(key)
        return Changes(self, key, kept)

    async def _follow(self, kept: Kept) -> AsyncIterator[Any]:
        """Notifications of one taker until the connection ends."""
        while True:
            while kept.waiting:
                yield kept.waiting.popleft()
            if self._failure is not None:
                if isinstance(self._failure, Closed):
                    return
                raise self._failure
            self._came.clear()
            await self._came.wait()


class Changes:
    """An asynchronous iterator over changes."""

    def __init__(self, client: AsyncClient, key: Key, kept: Kept) -> None:
        self._client, self._key, self._kept = client, key, kept
        self._iterator = client._follow(kept)

    @property
    def lost(self) -> int:
        """Changes that were not taken in time here; the daemon's own loss comes as a change with `error`."""
        return self._kept.lost

    def __aiter__(self) -> AsyncIterator[types.Change]:
        return self

    async def __anext__(self) -> types.Change:
        found: types.Change = await anext(self._iterator)
        return found

    async def close(self) -> None:
        """Unsubscribe."""
        self._client._inbox.close(self._key)
        await self._client.call("changes.unsubscribe", subscription=self._key[1])

    async def __aenter__(self) -> Changes:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        with contextlib.suppress(ControlError):
            await self.close()


class _Part:
    def __init__(self, client: AsyncClient) -> None:
        self._client = client


class Events(_Part):
    """Events of packets."""

    async def __call__(self) -> AsyncIterator[types.Event]:
        """Subscribe now; then events until the connection ends."""
        inbox = self._client._inbox
        inbox.begin()
        key: Key | None = None
        try:
            await self._client.call("events.subscribe")
            key = ("event", None)
        finally:
            kept = inbox.end(key)
        return self._client._follow(kept)

    async def last(self) -> types.Event:
        """The last block; empty if there was none."""
        found: types.Event = await self._client.call("events.last")
        return found

    async def reopen(self) -> types.Reopened:
        """Open event files anew."""
        found: types.Reopened = await self._client.call("events.reopen")
        return found


class Session(_Part):
    """This connection's own session."""

    async def open(
        self,
        *,
        name: str | None = None,
        description: str | None = None,
        key: str | None = None,
        dynamic: bool | None = None,
        txn_wait_timeout: float | None = None,
    ) -> types.Opened:
        """Before any other object method; without it the session is static."""
        found: types.Opened = await self._client.call("session.open", **given(
            name=name, description=description, key=key, dynamic=dynamic,
            txn_wait_timeout=txn_wait_timeout))  # fmt: skip
        return found

    async def close(self) -> None:
        """Abort its transaction and delete what a dynamic one has added."""
        await self._client.call("session.close")


class Sessions(_Part):
    """All sessions."""

    async def list(self) -> list[types.SessionShown]:
        """Those that are open."""
        found: list[types.SessionShown] = member(await self._client.call("sessions.list"), "sessions")
        return found


class Listed(Generic[Shown]):
    """What is listed page by page."""

    def __init__(self, client: AsyncClient, plural: str) -> None:
        self._client = client
        self._plural = plural

    async def list(self, *, page: int = PAGE, **template: object) -> AsyncIterator[Shown]:
        """All that match the template, from one snapshot, read page by page."""
        wanted: dict[str, object] = {"template": template} if template else {}
        cursor: str | None = None
        try:
            while True:
                more: dict[str, object] = {} if cursor is None else {"cursor": cursor}
                found = await self._client.call(f"{self._plural}.list", size=page, **(more or wanted))
                objects, cursor = listed(found)
                for one in objects:
                    yield one
                if cursor is None:
                    return
        finally:
            if cursor is not None:
                with contextlib.suppress(WfpdError):
                    await self._client.call(f"{self._plural}.close", cursor=cursor)


class Objects(Listed[Shown], Generic[Shown, Entry]):
    """Objects of one type."""

    def __init__(self, client: AsyncClient, singular: str) -> None:
        super().__init__(client, f"{singular}s")
        self._singular = singular

    async def add(self, entry: Entry) -> types.Added:
        """Add one, given as in a policy file."""
        found: types.Added = await self._client.call(f"{self._plural}.add", **{self._singular: entry})
        return found

    async def delete(self, *keys: str) -> types.Deleted:
        """Delete those of these keys, all or none."""
        found: types.Deleted = await self._client.call(f"{self._plural}.delete", keys=list(keys))
        return found

    async def get(self, key: str) -> Shown:
        """One by its key."""
        found: Shown = member(await self._client.call(f"{self._plural}.get", key=key), "object")
        return found


class Filters(Listed[types.FilterShown]):
    """Filters."""

    def __init__(self, client: AsyncClient) -> None:
        super().__init__(client, "filters")

    async def add(
        self, entry: types.FilterEntry | None = None, *, policy: str | None = None, for_: float | None = None
    ) -> types.AddedFilters:
        """Add one, or all of a policy file's text; for so many seconds with `for_`."""
        params = given(filter=entry, policy=policy, for_=for_)
        found: types.AddedFilters = await self._client.call("filters.add", **params)
        return found

    async def delete(self, *keys: str) -> types.Deleted:
        """Delete those of these keys, all or none."""
        found: types.Deleted = await self._client.call("filters.delete", keys=list(keys))
        return found

    async def get(self, key: str) -> types.FilterShown:
        """One by its key."""
        found: types.FilterShown = member(await self._client.call("filters.get", key=key), "object")
        return found


class Layers(_Part):
    """Layers."""

    async def list(self) -> list[types.LayerShown]:
        """All of them."""
        found: list[types.LayerShown] = member(await self._client.call("layers.list"), "objects")
        return found


class Sets(_Part):
    """Named sets."""

    async def list(self) -> list[types.SetShown]:
        """All of them."""
        found: list[types.SetShown] = member(await self._client.call("sets.list"), "objects")
        return found

    async def get(self, name: str, *, size: int | None = None) -> dict[str, Any]:
        """One with its values."""
        found: dict[str, Any] = await self._client.call("sets.get", **given(name=name, size=size))
        return found


class Stage(_Part):
    """A policy that is tried beside the one that runs."""

    async def start(
        self,
        path: str,
        *,
        sample: int | None = None,
        answers: dict[str, str] | None = None,
        seconds: float | None = None,
    ) -> dict[str, Any]:
        """Begin to try this file, whose path is absolute, for at most so many seconds.  Refused has its problems."""
        params = given(path=path, sample=sample, answers=answers, **{"for": seconds})
        found: dict[str, Any] = await self._client.call("stage.start", **params)
        return found

    async def status(self) -> dict[str, Any]:
        """What was found so far."""
        found: dict[str, Any] = await self._client.call("stage.status")
        return found

    async def stop(self) -> dict[str, Any]:
        """End it."""
        found: dict[str, Any] = await self._client.call("stage.stop")
        return found

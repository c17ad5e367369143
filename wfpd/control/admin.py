"""The control socket's server: asyncio in a thread of its own, off the packet threads.

A peer is who the kernel says it is (SO_PEERCRED); its role comes from its groups.  Methods run in a
small pool, so a reload does not stop `status`.  A peer that reads too slowly, says nothing before
hello, or sends too long a line is disconnected.
"""

from __future__ import annotations

import asyncio
import contextlib
import grp
import logging
import os
import pwd
import socket
import stat
import struct
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import wfpd
from wfpd.control import protocol
from wfpd.control.protocol import Role, RpcError
from wfpd.errors import ControlError, PolicyError, WfpdError
from wfpd.observe.sinks import Hub, Subscriber

log = logging.getLogger(__name__)

DEFAULT_GROUP = "wfpd"
"""Owns the socket where the policy names no group that may read."""
MAX_CONNECTIONS = 64
HELLO_TIMEOUT = 10.0
"""Seconds in which hello has to come."""
WRITE_TIMEOUT = 10.0
"""Seconds in which a peer has to take what is sent to it."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Who calls, as the kernel says."""

    uid: int
    pid: int
    role: Role


@dataclass(frozen=True, slots=True)
class Method:
    """One method.  `call` gets the parameters and the peer, may block, and returns JSON-able data."""

    role: Role
    call: Callable[[Mapping[str, Any], Peer], object]
    changes: bool = False
    """It changes something: logged with uid, pid, before and after."""
    parameters: frozenset[str] = frozenset()
    """Their names.  Others are refused: a misspelled `confirm` would be a reload that never goes back."""


class Roles:
    """Groups to roles.  Root administers; without a matching group a peer has no role."""

    def __init__(self, read: Iterable[str] = (), operate: Iterable[str] = (), administer: Iterable[str] = ()) -> None:
        self._groups = ((Role.ADMINISTER, _group_ids(administer)), (Role.OPERATE, _group_ids(operate)),
                        (Role.READ, _group_ids(read)))  # fmt: skip

    def of(self, uid: int, gid: int) -> Role:
        """The highest role of a user; 0 and the daemon's own user administer."""
        if uid in (0, os.geteuid()):
            return Role.ADMINISTER
        theirs = _groups_of(uid, gid)
        return next((role for role, groups in self._groups if groups & theirs), Role.NONE)


def _group_ids(names: Iterable[str]) -> frozenset[int]:
    found = set()
    for name in names:
        try:
            found.add(grp.getgrnam(name).gr_gid)
        except KeyError:
            log.warning("control: there is no group %r", name)
    return frozenset(found)


def _groups_of(uid: int, gid: int) -> frozenset[int]:
    try:
        entry = pwd.getpwuid(uid)
        return frozenset({gid, *os.getgrouplist(entry.pw_name, entry.pw_gid)})
    except (KeyError, OSError):
        return frozenset({gid})


class AdminServer:
    """Serves `methods` at `path` until closed."""

    def __init__(
        self,
        path: str,
        methods: Mapping[str, Method],
        roles: Roles,
        *,
        hub: Hub | None = None,
        group: str = "",
        state: Callable[[], object] | None = None,
        max_connections: int = MAX_CONNECTIONS,
        hello_timeout: float = HELLO_TIMEOUT,
    ) -> None:
        """`group` owns the socket; `state` gives the before and after of a logged change."""
        self._path = path
        self._methods = dict(methods)
        self._roles = roles
        self._hub = hub
        self._group = group
        self._state = state or (lambda: "")
        self._max_connections = max_connections
        self._hello_timeout = hello_timeout
        self._connections = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._pool = ThreadPoolExecutor(4, "wfpd-control-call")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="wfpd-control", daemon=True)
        self._stop = asyncio.Event()
        self._socket: socket.socket | None = None

    def start(self) -> None:
        """Bind and begin to accept.  ControlError if another wfpd holds the path or it cannot be made."""
        self._socket = _bind(self._path, self._group)
        self._thread.start()

    def close(self) -> None:
        """Stop; the path is removed."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self._socket is not None:
            self._socket.close()
            self._socket = None
            with contextlib.suppress(OSError):
                os.unlink(self._path)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_unix_server(self._accept, sock=self._socket, limit=protocol.MAX_LINE)
        await self._stop.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._connections >= self._max_connections:
            writer.transport.abort()
            return
        self._connections += 1
        task = self._loop.create_task(self._connection(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._connections -= 1

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(self, writer, self._peer(writer))
        try:
            await asyncio.wait_for(connection.hello(reader), self._hello_timeout)
            while connection.greeted:
                if not await connection.serve_line(reader):
                    break
        except (ConnectionError, TimeoutError, asyncio.CancelledError):
            pass
        except Exception:
            log.exception("control: a connection failed")
        finally:
            connection.end()
            writer.transport.abort() if self._stop.is_set() else writer.close()

    def _peer(self, writer: asyncio.StreamWriter) -> Peer:
        found = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        pid, uid, gid = struct.unpack("iII", found)
        return Peer(uid, pid, self._roles.of(uid, gid))

    async def perform(self, request: protocol.Request, peer: Peer) -> object:
        """Run one method in the pool; RpcError for every way it can fail."""
        method = self._methods.get(request.method)
        if method is None:
            raise RpcError(protocol.METHOD_NOT_FOUND, f"there is no method {request.method[:128]!r}")
        if peer.role < method.role:
            raise RpcError(protocol.NOT_ALLOWED, f"{request.method} needs the role {method.role.name.lower()}")
        params = _by_name(request)
        if unknown := sorted(params.keys() - method.parameters):
            raise RpcError(protocol.INVALID_PARAMS, f"{request.method} has no parameter {unknown[0][:128]!r}")
        return await self._loop.run_in_executor(self._pool, self._call, request.method, params, method, peer)

    def _call(self, name: str, params: Mapping[str, Any], method: Method, peer: Peer) -> object:
        before = self._state() if method.changes else None
        outcome = "failed"
        try:
            result = method.call(params, peer)
            refused = isinstance(result, Mapping) and result.get("successful") is False
            outcome = "refused" if refused else "done"
            return result
        except RpcError as error:
            outcome = f"refused: {error.message}"
            raise
        except WfpdError as error:
            outcome = f"refused: {error.message}"
            raise RpcError(protocol.REFUSED, error.message, _data_of(error)) from error
        except Exception as error:
            log.exception("control: %s failed", name)
            raise RpcError(protocol.INTERNAL_ERROR, "a fault of wfpd's; the log says more") from error
        finally:
            if method.changes:
                log.info("control: %s by uid %d pid %d: %r, before %s, after %s",
                         name, peer.uid, peer.pid, outcome, before, self._state())  # fmt: skip

    @property
    def hub(self) -> Hub | None:
        """Where events come from."""
        return self._hub

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The server's event loop."""
        return self._loop


class _Connection:
    """One peer."""

    def __init__(self, server: AdminServer, writer: asyncio.StreamWriter, peer: Peer) -> None:
        self._server = server
        self._writer = writer
        self._peer = peer
        self.greeted = False
        self._subscriber: Subscriber | None = None
        self._pump: asyncio.Task[None] | None = None

    async def hello(self, reader: asyncio.StreamReader) -> None:
        """Serve lines until hello has come or the connection is of no use."""
        while not self.greeted:
            if not await self.serve_line(reader):
                return

    async def serve_line(self, reader: asyncio.StreamReader) -> bool:
        """One request.  False: the connection is over."""
        try:
            line = await reader.readuntil(b"\n")
        except asyncio.IncompleteReadError:
            return False
        except asyncio.LimitOverrunError:
            error = RpcError(protocol.INVALID_REQUEST, f"a line is longer than {protocol.MAX_LINE} bytes")
            await self._write(protocol.error_line(None, error))
            return False
        try:
            request = protocol.parse_request(line)
        except RpcError as error:
            await self._write(protocol.error_line(None, error))
            return self.greeted
        try:
            answer = protocol.result_line(request.id, await self._answer(request))
        except RpcError as error:
            answer = protocol.error_line(request.id, error)
        if not request.notification:
            await self._write(answer)
        return True

    async def _answer(self, request: protocol.Request) -> object:
        if request.method == "hello":
            return self._hello(_by_name(request).get("version"))
        if not self.greeted:
            raise RpcError(protocol.HELLO_FIRST, "the first call is hello {version}")
        if request.method == "version":
            return {"version": wfpd.__version__, "protocol": protocol.VERSION}
        if request.method == "events.subscribe":
            return self._subscribe()
        return await self._server.perform(request, self._peer)

    def _hello(self, version: object) -> object:
        if isinstance(version, bool) or version != protocol.VERSION:
            raise RpcError(protocol.WRONG_VERSION, f"this wfpd speaks version {protocol.VERSION}")
        if self._peer.role is Role.NONE:
            raise RpcError(protocol.NOT_ALLOWED, "no role: daemon: control: names the groups that may")
        self.greeted = True
        return {"version": protocol.VERSION, "wfpd": wfpd.__version__, "role": self._peer.role.name.lower()}

    def _subscribe(self) -> object:
        if self._server.hub is None:
            raise RpcError(protocol.REFUSED, "this wfpd keeps no events")
        if self._subscriber is None:
            event, loop = asyncio.Event(), self._server.loop
            self._subscriber = Subscriber(lambda: _call_soon(loop, event.set))
            self._server.hub.add(self._subscriber)
            self._pump = loop.create_task(self._send_events(self._subscriber, event))
        return {"subscribed": True}

    async def _send_events(self, subscriber: Subscriber, event: asyncio.Event) -> None:
        try:
            while True:
                await event.wait()
                event.clear()
                for line in subscriber.take():
                    await self._write(protocol.event_line(line))
        except (ConnectionError, TimeoutError):
            self._writer.transport.abort()

    async def _write(self, line: bytes) -> None:
        self._writer.write(line)
        await asyncio.wait_for(self._writer.drain(), WRITE_TIMEOUT)

    def end(self) -> None:
        """No more events for this peer."""
        if self._subscriber is not None and self._server.hub is not None:
            self._server.hub.remove(self._subscriber)
        if self._pump is not None:
            self._pump.cancel()


def _by_name(request: protocol.Request) -> Mapping[str, Any]:
    if request.params is None:
        raise RpcError(protocol.INVALID_PARAMS, "params is not an object")
    return request.params


def _call_soon(loop: asyncio.AbstractEventLoop, function: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # The loop is closed: nobody is there to be woken.
        loop.call_soon_threadsafe(function)


def _data_of(error: WfpdError) -> object:
    if isinstance(error, PolicyError):
        return {"problems": [str(problem) for problem in error.problems[:1000]]}
    return {"hint": error.hint} if error.hint else None


def _bind(path: str, group: str) -> socket.socket:
    """The listening socket, mode 0660.  A path left behind by a dead wfpd is taken over."""
    try:
        os.makedirs(os.path.dirname(path) or ".", mode=0o755, exist_ok=True)
        if _is_left_behind(path):
            os.unlink(path)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        old = os.umask(0o177)
        try:
            listening.bind(path)
        finally:
            os.umask(old)
        _own(path, group)
        os.chmod(path, 0o660)
        listening.listen(MAX_CONNECTIONS)
    except OSError as error:
        raise ControlError(f"control socket {path}: {error.strerror or error}",
                           hint="daemon: control: {path: ...} names another place") from error  # fmt: skip
    return listening


def _own(path: str, group: str) -> None:
    """Best effort: who may not give the socket away (the shipped unit) keeps it in its own group."""
    if not group:
        return
    try:
        wanted = grp.getgrnam(group).gr_gid
    except KeyError:
        if group != DEFAULT_GROUP:  # Before the installation there is no such group: root's own is stricter.
            log.warning("control: there is no group %r: %s is for root and the daemon's user", group, path)
        return
    try:
        if os.stat(path).st_gid != wanted:
            os.chown(path, -1, wanted)
    except OSError as error:
        log.warning("control: %s cannot be given to the group %s (%s): its members cannot connect",
                    path, group, error.strerror)  # fmt: skip


def _is_left_behind(path: str) -> bool:
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return False
    except FileNotFoundError:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except OSError:
            return True
    raise ControlError(f"control socket {path}: another wfpd is listening", hint="wfpd status shows it")

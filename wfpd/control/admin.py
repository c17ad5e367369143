"""The control socket's server: asyncio in a thread of its own, off the packet threads.

A peer is who the kernel says it is (SO_PEERCRED); its role comes from its groups.  Methods run in a pool that has a
thread for each connection; of users who do not administer, few calls run at once.  What any peer does, the
others are answered (limits.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import grp
import logging
import os
import pwd
import resource
import socket
import stat
import struct
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import wfpd
from wfpd.control import limits, protocol, schema
from wfpd.control.connection import HELLO_TIMEOUT, Connection, measured
from wfpd.control.limits import MAX_CONNECTIONS, Account, Accounts, Places
from wfpd.control.pace import READ_SIZE
from wfpd.control.peer import Peer
from wfpd.control.protocol import Role, RpcError
from wfpd.errors import ControlError, PolicyError, WfpdError
from wfpd.observe.sinks import Hub

log = logging.getLogger(__name__)

DEFAULT_GROUP = "wfpd"
"""Owns the socket where the policy names no group that may read."""
BACKLOG = 64
"""Connections that may wait to be accepted: few, for who comes last waits for all of them."""
ACCEPTS, ACCEPT_PAUSE = 32, 0.002
"""So many connections are accepted without a pause of so many seconds: a flood of them takes no whole processor."""
ACCEPT_AGAIN = 0.5
"""Seconds after which accepting is tried again when there was no descriptor for it."""
SPARE_DESCRIPTORS = 64
"""Of the process's limit, what connections leave to everything else."""
SILENCE = 0.5
"""Seconds without hello after which a connection gives its place to one that comes."""
MIN_CONNECTIONS = 40
"""Even if descriptors are few; more than the places of administrators."""
END_THREADS = 8
"""For what is to be done at connections' ends."""
CLOSE_TIMEOUT = 5.0
"""Seconds that closing waits for calls that run and for what is to be done at connections' ends."""
ROLE_SECONDS = 5.0
"""For so long a user's role is not looked up again."""
SMALL = 65536
"""Bytes of an answer that its user's next call need not wait for."""


OWN = ("hello", "version", "schema", "events.subscribe")
"""Methods that every server has by itself."""

__all__ = ["OWN", "AdminServer", "Method", "Peer", "Roles"]


@dataclass(frozen=True, slots=True)
class Method:
    """One method.  `call` gets the parameters and the peer, may block, and returns JSON-able data."""

    role: Role
    call: Callable[[Mapping[str, Any], Peer], object]
    changes: bool = False
    """It changes something: logged with uid, pid, before and after."""
    parameters: frozenset[str] = frozenset()
    """Their names.  Others are refused: a misspelled `confirm` would be a reload that never goes back."""
    waits: bool = False
    """It may wait for other connections' calls (a lock, a transaction), so it takes no turn that those may need.

    Those above *read* are taken to wait.
    """


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
        places: Places | None = None,
        hello_timeout: float = HELLO_TIMEOUT,
    ) -> None:
        """`group` owns the socket; `state` gives the before and after of a logged change."""
        self._path = path
        self._methods = {**methods, "schema": Method(Role.READ, lambda params, peer: schema.load())}
        self._roles = roles
        self._hub = hub
        self._group = group
        self._state = state or (lambda: "")
        self._hello_timeout = hello_timeout
        self._accounts = Accounts(places or Places(total=_affordable(MAX_CONNECTIONS)))
        self._known_roles: dict[tuple[int, int], tuple[float, Role]] = {}
        self._silent: dict[Connection, None] = {}
        self._others = asyncio.Semaphore(limits.CALLS)
        self._tasks: set[asyncio.Task[None]] = set()
        # One for each connection, of which each has one call at a time: no call waits for another's thread.
        self._calls = ThreadPoolExecutor(self._accounts.places.total, "wfpd-control-call")
        self._ends = ThreadPoolExecutor(END_THREADS, "wfpd-control-end")
        self._n_peers = 0
        self._peer_gone = threading.Condition()
        self._buffer = memoryview(bytearray(READ_SIZE))
        self._quickest = measured()
        self._refusing = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="wfpd-control", daemon=True)
        self._stop = asyncio.Event()
        self._socket: socket.socket | None = None

    def start(self) -> None:
        """Bind and begin to accept.  ControlError if another wfpd holds the path or it cannot be made."""
        self._socket = _bind(self._path, self._group)
        self._thread.start()

    def close(self) -> None:
        """Stop; every connection ends, and what was asked for at its end is done; the path is removed."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()
            with self._peer_gone:
                if not self._peer_gone.wait_for(lambda: not self._n_peers, CLOSE_TIMEOUT):
                    log.warning("control: calls of %d connections still run", self._n_peers)
        for pool in (self._calls, self._ends):
            pool.shutdown(wait=False)
        if self._socket is not None:
            self._socket.close()
            self._socket = None
            with contextlib.suppress(OSError):
                os.unlink(self._path)

    # ------------------------------------------------------------------------- the event loop

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        self._accept_on()
        await self._stop.wait()
        self._accept_pause()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept_on(self) -> None:
        if self._socket is not None and not self._stop.is_set():
            self._loop.add_reader(self._socket, self._accept)

    def _accept_pause(self, seconds: float | None = None) -> None:
        assert self._socket is not None
        self._loop.remove_reader(self._socket)
        if seconds is not None:
            self._loop.call_later(seconds, self._accept_on)

    def _accept(self) -> None:
        assert self._socket is not None
        for _ in range(ACCEPTS):
            try:
                accepted, _address = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if not self._refusing:
                    log.error("control: connections cannot be accepted: %s; tried again until they can", error.strerror)
                self._refusing = True
                self._accept_pause(ACCEPT_AGAIN)
                return
            self._refusing = False
            self._admit(accepted)
            if (wait := self._accounts.arrivals.wait(self._loop.time())) > 0:
                self._accept_pause(max(wait, ACCEPT_PAUSE))
                return
        self._accept_pause(ACCEPT_PAUSE)

    def _admit(self, accepted: socket.socket) -> None:
        try:
            pid, uid, gid = struct.unpack("iII", accepted.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            role = self._role(uid, gid)
        except OSError:
            accepted.close()
            return
        account = self._accounts.of(uid, role is Role.ADMINISTER)
        if not account.administers:
            self._accounts.arrivals.charge(1 / limits.ARRIVALS, self._loop.time())
        if not self._accounts.take_place(account) and not (
            self._end_silent(account) and self._accounts.take_place(account)
        ):
            accepted.close()
            return
        accepted.setblocking(False)
        task = self._loop.create_task(self._connection(accepted, account, pid, role))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _role(self, uid: int, gid: int) -> Role:
        now = self._loop.time()
        found = self._known_roles.get((uid, gid))
        if found is None or now - found[0] > ROLE_SECONDS:
            if len(self._known_roles) >= limits.REMEMBERED:
                self._known_roles.clear()
            found = self._known_roles[uid, gid] = (now, self._roles.of(uid, gid))
        return found[1]

    def _end_silent(self, account: Account) -> bool:
        """End the connection that has been without hello for longest, if that may give `account` a place."""
        for connection in self._silent:
            if self._loop.time() - connection.since < SILENCE:
                return False
            if account.administers or connection.account is account:
                self._leave(connection)
                connection.abort()
                return True
        return False

    def _leave(self, connection: Connection) -> None:
        """The connection's place is free."""
        self._silent.pop(connection, None)
        if connection.subscribed:
            connection.subscribed = False
            self._accounts.unsubscribe(connection.account)
        if connection.has_place:
            connection.has_place = False
            self._accounts.leave(connection.account)

    async def _connection(self, accepted: socket.socket, account: Account, pid: int, role: Role) -> None:
        connection = Connection(account, self._buffer, self._hello_timeout, self._quickest)
        connection.peer = Peer(account.uid, pid, role, wake=lambda: _call_soon(self._loop, connection.flush),
                               submit=self._ends.submit, room=account.room, finished=self._peer_finished)  # fmt: skip
        with self._peer_gone:
            self._n_peers += 1
        self._silent[connection] = None
        try:
            await self._loop.connect_accepted_socket(lambda: connection, accepted)
            await connection.run(self._serve_line)
        except (ConnectionError, asyncio.CancelledError):
            pass
        except Exception:
            log.exception("control: a connection failed")
        finally:
            self._end(connection, accepted)

    def _end(self, connection: Connection, accepted: socket.socket) -> None:
        self._leave(connection)
        if self._hub is not None:
            self._hub.remove(connection.events)
        connection.peer.end()
        connection.close(accepted, now=self._stop.is_set())

    def _peer_finished(self) -> None:
        with self._peer_gone:
            self._n_peers -= 1
            self._peer_gone.notify_all()

    # ------------------------------------------------------------------------------- requests

    async def _serve_line(self, connection: Connection, line: bytes) -> bool:
        """One request.  False: the connection is over."""
        try:
            request = protocol.parse_request(line)
        except RpcError as error:
            await connection.write(protocol.error_line(None, error))
            return connection.greeted
        async with self._turn(connection.account, self._methods.get(request.method)) as leave:
            try:
                answer = await self._answer(connection, request)
            except RpcError as error:
                answer = protocol.error_line(request.id, error)
            if len(answer) <= SMALL:
                leave()
            if not request.notification:
                await connection.write(answer)
        return True

    @contextlib.asynccontextmanager
    async def _turn(self, account: Account, method: Method | None) -> AsyncIterator[Callable[[], None]]:
        """When it is this user's turn; a call that waits for others waits for no turn, or they might wait for it."""
        if method is None or method.waits or method.role > Role.READ:
            yield lambda: None
            return
        held = [account.calls]
        await account.calls.acquire()
        try:
            yield lambda: held.pop().release() if held else None
        finally:
            for one in held:
                one.release()

    async def _answer(self, connection: Connection, request: protocol.Request) -> bytes:
        if request.method == "hello":
            return protocol.result_line(request.id, self._hello(connection, _by_name(request).get("version")))
        if not connection.greeted:
            raise RpcError(protocol.HELLO_FIRST, "the first call is hello {version}")
        if request.method == "version":
            return protocol.result_line(request.id, {"version": wfpd.__version__, "protocol": protocol.VERSION})
        if request.method == "events.subscribe":
            return protocol.result_line(request.id, self._subscribe(connection))
        return await self._perform(request, connection)

    def _hello(self, connection: Connection, version: object) -> object:
        if isinstance(version, bool) or version != protocol.VERSION:
            raise RpcError(protocol.WRONG_VERSION, f"this wfpd speaks version {protocol.VERSION}")
        role = connection.peer.role
        if role is Role.NONE:
            raise RpcError(protocol.NOT_ALLOWED, "no role: daemon: control: names the groups that may")
        connection.greeted = True
        self._silent.pop(connection, None)
        return {"version": protocol.VERSION, "wfpd": wfpd.__version__, "role": role.name.lower()}

    def _subscribe(self, connection: Connection) -> object:
        if self._hub is None:
            raise RpcError(protocol.REFUSED, "this wfpd keeps no events")
        if not connection.subscribed:
            if not self._accounts.subscribe(connection.account):
                raise RpcError(protocol.REFUSED, "there are enough subscribers of events",
                               {"hint": "an administrator may always subscribe"})  # fmt: skip
            connection.subscribed = True
            self._hub.add(connection.events)
        return {"subscribed": True}

    async def _perform(self, request: protocol.Request, connection: Connection) -> bytes:
        """Run one method in a pool; RpcError for every way it can fail."""
        method, account, peer = self._methods.get(request.method), connection.account, connection.peer
        if method is None:
            raise RpcError(protocol.METHOD_NOT_FOUND, f"there is no method {request.method[:128]!r}")
        if peer.role < method.role:
            raise RpcError(protocol.NOT_ALLOWED, f"{request.method} needs the role {method.role.name.lower()}")
        params = _by_name(request)
        if unknown := sorted(params.keys() - method.parameters):
            raise RpcError(protocol.INVALID_PARAMS, f"{request.method} has no parameter {unknown[0][:128]!r}")
        waits = method.waits or method.role > Role.READ
        async with contextlib.AsyncExitStack() as turn:
            if waits:
                account.charge(limits.AHEAD, self._loop.time())
            elif not account.administers:
                await turn.enter_async_context(self._others)
            if not peer.begin():
                raise ConnectionResetError
            done: asyncio.Future[tuple[bytes, float]] = self._loop.create_future()
            self._calls.submit(self._call, request, method, peer, done)
            answer, cost = await done
        account.charge(cost - limits.AHEAD if waits else cost, self._loop.time())
        return answer

    def _call(
        self, request: protocol.Request, method: Method, peer: Peer, done: asyncio.Future[tuple[bytes, float]]
    ) -> None:
        """In a pool: `done` gets the answer's line and the seconds of a processor that it took."""
        began = time.thread_time()
        try:
            answer = protocol.result_line(request.id, self._result(request.method, _by_name(request), method, peer))
            if len(answer) > protocol.MAX_ANSWER:
                raise RpcError(protocol.REFUSED, f"the answer is longer than {protocol.MAX_ANSWER} bytes",
                               {"hint": "ask for less at once"})  # fmt: skip
        except RpcError as error:
            answer = protocol.error_line(request.id, error)
        except Exception:
            log.exception("control: the answer of %s cannot be written", request.method)
            answer = protocol.error_line(request.id, RpcError(protocol.INTERNAL_ERROR, _FAULT))
        finally:
            peer.done()
        cost = time.thread_time() - began
        _call_soon(self._loop, lambda: None if done.done() else done.set_result((answer, cost)))

    def _result(self, name: str, params: Mapping[str, Any], method: Method, peer: Peer) -> object:
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
            raise RpcError(protocol.INTERNAL_ERROR, _FAULT) from error
        finally:
            if method.changes:
                log.info("control: %s by uid %d pid %d: %r, before %s, after %s",
                         name, peer.uid, peer.pid, outcome, before, self._state())  # fmt: skip


_FAULT = "a fault of wfpd's; the log says more"


def _affordable(wanted: int) -> int:
    """So many connections as the limit of descriptors leaves, which is raised where that may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = len(os.listdir("/proc/self/fd")) + SPARE_DESCRIPTORS + wanted
    if soft == resource.RLIM_INFINITY or needed <= soft:
        return wanted
    raised = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
        soft = raised
    found = max(MIN_CONNECTIONS, wanted - max(0, needed - soft))
    if found < wanted:
        log.warning("control: %d connections at most: the limit of descriptors is %d", found, soft)
    return found


def _by_name(request: protocol.Request) -> Mapping[str, Any]:
    if request.params is None:
        raise RpcError(protocol.INVALID_PARAMS, "params is not an object")
    return request.params


def _call_soon(loop: asyncio.AbstractEventLoop, function: Callable[[], object]) -> None:
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
        listening.listen(BACKLOG)
        listening.setblocking(False)
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

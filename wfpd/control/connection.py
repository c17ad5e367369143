"""One connection of the control socket: lines in, one after the other, answers and notifications out.

What a peer can make wait is bounded: reading stops while a line is served or the user's share of the
processor is used up; a line has to be complete in time, and what was written has to be taken in time.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from wfpd.control import protocol
from wfpd.control.limits import LINE_COST, Account
from wfpd.control.pace import READ_COST, READ_SIZE, Pace, Quickest
from wfpd.control.peer import Peer
from wfpd.control.protocol import RpcError

HELLO_TIMEOUT = 10.0
"""Seconds in which hello has to come."""
LINE_TIMEOUT = 30.0
"""Seconds in which the rest of a line has to come."""
WRITE_TIMEOUT = 10.0
"""Seconds in which a peer has to take what is sent to it."""
CHUNK = 65536
"""Bytes of notifications that are written at once."""

Serve = Callable[["Connection", bytes], Awaitable[bool]]
"""Serves one line and writes the answer.  False: the connection is over."""


class Connection(asyncio.BufferedProtocol):
    """The transport's side.  For the event loop's thread."""

    def __init__(
        self, account: Account, buffer: memoryview, hello_timeout: float = HELLO_TIMEOUT,
        quickest: Quickest | None = None,
    ) -> None:  # fmt: skip
        """`buffer`, READ_SIZE bytes, is shared: what a read brings is copied out of it at once.

        `quickest` is the server's.
        """
        self.account = account
        self.peer: Peer
        self.greeted = False
        self.since = asyncio.get_running_loop().time()
        self.subscribed = False
        self.has_place = True
        self.events = Events(self)
        self._read_buffer = buffer
        self._pace = None if account.administers else Pace(quickest or measured())
        self._read_began = 0.0
        self._hello_timeout = hello_timeout
        self._buffer = bytearray()
        self._searched = 0
        self._over = False
        self._lost = False
        self._aborted = False
        self._more: asyncio.Future[None] | None = None
        self._taken: asyncio.Future[None] | None = None
        self._reading = True
        self._resume_at: asyncio.TimerHandle | None = None
        self._write_deadline: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport | None = None

    # -------------------------------------------------------------------- what the transport says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It begins."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        if self._aborted:
            transport.abort()
        transport.set_write_buffer_limits(high=0)  # "Written" means that the kernel has all of it.
        if (wait := self.account.wait(self._loop.time())) > 0:
            self._loop.call_soon(self._wait_to_read, wait)  # After the transport has begun to read.

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next read goes."""
        self._read_began = _clock()
        return self._read_buffer[: READ_SIZE if self._pace is None else self._pace.size]

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes have come."""
        took, pause, cost = _clock() - self._read_began, 0.0, READ_COST
        self._buffer += self._read_buffer[:nbytes]
        if self._pace is not None:
            cost, pause = self._pace.after(nbytes, took, ended=b"\n" in self._read_buffer[:nbytes].tobytes())
        self.account.charge(cost, self._loop.time())
        if len(self._buffer) >= protocol.MAX_LINE:
            self._stop_reading()
        elif wait := max(self.account.wait(self._loop.time()), pause):
            self._wait_to_read(wait)
        _wake(self._more)

    def _wait_to_read(self, seconds: float) -> None:
        self._stop_reading()
        if self._resume_at is None:
            self._resume_at = self._loop.call_later(seconds, self._read_on)

    def eof_received(self) -> bool:
        """What has come is still served."""
        self._over = True
        _wake(self._more)
        return True

    def pause_writing(self) -> None:
        """The peer does not take what was written as fast as it came."""
        if self._write_deadline is None:
            self._write_deadline = self._loop.call_later(WRITE_TIMEOUT, self.abort)

    def resume_writing(self) -> None:
        """It has taken everything."""
        if self._write_deadline is not None:
            self._write_deadline.cancel()
            self._write_deadline = None
        _wake(self._taken)
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over, whoever ended it."""
        self._over = self._lost = True
        for timer in (self._write_deadline, self._resume_at):
            if timer is not None:
                timer.cancel()
        self._buffer.clear()
        _wake(self._more)
        _wake(self._taken)

    def _stop_reading(self) -> None:
        if self._reading and self.transport is not None and not self._lost:
            self._reading = False
            self.transport.pause_reading()

    def _read_on(self) -> None:
        self._resume_at = None
        if (
            self.transport is not None
            and not self._reading
            and not self._over
            and len(self._buffer) < protocol.MAX_LINE
        ):
            self._reading = True
            self.transport.resume_reading()

    # -------------------------------------------------------------------------------------- lines

    async def run(self, serve: Serve) -> None:
        """Serve lines until the end."""
        hello = self._loop.call_later(self._hello_timeout, self._end_silence)
        try:
            while (line := await self._line()) is not None:
                await asyncio.sleep(0)  # Others have their turn.
                while wait := self.account.wait(self._loop.time()):
                    await asyncio.sleep(wait)
                self.account.charge(LINE_COST, self._loop.time())
                if not await serve(self, line):
                    break
        except RpcError as error:
            await self.write(protocol.error_line(None, error))
        finally:
            hello.cancel()

    def _end_silence(self) -> None:
        if not self.greeted:
            self.abort()

    async def _line(self) -> bytes | None:
        """The next line with its newline; None at the end.  RpcError if it is too long."""
        with self._deadline() as started:
            while (end := self._buffer.find(b"\n", self._searched)) < 0:
                self._searched = len(self._buffer)
                if self._searched >= protocol.MAX_LINE:
                    break
                if self._over:
                    return None
                if self._buffer:
                    started()
                if self._resume_at is None:
                    self._read_on()
                self._more = self._loop.create_future()
                await self._more
        if not 0 <= end < protocol.MAX_LINE:
            raise RpcError(protocol.INVALID_REQUEST, f"a line is longer than {protocol.MAX_LINE} bytes")
        line = bytes(self._buffer[: end + 1])
        del self._buffer[: end + 1]
        self._searched = 0
        return line

    @contextmanager
    def _deadline(self) -> Iterator[Callable[[], None]]:
        """Calling what it gives starts the time in which a begun line has to be complete."""
        timer: list[asyncio.TimerHandle] = []

        def start() -> None:
            if not timer:
                timer.append(self._loop.call_later(LINE_TIMEOUT, self.abort))

        try:
            yield start
        finally:
            for one in timer:
                one.cancel()

    # ------------------------------------------------------------------------------------ writing

    async def write(self, line: bytes) -> None:
        """Write and wait until the kernel has it.  ConnectionResetError if the connection ends before."""
        if self.transport is None or self._lost:
            raise ConnectionResetError
        self.transport.write(line)
        if self._write_deadline is not None:
            self._taken = self._loop.create_future()
            await self._taken
        if self._lost:
            raise ConnectionResetError

    def flush(self) -> None:
        """Write notifications that wait, as far as the peer takes them."""
        if self.transport is None:
            return
        while not self._lost and self._write_deadline is None and (lines := self.peer.take(CHUNK)):
            self.transport.write(lines)

    def abort(self) -> None:
        """End now; what was not taken is lost."""
        self._aborted = True
        if self.transport is not None:
            self.transport.abort()

    def close(self, accepted: socket.socket, *, now: bool) -> None:
        """End; `accepted` is the socket, of which a transport has been made or not."""
        if self.transport is None:
            accepted.close()
        elif now or self._write_deadline is not None:
            self.transport.abort()
        else:
            self.transport.close()


class Events:
    """The hub's taker of one connection's events."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(self, line: bytes) -> bool:
        """False: too much waits, dropped."""
        return self._connection.peer.send(protocol.event_line(line))


_clock = time.thread_time
"""What a read took of a processor: others that ran meanwhile do not count."""


def measured() -> Quickest:
    """How quickly a byte is read on this machine."""
    found, buffer = Quickest(), bytearray(READ_SIZE)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for _ in range(16):
            theirs.send(b"x")
            began = _clock()
            ours.recv_into(buffer)
            found.slow_from(_clock() - began)
    return found


def _wake(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)

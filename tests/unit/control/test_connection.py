"""A connection over a socket pair: lines, their order, and every bound on a peer's patience."""

import asyncio
import contextlib
import itertools
import json
import socket
from collections.abc import Awaitable, Callable

import pytest

from wfpd.control import connection as module
from wfpd.control.connection import Connection
from wfpd.control.limits import Account, Budget
from wfpd.control.pace import FIRST_PAUSE, FIRST_READ, READ_SIZE, SLOW_COST, SLOW_READ, SMALLEST_READ
from wfpd.control.peer import Peer
from wfpd.control.protocol import MAX_LINE, Role

Talk = Callable[[Connection, socket.socket], Awaitable[None]]


def run(talk: Talk, serve=None, hello_timeout: float = 10.0, account: Account | None = None) -> list[bytes]:
    """`talk` at the other end of a connection; the lines that were served."""
    served: list[bytes] = []

    async def note(connection: Connection, line: bytes) -> bool:
        connection.greeted = True
        served.append(line)
        return True if serve is None else await serve(connection, line)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        connection = Connection(
            account or Account(0, True, Budget(1, 1)), memoryview(bytearray(READ_SIZE)), hello_timeout
        )
        connection.peer = Peer(0, 0, Role.READ, wake=lambda: loop.call_soon_threadsafe(connection.flush))
        await loop.connect_accepted_socket(lambda: connection, ours)
        task = loop.create_task(connection.run(note))
        task.add_done_callback(lambda _: connection.close(ours, now=False))
        try:
            await asyncio.wait_for(talk(connection, theirs), 10)
        finally:
            theirs.close()
            await asyncio.wait([task], timeout=10)
            assert task.done()
            assert task.exception() is None or isinstance(task.exception(), ConnectionError)

    asyncio.run(main())
    return served


async def all_of(sock: socket.socket) -> bytes:
    found = b""
    try:
        while part := await asyncio.get_running_loop().sock_recv(sock, 65536):
            found += part
    except ConnectionError:
        pass
    return found


def test_lines_are_served_in_order_however_they_come_and_the_last_after_a_half_close() -> None:
    async def talk(connection: Connection, sock: socket.socket) -> None:
        for part in (b"a", b"\nb\nc", b"\n", b"half"):
            await asyncio.get_running_loop().sock_sendall(sock, part)
            await asyncio.sleep(0.01)
        sock.shutdown(socket.SHUT_WR)

    assert run(talk) == [b"a\n", b"b\n", b"c\n"]


def test_the_next_line_waits_until_the_answer_was_taken() -> None:
    async def answer(connection: Connection, line: bytes) -> bool:
        await connection.write(b"x" * 4_000_000 + b"\n")
        return True

    async def talk(connection: Connection, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(sock, b"1\n2\n")
        await asyncio.sleep(0.1)
        seen.append(len(served))
        sock.shutdown(socket.SHUT_WR)
        assert len(await all_of(sock)) == 8_000_002

    served: list[bytes] = []
    seen: list[int] = []

    async def counted(connection: Connection, line: bytes) -> bool:
        served.append(line)
        return await answer(connection, line)

    assert len(run(talk, counted)) == 2 and seen == [1]


@pytest.mark.parametrize("newline", [b"", b"\n"])
def test_a_line_that_is_too_long_is_refused_and_ends_it(newline: bytes) -> None:
    async def talk(connection: Connection, sock: socket.socket) -> None:
        with contextlib.suppress(ConnectionError):
            await asyncio.get_running_loop().sock_sendall(sock, b"x" * (MAX_LINE + 5) + newline)
            await asyncio.get_running_loop().sock_sendall(sock, b"x" * 10 * MAX_LINE)
        assert (await all_of(sock))[:20] in (b"", b'{"jsonrpc":"2.0","id')
        assert len(connection._buffer) <= MAX_LINE + READ_SIZE

    assert run(talk) == []


def test_a_line_of_just_the_limit_is_served() -> None:
    async def talk(connection: Connection, sock: socket.socket) -> None:
        await asyncio.get_running_loop().sock_sendall(sock, b"x" * (MAX_LINE - 1) + b"\nnext\n")
        sock.shutdown(socket.SHUT_WR)

    assert [len(line) for line in run(talk)] == [MAX_LINE, 5]


@pytest.mark.parametrize("what", ["HELLO", "LINE", "WRITE"])
def test_whose_time_is_over_is_disconnected(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if what != "HELLO":
        monkeypatch.setattr(module, f"{what}_TIMEOUT", 0.2)

    async def talk(connection: Connection, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        if what != "HELLO":
            await loop.sock_sendall(sock, b"ask\nhalf a line")
        if what != "WRITE":
            assert await all_of(sock) == b""
        else:
            await asyncio.sleep(0.5)
            with pytest.raises(ConnectionError):
                await loop.sock_sendall(sock, b"more")

    async def serve(connection: Connection, line: bytes) -> bool:
        if what == "WRITE":
            await connection.write(b"x" * 4_000_000)
        return True

    run(talk, serve, hello_timeout=0.2 if what == "HELLO" else 10.0)


def test_notifications_come_between_answers_and_stop_while_nobody_reads() -> None:
    async def talk(connection: Connection, sock: socket.socket) -> None:
        sent = 0
        while connection.peer.notify("n", {"x": "y" * 1000}):
            sent += 1
            await asyncio.sleep(0)
        assert connection.peer.dropped == 1
        received = b""
        while received.count(b"\n") < sent:
            received += await asyncio.get_running_loop().sock_recv(sock, 65536)
        assert sent > 1000 and all(json.loads(line)["method"] == "n" for line in received.splitlines())

    run(talk)


def test_who_used_up_their_share_is_read_from_later() -> None:
    account = Account(1, False, Budget(1.0, 1.0))

    async def talk(connection: Connection, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        account.charge(0.25 + 0.03, loop.time())  # The burst and 0.3 s of the share.
        began = loop.time()
        await loop.sock_sendall(sock, b"a\nb\n")
        sock.shutdown(socket.SHUT_WR)
        await all_of(sock)
        waited.append(loop.time() - began)

    waited: list[float] = []
    assert run(talk, account=account) == [b"a\n", b"b\n"]
    assert waited[0] >= 0.25


def test_an_answer_counts_as_taken_though_notifications_follow_it_at_once() -> None:
    answered: list[bool] = []

    async def serve(connection: Connection, line: bytes) -> bool:
        await connection.write(b"x" * 1_000_000 + b"\n")
        answered.append(True)
        return True

    async def talk(connection: Connection, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(sock, b"ask\n")
        await asyncio.sleep(0.05)
        while connection.peer.send(b"y" * 60_000 + b"\n"):
            pass
        read = 0
        while read < 1_000_001:  # And none of the notifications, which then wait in turn.
            read += len(await loop.sock_recv(sock, min(65536, 1_000_001 - read)))
        await asyncio.sleep(0.1)
        assert answered and connection._write_deadline is not None

    run(talk, serve)


def test_who_is_thrown_out_before_the_transport_is_there_ends_with_it() -> None:
    async def main() -> None:
        ours, theirs = socket.socketpair()
        connection = Connection(Account(0, True, Budget(1, 1)), memoryview(bytearray(READ_SIZE)))
        connection.abort()
        await asyncio.get_running_loop().connect_accepted_socket(lambda: connection, ours)
        await asyncio.sleep(0.05)
        assert theirs.recv(1) == b""
        theirs.close()

    asyncio.run(main())


def test_a_line_that_comes_by_the_byte_is_read_less_and_less_often_and_served_whole() -> None:
    reads: list[int] = []

    async def talk(connection: Connection, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        updated = connection.buffer_updated
        connection.buffer_updated = lambda n: (reads.append(n), updated(n))[1]  # type: ignore[method-assign]
        for _ in range(40):
            await loop.sock_sendall(sock, b"x")
            await asyncio.sleep(0.005)
        await loop.sock_sendall(sock, b"\n")
        sock.shutdown(socket.SHUT_WR)
        await all_of(sock)

    assert run(talk, account=Account(1, False, Budget(1.0, 1.0))) == [b"x" * 40 + b"\n"]
    assert sum(reads) == 41 and len(reads) < 20


def test_lines_that_come_whole_are_read_at_once_after_one_that_did_not() -> None:
    async def talk(connection: Connection, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        for part in (b"a", b"b", b"c", b"d\n"):
            await loop.sock_sendall(sock, part)
            await asyncio.sleep(0.02)
        assert connection._pace is not None and connection._pace.pause == FIRST_PAUSE
        sock.shutdown(socket.SHUT_WR)
        await all_of(sock)

    assert run(talk, account=Account(1, False, Budget(1.0, 1.0))) == [b"abcd\n"]


def noted(connection: Connection, rooms: list[int]) -> Callable[[int], memoryview]:
    """Its get_buffer(), with the room for each read put down."""
    get_buffer = connection.get_buffer

    def get(hint: int) -> memoryview:
        found = get_buffer(hint)
        rooms.append(len(found))
        return found

    return get


def test_each_read_is_timed_and_charged_and_the_next_is_of_the_size_that_follows(monkeypatch) -> None:
    account = Account(1, False, Budget(1.0, 1.0))
    charged: list[float] = []
    rooms: list[int] = []
    clock = itertools.count()
    monkeypatch.setattr(account, "charge", lambda cost, now: charged.append(cost))
    monkeypatch.setattr(module, "_clock", lambda: next(clock) * 2 * SLOW_READ)

    async def talk(connection: Connection, sock: socket.socket) -> None:
        connection.get_buffer = noted(connection, rooms)  # type: ignore[method-assign]
        assert connection._pace is not None
        connection._pace._quickest.slow_from(0.0)  # That of another connection.
        await asyncio.get_running_loop().sock_sendall(sock, b"x" * (FIRST_READ + SMALLEST_READ) + b"\n")
        sock.shutdown(socket.SHUT_WR)
        await all_of(sock)

    assert len(run(talk, account=account)) == 1
    assert rooms[:3] == [FIRST_READ, SMALLEST_READ, SMALLEST_READ]
    assert charged[0] == pytest.approx(SLOW_COST * 2 * SLOW_READ)


def test_who_administers_is_read_from_as_much_as_comes() -> None:
    rooms: list[int] = []

    async def talk(connection: Connection, sock: socket.socket) -> None:
        connection.get_buffer = noted(connection, rooms)  # type: ignore[method-assign]
        await asyncio.get_running_loop().sock_sendall(sock, b"x" * 1000 + b"\n")
        sock.shutdown(socket.SHUT_WR)
        await all_of(sock)

    assert run(talk) == [b"x" * 1000 + b"\n"]
    assert set(rooms) == {READ_SIZE}


def test_a_new_connection_of_who_used_up_their_share_waits_to_be_read_from() -> None:
    account = Account(1, False, Budget(1.0, 1.0))
    read_at: list[float] = []

    async def talk(connection: Connection, sock: socket.socket) -> None:
        updated = connection.buffer_updated
        connection.buffer_updated = lambda n: (read_at.append(connection._loop.time()), updated(n))[1]  # type: ignore[method-assign]
        await asyncio.get_running_loop().sock_sendall(sock, b"a\n")
        sock.shutdown(socket.SHUT_WR)
        await all_of(sock)

    async def main() -> float:
        now = asyncio.get_running_loop().time()
        account.charge(0.25 + 0.03, now)  # The burst and 0.3 s of the share.
        return now

    now = asyncio.run(main())
    assert run(talk, account=account) == [b"a\n"]
    assert read_at[0] - now >= 0.25


def test_hundreds_of_bytes_that_were_sent_alone_are_read_in_small_parts() -> None:
    reads: list[int] = []

    async def talk(connection: Connection, sock: socket.socket) -> None:
        updated = connection.buffer_updated
        connection.buffer_updated = lambda n: (reads.append(n), updated(n))[1]  # type: ignore[method-assign]
        with contextlib.suppress(BlockingIOError):
            while True:
                sock.send(b"x")  # Until the kernel holds no more: some 280.
        await asyncio.sleep(0.5)
        await asyncio.get_running_loop().sock_sendall(sock, b"\n")
        sock.shutdown(socket.SHUT_WR)
        await all_of(sock)

    assert len(run(talk, account=Account(1, False, Budget(1.0, 1.0)))) == 1
    assert max(reads) <= FIRST_READ and len(reads) > 3

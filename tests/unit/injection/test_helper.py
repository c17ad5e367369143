"""The helper: what it does with every kind of message, without raw sockets of its own; with them in a namespace."""

from __future__ import annotations

import errno
import os
import socket
import threading
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP

from wfpd.injection import helper, wire
from wfpd.injection.helper import RawSockets, Service
from wfpd.injection.wire import Order

PACKET = bytes(IP(src="192.0.2.1", dst="198.51.100.2") / UDP() / b"four")


class Raw:
    """In place of RawSockets."""

    def __init__(self) -> None:
        self.orders: list[Order] = []

    def send(self, order: Order) -> str:
        self.orders.append(order)
        return "sent"


def served(*messages: bytes) -> tuple[dict[str, int], list[Order], list[bytes]]:
    """What a service counts, sends and says of these messages."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    raw = Raw()
    with ours, theirs:
        service = Service(theirs, raw)  # type: ignore[arg-type]
        for message in messages:
            ours.send(message)
        ours.shutdown(socket.SHUT_WR)
        service.run()
        ours.setblocking(False)
        said = []
        while True:
            try:
                said.append(ours.recv(4096))
            except BlockingIOError:
                break
        return service.counts, raw.orders, said


def test_orders_are_sent_and_hostile_messages_are_counted() -> None:
    order = Order(PACKET, 0x00100000)
    counts, orders, said = served(order.encode(), b"x", bytes(200), order.encode() + b"!",
                                  Order(PACKET, 1).encode() + bytes(70_000), order.encode())  # fmt: skip
    assert orders == [order, order]
    assert (counts["sent"], counts["invalid"]) == (2, 4)
    assert wire.read_hello(said[0]) == ""
    assert all(len(message) == wire.COUNTS.size for message in said[1:])


def test_it_reports_a_burst_at_a_time() -> None:
    counts, _, said = served(*[Order(PACKET, 1).encode()] * (helper.BURST + 1))
    assert counts["sent"] == helper.BURST + 1
    assert wire.COUNTS.unpack(said[1])[0] == helper.BURST


def test_a_daemon_that_reads_no_reports_does_not_stop_it() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    with ours, theirs:
        raw = Raw()
        service = Service(theirs, raw)  # type: ignore[arg-type]
        thread = threading.Thread(target=service.run, daemon=True)
        thread.start()
        for _ in range(500):
            ours.send(Order(PACKET, 1).encode())
        ours.shutdown(socket.SHUT_WR)
        thread.join(10)
        assert not thread.is_alive() and service.counts["sent"] == 500


@pytest.mark.parametrize(
    ("number", "result"),
    [(errno.EMSGSIZE, "too_long"), (errno.ENETUNREACH, "no_route"), (errno.EPERM, "refused"),
     (errno.ENOBUFS, "no_buffers"), (errno.EIO, "error")],
)  # fmt: skip
def test_what_the_kernel_says_is_a_result(number: int, result: str) -> None:
    class Refuses:
        def setsockopt(self, *_: int) -> None: ...

        def sendto(self, *_: Any) -> None:
            raise OSError(number, os.strerror(number))

    raw = RawSockets.__new__(RawSockets)
    raw._marks, raw._sockets = {}, {(4, False): Refuses()}  # type: ignore[dict-item]
    assert raw.send(Order(PACKET, 1)) == result
    assert result in wire.RESULTS
    six = b"\x60" + bytes(39)
    assert raw.send(Order(six, 1)) == "no_route"


@pytest.mark.parametrize("mark", [1 << 31, (1 << 32) - 1])
def test_a_mark_has_32_bits(mark: int) -> None:
    class Marks(socket.socket):
        def sendto(self, *_: Any) -> int:  # type: ignore[override]
            return 0

    raw = RawSockets.__new__(RawSockets)
    with Marks(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        raw._marks, raw._sockets = {}, {(4, False): sock}
        assert raw.send(Order(PACKET, mark)) in ("sent", "refused")  # Refused: without CAP_NET_ADMIN.


def test_without_raw_sockets_it_says_so_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(family: int) -> socket.socket:
        raise OSError(errno.EPERM, "no")

    monkeypatch.setattr(helper, "_opened", refused)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        helper.serve(theirs)
        assert "Operation not permitted" in wire.read_hello(ours.recv(4096))
        assert ours.recv(1) == b""


def test_a_daemon_that_is_gone_already_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(helper, "RawSockets", lambda: type("R", (Raw,), {"close": lambda self: None})())
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.close()
    helper.serve(theirs)
    assert theirs.fileno() == -1


def test_it_is_not_started_by_hand(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_PID", "1")
    assert helper.main([]) == 2
    assert "systemd" in capsys.readouterr().err


def test_it_serves_one_daemon_after_the_other_and_ends_when_none_comes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setattr(helper, "IDLE_SECONDS", 0.5)
    monkeypatch.setattr(helper, "RawSockets", lambda: type("R", (Raw,), {"close": lambda self: None})())
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        thread = threading.Thread(target=helper._listen, args=(listener,), daemon=True)
        thread.start()
        for _ in range(2):
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as daemon:
                daemon.settimeout(10)
                daemon.connect(str(tmp_path / "s"))
                assert wire.read_hello(daemon.recv(256)) == ""
                daemon.send(Order(PACKET, 1).encode())
                assert wire.COUNTS.unpack(daemon.recv(256))[0] == 1
        thread.join(10)
        assert not thread.is_alive()

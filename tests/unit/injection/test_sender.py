"""The daemon's end: never waits, counts what it refuses, and keeps a helper there."""

from __future__ import annotations

import pathlib
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP

from tests.integration.netns import wait_until
from wfpd.errors import ActionRefused
from wfpd.injection import sender, wire
from wfpd.injection.sender import RESULTS, Sender, connect_helper
from wfpd.injection.wire import Order

ORDER = Order(bytes(IP(src="192.0.2.1", dst="198.51.100.2") / UDP() / b"four"), 1)


class Helpers:
    """Makes one helper's end of a socket after the other."""

    def __init__(self) -> None:
        self.ends: list[socket.socket] = []
        self.refuses = 0
        self.refusal: BaseException = OSError("told to refuse")

    def __call__(self) -> tuple[socket.socket, None]:
        if self.refuses:
            self.refuses -= 1
            raise self.refusal
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        theirs.settimeout(10)
        self.ends.append(theirs)
        return ours, None


@pytest.fixture
def helpers() -> Iterator[Helpers]:
    made = Helpers()
    yield made
    for end in made.ends:
        end.close()


@pytest.fixture
def running(helpers: Helpers, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sender]:
    monkeypatch.setattr(sender, "FIRST_PAUSE", 0.01)
    made = Sender(helpers, rate=1000)
    made.start(10)
    assert made.ready
    yield made
    made.stop()


def refused(running: Sender) -> str:
    with pytest.raises(ActionRefused) as caught:
        running.send(ORDER)
    return caught.value.message


def test_an_order_reaches_the_helper_whose_report_is_added_up(running: Sender, helpers: Helpers) -> None:
    running.send(ORDER)
    assert wire.decode(helpers.ends[0].recv(4096)) == ORDER
    helpers.ends[0].send(wire.COUNTS.pack(1, 0, 2, 0, 0, 0, 0))
    helpers.ends[0].send(wire.COUNTS.pack(3, 0, 2, 0, 0, 0, 1))
    assert wait_until(lambda: running.counts()["error"] == 1)
    assert running.counts() == dict.fromkeys(RESULTS, 0) | {"sent": 3, "too_long": 2, "error": 1}


def test_what_a_collection_of_garbage_ends_may_send_from_within(helpers: Helpers) -> None:
    class Within(Order):
        def encode(self) -> bytes:
            one.send(ORDER)
            return super().encode()

    one = Sender(helpers)
    one.start(10)
    thread = threading.Thread(target=one.send, args=(Within(ORDER.packet, 2),), daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()  # Else nothing of it can be stopped either.
    one.stop()
    assert [wire.decode(helpers.ends[0].recv(1000)).mark for _ in range(2)] == [1, 2]


def test_a_helper_that_does_not_keep_up_makes_nobody_wait(running: Sender) -> None:
    message = ""
    for _ in range(999):
        try:
            running.send(ORDER)
        except ActionRefused as error:
            message = error.message
            break
    assert "queue_full" in message and running.counts()["queue_full"] == 1


def test_there_is_a_limit_of_packets_a_second(helpers: Helpers) -> None:
    slow = Sender(helpers, rate=2)
    slow.start()
    try:
        assert wait_until(lambda: slow.ready)
        slow.send(ORDER)
        slow.send(ORDER)
        assert "rate_limit" in refused(slow) and slow.counts()["rate_limit"] == 1
    finally:
        slow.stop()


def test_a_helper_that_ends_is_counted_and_replaced_and_its_counts_stay(running: Sender, helpers: Helpers) -> None:
    helpers.ends[0].send(wire.COUNTS.pack(5, 0, 0, 0, 0, 0, 0))
    assert wait_until(lambda: running.counts()["sent"] == 5)
    helpers.refuses = 2
    helpers.ends[0].close()
    assert wait_until(lambda: running.deaths == 1)
    assert wait_until(lambda: len(helpers.ends) == 2 and running.ready)
    helpers.ends[1].send(wire.COUNTS.pack(1, 0, 0, 0, 0, 0, 0))
    assert wait_until(lambda: running.counts()["sent"] == 6)


@pytest.mark.parametrize(
    "fault", [RuntimeError("can't start new thread"), MemoryError(), struct.error("as told"), ValueError("as told"),
              subprocess.SubprocessError("as told")], ids=lambda fault: type(fault).__name__,
)  # fmt: skip
def test_a_fault_of_any_kind_ends_the_try_and_not_the_keeping(
    helpers: Helpers, fault: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sender, "FIRST_PAUSE", 0.001)
    helpers.refuses, helpers.refusal = 3, fault
    one = Sender(helpers)
    one.start(10)
    try:
        assert wait_until(lambda: one.ready)
        one.send(ORDER)
    finally:
        one.stop()
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1 and type(fault).__name__ in said[0] and one.deaths == 0


def test_a_fault_while_a_helper_serves_costs_that_helper(
    helpers: Helpers, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sender, "FIRST_PAUSE", 0.001)
    one, faults = Sender(helpers), [MemoryError()]
    reads = one._read_counts

    def read(sock: socket.socket) -> bool:
        if faults:
            raise faults.pop()
        return reads(sock)

    monkeypatch.setattr(one, "_read_counts", read)
    one.start(10)
    try:
        assert wait_until(lambda: len(helpers.ends) == 2 and one.ready)
        assert one.deaths == 1 and "MemoryError" in caplog.text and helpers.ends[0].recv(1) == b""
    finally:
        one.stop()


def test_a_thread_that_cannot_be_started_is_tried_again(helpers: Helpers, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    one = Sender(helpers)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fails)
        with pytest.raises(RuntimeError):
            one.start()
    one.stop()
    one.start(10)
    assert one.ready
    one.stop()


def test_a_child_whose_answer_cannot_be_read_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    theirs.send(b"hello")

    def fails(_: bytes) -> str:
        raise struct.error("as told")

    monkeypatch.setattr(sender, "_start_child", lambda: (ours, child))
    monkeypatch.setattr(wire, "read_hello", fails)
    with theirs, pytest.raises(struct.error):
        connect_helper("/nonexistent")
    assert child.poll() is not None and ours.fileno() == -1


def test_a_start_waits_for_the_first_try_and_no_longer(helpers: Helpers) -> None:
    helpers.refuses = 1000
    one = Sender(helpers)
    one.start(60)
    assert helpers.refuses < 1000 and not one.ready
    one.stop()


@pytest.mark.parametrize("nonsense", [b"x", bytes(wire.COUNTS.size + 1), wire.hello(0)])
def test_a_helper_that_talks_nonsense_is_let_go(running: Sender, helpers: Helpers, nonsense: bytes) -> None:
    helpers.ends[0].send(nonsense)
    assert wait_until(lambda: running.deaths == 1 and len(helpers.ends) == 2)
    assert helpers.ends[0].recv(10) == b""


def test_without_a_helper_everything_is_refused_and_a_stop_is_no_death(helpers: Helpers) -> None:
    one = Sender(helpers)
    assert "no_helper" in refused(one)
    one.start()
    assert wait_until(lambda: one.ready)
    one.stop()
    one.stop()
    assert "no_helper" in refused(one)
    assert (one.deaths, one.counts()["no_helper"], helpers.ends[0].recv(1)) == (0, 2, b"")
    one.start()
    assert wait_until(lambda: len(helpers.ends) == 2 and one.ready)
    one.stop()
    assert not [thread for thread in threading.enumerate() if thread.name == "wfpd-inject"]


@pytest.mark.parametrize("answer", [b"", b"nonsense", wire.HELLO.pack(1, 1, 0, 0), wire.HELLO.pack(1, 0, 1, 1)])
def test_what_listens_at_the_path_and_is_of_no_use_is_passed_over(
    tmp_path: Any, answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_child() -> Any:
        raise OSError("no child")

    monkeypatch.setattr(sender, "_start_child", no_child)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()

        def serve() -> None:
            with listener.accept()[0] as end:
                if answer:
                    end.send(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with pytest.raises(OSError, match="no child"):
            connect_helper(str(tmp_path / "s"))
        thread.join(10)


def test_a_child_says_whether_it_can() -> None:
    try:
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW).close()
    except PermissionError:
        with pytest.raises(OSError, match="raw sockets"):
            connect_helper("/nonexistent")
        return
    sock, child = connect_helper("/nonexistent")
    assert child is not None
    sock.send(b"nonsense")
    assert wire.COUNTS.unpack(sock.recv(256)) == (0, 1, 0, 0, 0, 0, 0)
    status = pathlib.Path(f"/proc/{child.pid}/status").read_text()
    assert "CapEff:\t0000000000002000" in status and "CapPrm:\t0000000000002000" in status
    assert "NoNewPrivs:\t1" in status
    sock.close()
    assert child.wait(10) == 0


def test_a_helper_that_comes_after_the_stop_takes_nothing_from_the_next_one(
    helpers: Helpers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "HELLO_SECONDS", 0.01)
    comes = threading.Event()
    threads: list[threading.Thread] = []

    def connect() -> tuple[socket.socket, None]:
        threads.append(threading.current_thread())
        if len(threads) == 1:
            comes.wait(10)
        return helpers()

    made = Sender(connect)
    made.start()
    assert wait_until(lambda: len(threads) == 1)
    made.stop()
    made.start(10)
    try:
        assert made.ready
        comes.set()
        threads[0].join(10)
        assert not threads[0].is_alive() and made.ready
        made.send(ORDER)
    finally:
        comes.set()
        made.stop()

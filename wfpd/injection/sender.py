"""The daemon's end: hands packets to the helper without ever waiting for it, and keeps a helper there.

Where `wfpd-inject.socket` is installed systemd starts the helper, with its one capability; else it is a child of the
daemon's, which then needs CAP_NET_RAW itself.
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable

from wfpd.errors import ActionRefused
from wfpd.injection import wire
from wfpd.stop_signals import held_back

logger = logging.getLogger("wfpd.injection")

SOCKET = "/run/wfpd-inject.sock"
"""Of wfpd-inject.socket."""
RATE = 50_000
"""Packets a second at most; as many at once."""
HELLO_SECONDS = 10.0
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds between the end of one helper and the start of the next: twice as long after each, until one has served."""
LONGEST_ABSENCE = 30.0
"""As LONGEST_PAUSE, where none can be had."""
RESULTS = ("sent", "rate_limit", "queue_full", "no_helper", "loop", *wire.RESULTS[1:])
"""What can become of a packet that is to be injected."""

Connect = Callable[[], tuple[socket.socket, "subprocess.Popen[bytes] | None"]]


def connect_helper(path: str = SOCKET) -> tuple[socket.socket, subprocess.Popen[bytes] | None]:
    """A helper that has said hello, and its process where it is a child.  OSError where there is none."""
    reasons = []
    if os.path.exists(path):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            sock.settimeout(HELLO_SECONDS)
            sock.connect(path)
            if not (reason := wire.read_hello(sock.recv(256))):
                return sock, None
        except OSError as error:
            reason = str(error)
        except BaseException:
            sock.close()
            raise
        sock.close()
        reasons.append(f"{path}: {reason}")
    sock, child = _start_child()
    try:
        sock.settimeout(HELLO_SECONDS)
        if not (reason := wire.read_hello(sock.recv(256))):
            return sock, child
    except OSError as error:
        reason = str(error)
    except BaseException:
        _end(sock, child)
        raise
    _end(sock, child)
    raise OSError("; ".join([*reasons, f"a child of wfpd: {reason}"]))


def _end(sock: socket.socket, child: subprocess.Popen[bytes] | None) -> None:
    """Let a helper go; one that is a child is over then."""
    sock.close()
    if child is not None:
        child.kill()
        child.wait()


def _start_child() -> tuple[socket.socket, subprocess.Popen[bytes]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    with theirs:
        command = [sys.executable, "-P", "-m", "wfpd.injection.helper", str(theirs.fileno())]
        environment = {**os.environ, "PYTHONPATH": root}
        try:
            with held_back():
                child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                         pass_fds=(theirs.fileno(),), env=environment)  # fmt: skip
        except BaseException:
            ours.close()
            raise
    return ours, child


class Sender:
    """Packets to the helper.  `send` may be called by any thread."""

    def __init__(self, connect: Connect = connect_helper, *, rate: int = RATE) -> None:
        self._connect = connect
        self._lock = threading.RLock()  # As that of `handles`: what a collection of garbage ends may inject.
        self._stop = threading.Event()
        self._tried = threading.Event()
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._counts = dict.fromkeys(RESULTS, 0)
        self._rate, self._tokens, self._filled = float(rate), float(rate), time.monotonic()
        self.deaths = 0
        """Helpers that ended though they were needed."""

    @property
    def ready(self) -> bool:
        """A helper is there."""
        return self._socket is not None

    def start(self, wait: float = 0.0) -> None:
        """Keep a helper from now on; if there was none, wait up to `wait` seconds for what comes of the first try."""
        with self._lock:
            if self._thread is None:
                self._stop = threading.Event()
                self._tried.clear()
                thread = threading.Thread(target=self._keep, args=(self._stop,), name="wfpd-inject", daemon=True)
                thread.start()
                self._thread = thread
        self._tried.wait(wait)

    def stop(self) -> None:
        """Let the helper go."""
        with self._lock:
            thread, self._thread = self._thread, None
            self._stop.set()
            if self._socket is not None:
                self._socket.shutdown(socket.SHUT_RDWR)
        if thread is not None:
            thread.join(HELLO_SECONDS)

    def counts(self) -> dict[str, int]:
        """Packets by result, since the start."""
        with self._lock:
            return dict(self._counts)

    def count(self, result: str) -> None:
        """One more that was not even handed over."""
        with self._lock:
            self._counts[result] += 1

    def send(self, order: wire.Order) -> None:
        """Hand a packet over.  ActionRefused, and counted, where that cannot be at once; what becomes of it later is
        only counted."""
        with self._lock:
            result = self._hand_over(order)
            if result:
                self._counts[result] += 1
        if result:
            raise ActionRefused(f"the packet cannot be injected: {result}", hint=_HINTS[result])

    def _hand_over(self, order: wire.Order) -> str:
        now = time.monotonic()
        self._tokens = min(self._rate, self._tokens + (now - self._filled) * self._rate)
        self._filled = now
        if self._socket is None:
            return "no_helper"
        if self._tokens < 1:
            return "rate_limit"
        try:
            self._socket.send(order.encode(), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return "queue_full"
        except OSError:
            return "no_helper"  # It has just ended; the thread sees it too.
        self._tokens -= 1
        return ""

    def _keep(self, stop: threading.Event) -> None:
        """Thread body: a helper after the other."""
        pause, longest, last = FIRST_PAUSE, LONGEST_PAUSE, ""
        while not stop.is_set():
            connected = False
            try:
                sock, child = self._connect()
                connected, longest, last = True, LONGEST_PAUSE, ""
                if self._serve(sock, child, stop):
                    pause = FIRST_PAUSE
            except Exception as error:  # Whatever it is, packets are to be injected again some day.
                self._tried.set()
                longest = LONGEST_ABSENCE
                if repr(error) != last:
                    self._report(error)
                    last = repr(error)
            if connected and not stop.is_set():
                with self._lock:
                    self.deaths += 1
                logger.error("the helper that injects packets has ended; another one is started")
            stop.wait(pause)
            pause = min(2 * pause, longest)

    @staticmethod
    def _report(error: Exception) -> None:
        """Why there is no helper; what is no answer of the system is a fault of ours."""
        fault = None if isinstance(error, OSError) else error
        said = str(error) if fault is None else repr(error)
        logger.error("no packet can be injected: %s (docs/actions.md: the helper)", said, exc_info=fault)

    def _serve(self, sock: socket.socket, child: subprocess.Popen[bytes] | None, stop: threading.Event) -> bool:
        """One helper's life; whether it served at all."""
        with self._lock:
            if not stop.is_set():
                self._socket = sock
        self._tried.set()
        try:
            sock.settimeout(None)
            return not stop.is_set() and self._read_counts(sock)
        finally:
            with self._lock:
                if self._socket is sock:  # Else it is that of a later start().
                    self._socket = None
            _end(sock, child)

    def _read_counts(self, sock: socket.socket) -> bool:
        """Add up what it reports until it hangs up or says nonsense."""
        before = [0] * len(wire.RESULTS)
        while True:
            try:
                message = sock.recv(wire.COUNTS.size + 1)
            except OSError:
                message = b""
            if len(message) != wire.COUNTS.size:
                return any(before)
            now = list(wire.COUNTS.unpack(message))
            with self._lock:
                for name, new, old in zip(wire.RESULTS, now, before, strict=True):
                    self._counts[name] += max(0, new - old)
            before = now


_HINTS = {
    "no_helper": "the log says why the helper is not there",
    "rate_limit": f"at most {RATE} packets a second are injected",
    "queue_full": "the helper does not keep up",
}

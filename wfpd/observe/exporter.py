"""The metrics' HTTP server: GET only, small limits, a few threads off the packet path."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable

from wfpd.errors import KernelError

log = logging.getLogger(__name__)

MAX_HEADER_BYTES = 8192
MAX_CONNECTIONS = 16
"""Connections served at once; more are answered 503."""
REQUEST_TIMEOUT = 5.0
"""Seconds for a whole request, and again for a whole answer."""
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_PAGE = b'<html><head><title>wfpd</title></head><body><a href="/metrics">metrics</a></body></html>\n'
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 408: "Request Timeout",
            431: "Request Header Fields Too Large", 500: "Internal Server Error",
            503: "Service Unavailable"}  # fmt: skip


def parse_address(text: str) -> tuple[str, int]:
    """`127.0.0.1:9477`, `[::1]:9477` or `:9477` (loopback) as (host, port).  ValueError if it is neither."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{text!r} is not ADDRESS:PORT")
    return host.strip("[]") or "127.0.0.1", int(port)


def answer(request: bytes, render: Callable[[], bytes]) -> bytes:
    """The whole answer to one request head (without its final empty line)."""
    line = request.split(b"\r\n", 1)[0].split(b" ")
    if len(line) != 3 or not line[2].startswith(b"HTTP/1."):
        return _response(400, b"not HTTP\n")
    if line[0] != b"GET":
        # An answer to HEAD has no body (RFC 9110, section 9.3.2).
        return _response(405, b"" if line[0] == b"HEAD" else b"GET only\n", extra="Allow: GET\r\n")
    path = line[1].split(b"?", 1)[0]
    if path == b"/":
        return _response(200, _PAGE, "text/html; charset=utf-8")
    if path != b"/metrics":
        return _response(404, b"the metrics are at /metrics\n")
    try:
        return _response(200, render(), CONTENT_TYPE)
    except Exception:
        log.exception("metrics: the counters could not be read")
        return _response(500, b"the counters could not be read\n")


def _response(status: int, body: bytes, kind: str = "text/plain; charset=utf-8", extra: str = "") -> bytes:
    head = (
        f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        f"{extra}Connection: close\r\n\r\n"
    )
    return head.encode("ascii") + body


class MetricsServer:
    """Serves one function's output at /metrics until closed."""

    def __init__(self, address: str, render: Callable[[], bytes], max_connections: int = MAX_CONNECTIONS) -> None:
        """Bind `address`.  KernelError if it is taken or not allowed."""
        self._render = render
        self._places = threading.BoundedSemaphore(max_connections)
        host, port = parse_address(address)
        try:
            self._socket = socket.create_server((host, port), family=_family(host), backlog=max_connections)
        except OSError as error:
            raise KernelError(
                f"metrics: cannot listen on {address}: {error.strerror or error}",
                hint="daemon: metrics: names the address; 127.0.0.1:0 takes any free port",
            ) from error
        self._socket.settimeout(0.5)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._accept, name="wfpd-metrics", daemon=True)

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._socket.getsockname()[1])

    def start(self) -> None:
        """Begin to accept."""
        self._thread.start()

    def close(self) -> None:
        """Stop accepting; answers under way are finished by their own threads."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()
        self._socket.close()

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                connection, _ = self._socket.accept()
            except TimeoutError:
                continue
            except OSError:
                self._closing.wait(0.05)
                continue
            connection.settimeout(REQUEST_TIMEOUT)
            if self._places.acquire(blocking=False):
                threading.Thread(target=self._serve, args=(connection,), name="wfpd-scrape", daemon=True).start()
            else:
                _refuse(connection)

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection:
                request = _read_head(connection)
                reply = answer(request, self._render) if isinstance(request, bytes) else _response(request, b"")
                connection.settimeout(REQUEST_TIMEOUT)
                connection.sendall(reply)
                connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        finally:
            self._places.release()


def _refuse(connection: socket.socket) -> None:
    try:
        with connection:
            connection.setblocking(False)
            connection.send(_response(503, b"too many connections\n"))
    except OSError:
        pass


def _read_head(connection: socket.socket) -> bytes | int:
    """The request up to its empty line, or the status to refuse it with."""
    deadline = time.monotonic() + REQUEST_TIMEOUT
    data = b""
    while b"\r\n\r\n" not in data:
        if len(data) > MAX_HEADER_BYTES:
            return 431
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            return 408
        connection.settimeout(remaining)
        try:
            chunk = connection.recv(4096)
        except TimeoutError:
            return 408
        if not chunk:
            return 400
        data += chunk
    head = data.split(b"\r\n\r\n", 1)[0]
    return 431 if len(head) > MAX_HEADER_BYTES else head


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET

"""The stream layer on real sockets: a keyword in pieces ends the connection for both sides, and all else arrives."""

from __future__ import annotations

import pathlib
import socket
import threading
import time

import pytest

from tests.integration.netns import ROUTER_CLIENT4, ROUTER_CLIENT6, Network, wait_until
from tests.integration.running import Wfpd

ATTACH = "  - {hook: input, queues: 0-0}\n  - {hook: output, queues: 1-1}"
ADDRESS = {4: ROUTER_CLIENT4, 6: ROUTER_CLIENT6}
CALLOUT = '''
class Lines:
    """Waits for whole lines, and blocks what has the word."""

    def __init__(self, stream_mode="hold"):
        self.stream_mode = stream_mode

    def classify(self, c):
        data = bytes(c.stream)
        if b"evil" in data:
            c.block()
        elif "NO_MORE_DATA" in c.stream_flags:
            c.permit()
        elif b"\\n" in data:
            c.permit()
            c.enforce(data.rindex(b"\\n") + 1)
        else:
            c.need_more()


class Chunks:
    """Permits whatever comes, unless the word is in it."""

    def classify(self, c):
        if b"evil" in bytes(c.stream):
            c.block()
        else:
            c.permit()


class Once:
    """Defers what comes first, and resumes it half a second later."""

    handle = None

    def classify(self, c):
        if c.stream_direction == "out" or self.handle is not None:
            c.permit()
            return
        import threading
        self.handle = c.defer()
        timer = threading.Timer(0.5, self.handle.resume)
        timer.daemon = True
        timer.start()
'''


def a_policy(wfpd: Wfpd, folder: pathlib.Path, use: str, **options: str) -> None:
    """Start a daemon whose stream layer asks the callout, in both families and directions."""
    (folder / "lines.py").write_text(CALLOUT)
    given = ", ".join(f"{name}: {value}" for name, value in options.items())
    wfpd.write(
        "  - {name: look, layer: stream, action: {callout: lines, kind: unknown}, when: {ip_local_port: 7000}}",
        head=f'callouts: [{{name: lines, use: "lines:{use}", options: {{{given}}}}}]',
        daemon=f"callout_path: [{folder}]",
        attach=ATTACH,
    )
    wfpd.start()


@pytest.fixture
def wfpd(net: Network, tmp_path: pathlib.Path) -> Wfpd:
    return Wfpd(net, tmp_path)


class Server:
    """Accepts one connection at the router and reads until it ends."""

    def __init__(self, net: Network, family: int) -> None:
        kind = socket.AF_INET if family == 4 else socket.AF_INET6
        self.listener = net.router.socket(kind, socket.SOCK_STREAM)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("", 7000) if family == 4 else ("::", 7000))
        self.listener.listen()
        self.listener.settimeout(10)
        self.data, self.ended = b"", ""
        self.thread = threading.Thread(target=self._work, daemon=True)
        self.thread.start()

    def _work(self) -> None:
        connection, _ = self.listener.accept()
        self.connection = connection
        connection.settimeout(10)
        try:
            while part := connection.recv(65536):
                self.data += part
            self.ended = "closed"
        except ConnectionResetError:
            self.ended = "reset"
        except OSError as error:
            self.ended = str(error)

    def close(self) -> None:
        """Let go of the sockets."""
        self.listener.close()
        if hasattr(self, "connection"):
            self.connection.close()


def connect(net: Network, family: int) -> socket.socket:
    """A connection from the client that sends every piece at once."""
    sock = net.tcp_connect(net.client, 7000, to=ADDRESS[family])
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.settimeout(10)
    return sock


def in_pieces(sock: socket.socket, *pieces: bytes) -> None:
    """Send each piece as a segment of its own."""
    for piece in pieces:
        sock.sendall(piece)
        time.sleep(0.05)


@pytest.mark.parametrize("mode", ["hold", "pass"])
@pytest.mark.parametrize("family", [4, 6])
def test_a_keyword_in_pieces_ends_the_connection_for_both(wfpd, net, tmp_path, family, mode):
    a_policy(wfpd, tmp_path, "Lines", stream_mode=mode)
    server = Server(net, family)
    try:
        sock = connect(net, family)
        in_pieces(sock, b"good\n", b"some e", b"vi")
        sock.sendall(b"l\n")
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
        # The server learns of it with its next packet.
        assert wait_until(lambda: server.data.startswith(b"good\n"))
        server.connection.sendall(b"hello?\n")
        server.thread.join(5)
        assert server.ended == "reset"
        assert server.data == (b"good\nsome evi" if mode == "pass" else b"good\n")
        assert wfpd.metric("wfpd_drops_total", layer=f"stream_v{family}", reason="callout") == 1
        assert wfpd.metric("wfpd_drops_total", layer=f"stream_v{family}", reason="flow") >= 1
        assert wfpd.metric("wfpd_stream_events_total", event="cut") == 1
    finally:
        server.close()


@pytest.mark.parametrize("family", [4, 6])
def test_what_was_held_arrives_when_it_is_permitted(wfpd, net, tmp_path, family):
    a_policy(wfpd, tmp_path, "Lines", stream_mode="hold")
    server = Server(net, family)
    try:
        sock = connect(net, family)
        in_pieces(sock, b"a long ")
        time.sleep(0.3)
        assert server.data == b""
        in_pieces(sock, b"line ", b"of good words\n")
        assert wait_until(lambda: server.data == b"a long line of good words\n", 5.0)
        sock.close()
        server.thread.join(10)
        assert server.ended == "closed"
    finally:
        server.close()


@pytest.mark.parametrize(("use", "options"), [("Chunks", {}), ("Lines", {"stream_mode": "pass"})])
def test_a_megabyte_arrives_as_it_was_sent(wfpd, net, tmp_path, use, options):
    a_policy(wfpd, tmp_path, use, **options)
    server = Server(net, 4)
    try:
        sock = connect(net, 4)
        line = b"0123456789" * 100 + b"\n"
        sock.sendall(line * 1000)
        sock.close()
        server.thread.join(20)
        assert (server.ended, server.data == line * 1000) == ("closed", True)
    finally:
        server.close()


def test_what_is_deferred_arrives_after_it_is_resumed(wfpd, net, tmp_path):
    a_policy(wfpd, tmp_path, "Once")
    server = Server(net, 4)
    try:
        sock, started = connect(net, 4), time.monotonic()
        sock.sendall(b"later")
        assert wait_until(lambda: server.data == b"later", 5.0)
        assert time.monotonic() - started >= 0.5
    finally:
        server.close()


@pytest.mark.parametrize(
    ("options", "arrives"),
    [("{kind: 1, enforced: 1}", b"good words"), ("{kind: 6}", b"good words"), ("{kind: 5}", b"")],
    ids=["byte by byte", "allowed", "dropped"],
)
def test_a_compiled_callout_decides_a_stream(wfpd, net, options, arrives):
    wfpd.write(
        "  - {name: look, layer: stream, action: {callout: told, kind: unknown}, when: {ip_local_port: 7000}}",
        head=f'callouts: [{{name: told, use: "wfpd.callouts._told:Told", options: {options}}}]',
        attach=ATTACH,
    )
    wfpd.start()
    server = Server(net, 4)
    try:
        sock = connect(net, 4)
        assert wait_until(lambda: hasattr(server, "connection"))
        if arrives:
            in_pieces(sock, b"good ", b"words")
            assert wait_until(lambda: server.data == arrives, 5.0)
            sock.close()
        else:
            sock.sendall(b"good")
            with pytest.raises(ConnectionResetError):
                sock.recv(1)
            server.connection.sendall(b"hello?\n")
        server.thread.join(10)
        assert (server.ended, server.data) == ("closed" if arrives else "reset", arrives)
        # The end has no byte that could be enforced.
        assert wfpd.metric("wfpd_callout_errors_total", callout="told") == ("enforced" in options)
    finally:
        server.close()

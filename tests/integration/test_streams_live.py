"""The stream layer on real sockets: a keyword in pieces ends the connection for both sides, and all else arrives."""

from __future__ import annotations

import pathlib
import socket
import time

import pytest

from tests.integration.netns import Network, wait_until
from tests.integration.places import LINES, Place, serving
from tests.integration.running import Wfpd

MORE = '''

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
FILTERS = "  - {name: look, layer: stream, action: {callout: look, kind: unknown}, when: {ip_local_port: 7000}}"


def asked(wfpd: Wfpd, net: Network, folder: pathlib.Path, use: str, options: str = "", family: int = 4) -> Place:
    """Start a daemon at the server's end whose stream layer asks the callout, in both families and directions."""
    place = Place(net, "input", family)
    place.start(wfpd, folder, LINES + MORE, f'{{name: look, use: "{use}", options: {{{options}}}}}', FILTERS)
    return place


def in_pieces(sock: socket.socket, *pieces: bytes) -> None:
    """Send each piece as a segment of its own."""
    for piece in pieces:
        sock.sendall(piece)
        time.sleep(0.05)


@pytest.mark.parametrize("mode", ["hold", "pass"])
def test_a_keyword_in_pieces_ends_the_connection_for_both(wfpd, net, tmp_path, family, mode):
    place = asked(wfpd, net, tmp_path, "acts:Lines", f"stream_mode: {mode}", family)
    with serving(place) as server, place.connect() as sock:
        in_pieces(sock, b"good\n", b"some e", b"vi")
        sock.sendall(b"l\n")
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
        # The server learns of it with its next packet.
        assert wait_until(lambda: server.data.startswith(b"good\n"))
        server.send(b"hello?\n")
        assert server.wait() == "reset"
        assert server.data == (b"good\nsome evi" if mode == "pass" else b"good\n")
        assert wfpd.metric("wfpd_drops_total", layer=f"stream_v{family}", reason="callout") == 1
        assert wfpd.metric("wfpd_drops_total", layer=f"stream_v{family}", reason="flow") >= 1
        assert wfpd.metric("wfpd_stream_events_total", event="cut") == 1


def test_what_was_held_arrives_when_it_is_permitted(wfpd, net, tmp_path, family):
    place = asked(wfpd, net, tmp_path, "acts:Lines", "stream_mode: hold", family)
    with serving(place) as server, place.connect() as sock:
        in_pieces(sock, b"a long ")
        time.sleep(0.3)
        assert server.data == b""
        in_pieces(sock, b"line ", b"of good words\n")
        assert wait_until(lambda: server.data == b"a long line of good words\n", 5.0)
        sock.close()
        assert server.wait() == "closed"


@pytest.mark.parametrize(("use", "options"), [("acts:Chunks", ""), ("acts:Lines", "stream_mode: pass")])
def test_a_megabyte_arrives_as_it_was_sent(wfpd, net, tmp_path, use, options):
    place = asked(wfpd, net, tmp_path, use, options)
    with serving(place) as server, place.connect() as sock:
        line = b"0123456789" * 100 + b"\n"
        sock.sendall(line * 1000)
        sock.close()
        assert (server.wait(20), server.data == line * 1000) == ("closed", True)


def test_what_is_deferred_arrives_after_it_is_resumed(wfpd, net, tmp_path):
    place = asked(wfpd, net, tmp_path, "acts:Once")
    with serving(place) as server, place.connect() as sock:
        started = time.monotonic()
        sock.sendall(b"later")
        assert wait_until(lambda: server.data == b"later", 5.0)
        assert time.monotonic() - started >= 0.5


@pytest.mark.parametrize(
    ("options", "arrives"),
    [("kind: 1, enforced: 1", b"good words"), ("kind: 6", b"good words"), ("kind: 5", b"")],
    ids=["byte by byte", "allowed", "dropped"],
)
def test_a_compiled_callout_decides_a_stream(wfpd, net, tmp_path, options, arrives):
    place = asked(wfpd, net, tmp_path, "wfpd.callouts._told:Told", options)
    with serving(place) as server, place.connect() as sock:
        if arrives:
            in_pieces(sock, b"good ", b"words")
            assert wait_until(lambda: server.data == arrives, 5.0)
            sock.close()
        else:
            sock.sendall(b"good")
            with pytest.raises(ConnectionResetError):
                sock.recv(1)
            server.send(b"hello?\n")
        assert (server.wait(), server.data) == ("closed" if arrives else "reset", arrives)
        # The end has no byte that could be enforced.
        assert wfpd.metric("wfpd_callout_errors_total", callout="look") == ("enforced" in options)

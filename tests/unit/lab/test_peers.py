"""The lab's stream counts what comes back."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator

import pytest

from wfpd.lab import peers


class Forgetful(socketserver.BaseRequestHandler):
    """Echoes all but every fifth datagram."""

    def handle(self) -> None:
        """Echo, unless the number is divisible by five."""
        data, sock = self.request
        if int.from_bytes(data, "big") % 5:
            sock.sendto(data, self.client_address)


@pytest.fixture(params=[(peers.Echo, 50), (Forgetful, 40)])
def echo(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    handler, expected = request.param
    monkeypatch.setattr(peers, "LINGER", 0.2)
    with socketserver.UDPServer(("127.0.0.1", 0), handler) as server:
        monkeypatch.setattr(peers, "ECHO", server.server_address[1])
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield expected
        server.shutdown()


def test_a_stream_counts_the_different_datagrams_that_came_back(echo: int) -> None:
    assert peers.stream("127.0.0.1", 50) == (50, echo)

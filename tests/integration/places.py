"""The three places where a daemon at the router meets packets, and a server that says how its connection ended."""

from __future__ import annotations

import contextlib
import pathlib
import socket
import threading
import time
from collections.abc import Iterator

from tests.integration.netns import ROUTER, SERVER, Namespace, Network, family_of
from tests.integration.running import Wfpd

PLACES = ("input", "output", "forward")
LAYERS = {"input": "inbound_transport", "output": "outbound_transport", "forward": "ipforward"}
ATTACH = {
    "forward": "  - {hook: forward, queues: 0-0}",
    "input": "  - {hook: input, queues: 0-0}\n  - {hook: output, queues: 1-1}",
}
ATTACH["output"] = ATTACH["input"]
PORT = 7000
LINES = '''
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
'''


class Place:
    """Who sends, who receives, and to which address, so that the packets pass the hook."""

    def __init__(self, net: Network, name: str, family: int) -> None:
        self.net, self.name, self.family = net, name, family
        self.sender: Namespace = net.router if name == "output" else net.client
        self.receiver: Namespace = net.router if name == "input" else net.server
        self.address = (ROUTER if name == "input" else SERVER)[family]
        self.layer = LAYERS[name]
        self.layers_back = {"input": [LAYERS["output"]], "output": [LAYERS["input"]], "forward": []}[name]
        """Where the receiver's packets are seen, other than there."""

    def start(self, wfpd: Wfpd, folder: pathlib.Path, source: str, callouts: str, filters: str) -> None:
        """A daemon whose callouts are in module `acts`, of this source; `{layer}` in the filters is the place's."""
        (folder / "acts.py").write_text(source)
        wfpd.write(
            filters.replace("{layer}", self.layer), head=f"callouts: [{callouts}]", attach=ATTACH[self.name],
            daemon=f"callout_path: [{folder}]",
        )  # fmt: skip
        wfpd.start()

    def connect(self, port: int = PORT) -> socket.socket:
        """A TCP connection of the sender to the receiver; every piece that is sent is a segment of its own."""
        sock = self.net.tcp_connect(self.sender, port, to=self.address)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(10)
        return sock

    def datagrams(self, port: int = PORT) -> socket.socket:
        """A UDP socket of the sender that is connected to the receiver, so that it is told of ICMP errors."""
        sock = self.sender.socket(family_of(self.address))
        sock.connect((self.address, port))
        return sock

    def checksum_errors(self) -> int:
        """TCP segments and datagrams that the receiver's kernel has refused for their checksums."""
        return self.receiver.call(_checksum_errors)


def _checksum_errors() -> int:
    total = 0
    lines = pathlib.Path("/proc/thread-self/net/snmp").read_text().splitlines()
    for names, values in zip(lines[::2], lines[1::2], strict=True):
        fields = dict(zip(names.split(), values.split(), strict=True))
        total += int(fields.get("InCsumErrors", 0))
    for line in pathlib.Path("/proc/thread-self/net/snmp6").read_text().splitlines():
        name, value = line.split()
        total += int(value) if name.endswith("InCsumErrors") else 0
    return total


class Server:
    """Accepts one connection and reads until it ends; `ended` is `closed`, `reset` or an error's text."""

    def __init__(self, place: Place, port: int) -> None:
        self.listener = place.receiver.socket(family_of(place.address), socket.SOCK_STREAM)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("" if place.family == 4 else "::", port))
        self.listener.listen()
        self.listener.settimeout(0.1)
        self.data, self.ended = b"", ""
        self.stop = threading.Event()
        self.connection: socket.socket | None = None
        self.thread = threading.Thread(target=self._work, daemon=True)
        self.thread.start()

    def _work(self) -> None:
        while self.connection is None and not self.stop.is_set():
            with contextlib.suppress(TimeoutError):
                self.connection, _ = self.listener.accept()
        if self.connection is None:
            return
        self.connection.settimeout(10)
        try:
            while part := self.connection.recv(65536):
                self.data += part
            self.ended = "closed"
        except ConnectionResetError:
            self.ended = "reset"
        except OSError as error:
            self.ended = str(error)

    def send(self, data: bytes) -> None:
        """On the connection, once it is there."""
        for _ in range(500):
            if self.connection is not None:
                break
            time.sleep(0.01)
        assert self.connection is not None
        self.connection.sendall(data)

    def wait(self, seconds: float = 10) -> str:
        """How the connection ended."""
        self.thread.join(seconds)
        return self.ended


@contextlib.contextmanager
def serving(place: Place, port: int = PORT) -> Iterator[Server]:
    """A server of one connection at the receiver."""
    server = Server(place, port)
    try:
        yield server
    finally:
        server.stop.set()
        if server.connection is not None:
            with contextlib.suppress(OSError):
                server.connection.shutdown(socket.SHUT_RDWR)
        server.thread.join(11)
        if server.connection is not None:
            server.connection.close()
        server.listener.close()

"""The server and the stream of the lab, run inside its namespaces as `python -m wfpd.lab.peers`.

`serve ADDRESS` answers HTTP on 80 and a greeting on 23, and echoes UDP on 7 until it is ended.
`stream ADDRESS COUNT` sends numbered datagrams, one every millisecond, and prints `sent echoed`.
"""

from __future__ import annotations

import select
import socket
import socketserver
import sys
import threading
import time

WEB, TELNET, ECHO = 80, 23, 7
BODY = b"hello from the server\n"
LINGER = 1.0
"""Seconds that the stream waits for the last echoes."""


class Web(socketserver.BaseRequestHandler):
    """One request, one answer."""

    def handle(self) -> None:
        """Answer whatever was asked."""
        self.request.recv(4096)
        head = f"HTTP/1.0 200 OK\r\nContent-Length: {len(BODY)}\r\n\r\n"
        self.request.sendall(head.encode() + BODY)


class Echo(socketserver.BaseRequestHandler):
    """A datagram goes back as it came."""

    def handle(self) -> None:
        """Send the datagram back."""
        data, sock = self.request
        sock.sendto(data, self.client_address)


class TcpServer(socketserver.ThreadingTCPServer):
    """Restartable at once."""

    allow_reuse_address = True
    daemon_threads = True


def serve(address: str) -> None:
    """Serve until the process is ended; prints `ready` first."""
    servers: list[socketserver.BaseServer] = [
        TcpServer((address, WEB), Web),
        TcpServer((address, TELNET), Web),
        socketserver.UDPServer((address, ECHO), Echo),
    ]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    print("ready", flush=True)
    threading.Event().wait()


def stream(address: str, count: int) -> tuple[int, int]:
    """Send `count` datagrams; how many were sent, and how many different ones came back."""
    echoed: set[bytes] = set()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((address, ECHO))
        for number in range(count):
            sock.send(number.to_bytes(4, "big"))
            collect(sock, echoed, 0.001)
        end = time.monotonic() + LINGER
        while len(echoed) < count and time.monotonic() < end:
            collect(sock, echoed, 0.05)
    return count, len(echoed)


def collect(sock: socket.socket, echoed: set[bytes], seconds: float) -> None:
    """Take the echoes that arrive within `seconds` of each other."""
    while select.select([sock], [], [], seconds)[0]:
        echoed.add(sock.recv(16))
        seconds = 0


def main(arguments: list[str]) -> int:
    """`serve ADDRESS` or `stream ADDRESS COUNT`."""
    if arguments[0] == "serve":
        serve(arguments[1])
        return 0
    sent, echoed = stream(arguments[1], int(arguments[2]))
    print(sent, echoed, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

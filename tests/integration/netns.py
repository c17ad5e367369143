"""The namespaces of wfpd.testing.network, with what tests do in them beside that."""

from __future__ import annotations

import contextlib
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from wfpd.testing.network import (
    CLIENT,
    CLIENT4,
    CLIENT6,
    ROUTER,
    ROUTER_CLIENT4,
    ROUTER_CLIENT6,
    ROUTER_SERVER4,
    ROUTER_SERVER6,
    SERVER,
    SERVER4,
    SERVER6,
    Line,
    Namespace,
    family_of,
    wait_until,
)

__all__ = [
    "CLIENT", "CLIENT4", "CLIENT6", "ROUTER", "ROUTER_CLIENT4", "ROUTER_CLIENT6", "ROUTER_SERVER4", "ROUTER_SERVER6",
    "SERVER", "SERVER4", "SERVER6", "Namespace", "Network", "UdpReceiver", "family_of", "wait_until",
]  # fmt: skip

SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33
"""asm-generic/socket.h; Python has no names for them."""
BUFFER = 16 << 20
"""Bytes of socket buffer of receivers and senders: larger than any burst a test sends."""


@dataclass
class UdpReceiver:
    """Counts datagrams; `payloads` keeps them in order."""

    sock: socket.socket
    payloads: list[bytes] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    @property
    def count(self) -> int:
        """Datagrams received so far."""
        return len(self.payloads)

    def wait_for(self, n: int, timeout: float = 3.0) -> bool:
        """True once `n` datagrams have come; False when they did not in time."""
        return wait_until(lambda: self.count >= n, timeout)

    def work(self) -> None:
        """Thread body."""
        self.sock.settimeout(0.1)
        while not self._stop.is_set():
            with contextlib.suppress(TimeoutError):
                self.payloads.append(self.sock.recv(65535))

    def stop(self) -> None:
        """End the thread at its next time-out."""
        self._stop.set()


class Network(Line):
    """The namespaces with what tests do in them.  Use as a context manager; everything goes on exit."""

    def send_udp(self, space: Namespace, n: int, size: int, port: int, *, to: str = SERVER4, pause: float = 0.0) -> int:
        """Send `n` datagrams of `size` payload bytes, numbered in their first 4; returns how many left."""
        sent = 0
        with space.socket(family_of(to)) as sock:
            sock.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, BUFFER)
            for number in range(n):
                with contextlib.suppress(OSError):
                    sock.sendto(number.to_bytes(4, "big").ljust(size, b"\0")[: max(size, 0)], (to, port))
                    sent += 1
                if pause:
                    time.sleep(pause)
        return sent

    @contextlib.contextmanager
    def udp_receiver(self, space: Namespace, port: int, family: int = 4) -> Iterator[UdpReceiver]:
        """Receive on a port of all addresses of a family and count."""
        sock = space.socket(socket.AF_INET6 if family == 6 else socket.AF_INET)
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
        sock.bind(("::" if family == 6 else "0.0.0.0", port))
        receiver = UdpReceiver(sock)
        thread = threading.Thread(target=receiver.work, daemon=True)
        thread.start()
        try:
            yield receiver
        finally:
            receiver.stop()
            thread.join()
            sock.close()

    def ping(self, space: Namespace, to: str = SERVER4, n: int = 1, size: int = 56, wait: float = 1.0) -> int:
        """Echo requests of `size` payload bytes, one after the other; returns the number of replies."""
        six = family_of(to) == socket.AF_INET6
        protocol = socket.getprotobyname("ipv6-icmp") if six else socket.IPPROTO_ICMP
        identifier = secrets.randbelow(65536)
        replies = 0
        with space.socket(family_of(to), socket.SOCK_RAW, protocol) as sock:
            for sequence in range(n):
                message = _echo_request(128 if six else 8, identifier, sequence, size)
                sock.sendto(message, (to, 0))
                replies += _echo_reply_comes(sock, message[4:], 129 if six else 0, 0 if six else 20, wait)
        return replies


def _echo_request(kind: int, identifier: int, sequence: int, size: int) -> bytes:
    """ICMP or ICMPv6 echo request; the kernel fills in ICMPv6's checksum."""
    rest = identifier.to_bytes(2, "big") + sequence.to_bytes(2, "big") + bytes(size)
    total = (kind << 8) + sum(int.from_bytes(rest[i : i + 2].ljust(2, b"\0"), "big") for i in range(0, len(rest), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return bytes((kind, 0)) + (~total & 0xFFFF).to_bytes(2, "big") + rest


def _echo_reply_comes(sock: socket.socket, rest: bytes, kind: int, header: int, wait: float) -> bool:
    """Whether the reply with the same identifier, sequence and data comes within `wait` seconds."""
    end = time.monotonic() + wait
    while (left := end - time.monotonic()) > 0:
        sock.settimeout(left)
        with contextlib.suppress(TimeoutError):
            data = sock.recv(65535)[header:]
            if data[0] == kind and data[4:] == rest:
                return True
    return False

"""A client, a router and a server in network namespaces of their own.

        client                     router                      server
    10.201.1.2/24 eth0 ──── c0 10.201.1.1   10.201.2.1 s0 ──── eth0 10.201.2.2/24
    fd77:1::2/64                fd77:1::1   fd77:2::1               fd77:2::2/64

The router forwards both families; segmentation offloads stay on, so GSO packets occur.  The
machine's own namespace is never touched: every link is born inside its namespace.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from wfpd.netfilter import namespace
from wfpd.netfilter.own_namespaces import OwnNamespaces

_P = ParamSpec("_P")
_R = TypeVar("_R")

CLIENT4, CLIENT6 = "10.201.1.2", "fd77:1::2"
SERVER4, SERVER6 = "10.201.2.2", "fd77:2::2"
ROUTER_CLIENT4, ROUTER_CLIENT6 = "10.201.1.1", "fd77:1::1"
ROUTER_SERVER4, ROUTER_SERVER6 = "10.201.2.1", "fd77:2::1"
CLIENT = {4: CLIENT4, 6: CLIENT6}
SERVER = {4: SERVER4, 6: SERVER6}
ROUTER = {4: ROUTER_CLIENT4, 6: ROUTER_CLIENT6}
"""The router as the client sees it."""
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33
"""asm-generic/socket.h; Python has no names for them."""
BUFFER = 16 << 20
"""Bytes of socket buffer of receivers and senders: larger than any burst a test sends."""


def family_of(address: str) -> int:
    """AF_INET or AF_INET6."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def run_ip(*args: str) -> None:
    """Run `ip`; an error carries what it said."""
    done = subprocess.run(["ip", *args], capture_output=True, text=True, timeout=10)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(args)}: {done.stderr.strip()}")


def wait_until(condition: Callable[[], bool], timeout: float = 3.0, step: float = 0.01) -> bool:
    """Poll until `condition` holds; False when it never did."""
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(step)
    return True


@dataclass
class Namespace:
    """One network namespace, made by `ip netns add`."""

    name: str

    @property
    def path(self) -> Path:
        """What setns() and `nsenter --net=` take."""
        return namespace.path_of(self.name)

    def call(self, function: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """Call `function` inside, in a thread of its own; sockets it opens stay inside."""
        return namespace.call_in(self.path, function, *args, **kwargs)

    def run(
        self, argv: Sequence[str], *, check: bool = True, timeout: float = 20, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside to its end and return its text output."""
        done = self.call(
            subprocess.run,
            list(argv),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if check and done.returncode:
            raise RuntimeError(f"{self.name}: {' '.join(argv)}: exit {done.returncode}: {done.stderr or done.stdout}")
        return done

    def socket(self, family: int = socket.AF_INET, kind: int = socket.SOCK_DGRAM, protocol: int = 0) -> socket.socket:
        """A socket that lives inside; 5 s time-out."""
        made = self.call(socket.socket, family, kind, protocol)
        made.settimeout(5)
        return made

    def sysctl(self, name: str, value: int | str) -> None:
        """Set `net.ipv4.ip_forward`-like settings of this namespace."""
        path = Path("/proc/sys") / name.replace(".", "/")
        self.call(path.write_text, str(value))

    def rules(self) -> str:
        """Everything iptables-nft shows, both families."""
        return "".join(self.run([tool]).stdout for tool in ("iptables-save", "ip6tables-save"))


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


def _echo(listener: socket.socket, stop: threading.Event) -> None:
    """Accept and echo until told to stop; one thread a connection."""
    listener.settimeout(0.1)
    while not stop.is_set():
        with contextlib.suppress(TimeoutError, OSError):
            connection, _ = listener.accept()
            threading.Thread(target=_echo_one, args=(connection, stop), daemon=True).start()


def _echo_one(connection: socket.socket, stop: threading.Event) -> None:
    connection.settimeout(10)
    with connection, contextlib.suppress(OSError):
        while not stop.is_set() and (data := connection.recv(65536)):
            connection.sendall(data)


class Network(OwnNamespaces):
    """The three namespaces with verbs.  Use as a context manager; everything goes on exit."""

    def __init__(self) -> None:
        self.suffix = secrets.token_hex(4)
        self.client = Namespace(f"wfpd-{self.suffix}-c")
        self.router = Namespace(f"wfpd-{self.suffix}-r")
        self.server = Namespace(f"wfpd-{self.suffix}-s")
        super().__init__([space.name for space in (self.client, self.router, self.server)])

    def build(self) -> None:
        """Links, addresses and routes."""
        for space in (self.client, self.router, self.server):
            run_ip("-n", space.name, "link", "set", "lo", "up")
            # Off, so that hook counters see only what a test sends.
            space.sysctl("net.ipv6.conf.default.accept_ra", 0)
            space.sysctl("net.ipv6.conf.default.router_solicitations", 0)
        self._link(self.client, "c0", CLIENT4, CLIENT6, ROUTER_CLIENT4, ROUTER_CLIENT6)
        self._link(self.server, "s0", SERVER4, SERVER6, ROUTER_SERVER4, ROUTER_SERVER6)
        self.router.sysctl("net.ipv4.ip_forward", 1)
        self.router.sysctl("net.ipv6.conf.all.forwarding", 1)

    def _link(self, host: Namespace, port: str, host4: str, host6: str, router4: str, router6: str) -> None:
        """A veth pair `eth0` in `host` - `port` in the router, addresses and default routes."""
        run_ip("-n", self.router.name, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", host.name)
        for space, device, four, six in (
            (host, "eth0", host4, host6),
            (self.router, port, router4, router6),
        ):
            run_ip("-n", space.name, "link", "set", device, "up")
            run_ip("-n", space.name, "addr", "add", f"{four}/24", "dev", device)
            run_ip("-n", space.name, "addr", "add", f"{six}/64", "dev", device, "nodad")
        run_ip("-n", host.name, "route", "add", "default", "via", router4)
        run_ip("-n", host.name, "-6", "route", "add", "default", "via", router6)

    def run(self, space: Namespace, argv: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command inside a namespace to its end."""
        return space.run(argv, **options)

    def popen(self, space: Namespace, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a command inside a namespace; it is ended with the network at the latest."""
        process: subprocess.Popen[Any] = space.call(subprocess.Popen, list(argv), **options)

        def end() -> None:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(5)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait(5)

        self.cleanup.callback(end)
        return process

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

    @contextlib.contextmanager
    def tcp_echo(self, space: Namespace, port: int, family: int = 4) -> Iterator[None]:
        """A TCP server that echoes."""
        listener = space.socket(socket.AF_INET6 if family == 6 else socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("::" if family == 6 else "0.0.0.0", port))
        listener.listen(64)
        stop = threading.Event()
        thread = threading.Thread(target=_echo, args=(listener, stop), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            listener.close()

    def tcp_connect(self, space: Namespace, port: int, *, to: str = SERVER4, timeout: float = 3.0) -> socket.socket:
        """A connected TCP socket; raises OSError (ConnectionRefusedError, TimeoutError ...)."""
        sock = space.socket(family_of(to), socket.SOCK_STREAM)
        sock.settimeout(timeout)
        try:
            sock.connect((to, port))
        except OSError:
            sock.close()
            raise
        return sock

    def tcp_round_trip(self, space: Namespace, port: int, data: bytes = b"ping", *, to: str = SERVER4) -> bytes:
        """Connect, send, and read the same number of bytes back."""
        with self.tcp_connect(space, port, to=to) as sock:
            sock.sendall(data)
            answer = b""
            while len(answer) < len(data) and (part := sock.recv(65536)):
                answer += part
        return answer

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

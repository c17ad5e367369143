"""A client, a router and a server in network namespaces of their own.

        client                     router                      server
    10.201.1.2/24 eth0 ──── c0 10.201.1.1   10.201.2.1 s0 ──── eth0 10.201.2.2/24
    fd77:1::2/64                fd77:1::1   fd77:2::1               fd77:2::2/64

The router forwards both families; segmentation offloads stay on, so GSO packets occur.  The
machine's own namespace is never touched: every link is born inside its namespace.
"""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from wfpd.errors import KernelError
from wfpd.netfilter import namespace
from wfpd.netfilter.commands import Commands
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


def family_of(address: str) -> int:
    """AF_INET or AF_INET6."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def wait_until(condition: Callable[[], bool], timeout: float = 3.0, step: float = 0.01) -> bool:
    """Poll until `condition` holds; False when it never did."""
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(step)
    return True


IPV6 = Path("/proc/sys/net/ipv6")
"""There is no such directory where the kernel has no IPv6, or was told not to use it."""


@functools.cache
def why_no_namespaces() -> str:
    """Why this process cannot make network namespaces; empty if it can."""
    if os.geteuid() != 0:
        return f"network namespaces need root; running as uid {os.geteuid()}"
    if not IPV6.is_dir():
        return "the network of live tests has both families, and this kernel has no IPv6"
    try:
        done = subprocess.run(["unshare", "--net", "--mount", "true"], capture_output=True, text=True, check=False)
    except OSError as error:
        return f"no network namespaces here: unshare: {error.strerror}"
    return f"no network namespaces here: {done.stderr.strip()}" if done.returncode else ""


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


@contextlib.contextmanager
def serving(sock: socket.socket, port: int, work: Callable[[socket.socket, threading.Event], None]) -> Iterator[None]:
    """A thread that serves the socket at a port of all addresses; `work` has to return soon after the event is set."""
    sock.bind(("::" if sock.family == socket.AF_INET6 else "0.0.0.0", port))
    if sock.type == socket.SOCK_STREAM:
        sock.listen(64)
    stop = threading.Event()
    thread = threading.Thread(target=work, args=(sock, stop), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


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


class Line(OwnNamespaces):
    """The three namespaces.  A context manager: they go on exit, and what was started in them before."""

    def __init__(self) -> None:
        self.suffix = secrets.token_hex(4)
        self.client = Namespace(f"wfpd-{self.suffix}-c")
        self.router = Namespace(f"wfpd-{self.suffix}-r")
        self.server = Namespace(f"wfpd-{self.suffix}-s")
        super().__init__([space.name for space in (self.client, self.router, self.server)])

    def build(self) -> None:
        """Links, addresses and routes."""
        for space in (self.client, self.router, self.server):
            self.ip("-n", space.name, "link", "set", "lo", "up")
            # Off, so that hook counters see only what a test sends, and addresses are good at once.
            space.sysctl("net.ipv6.conf.all.accept_dad", 0)
            space.sysctl("net.ipv6.conf.default.accept_dad", 0)
            space.sysctl("net.ipv6.conf.default.accept_ra", 0)
            space.sysctl("net.ipv6.conf.default.router_solicitations", 0)
        self._link(self.client, "c0", CLIENT4, CLIENT6, ROUTER_CLIENT4, ROUTER_CLIENT6)
        self._link(self.server, "s0", SERVER4, SERVER6, ROUTER_SERVER4, ROUTER_SERVER6)
        self.router.sysctl("net.ipv4.ip_forward", 1)
        self.router.sysctl("net.ipv6.conf.all.forwarding", 1)

    def _link(self, host: Namespace, port: str, host4: str, host6: str, router4: str, router6: str) -> None:
        """A veth pair `eth0` in `host` - `port` in the router, addresses and default routes."""
        self.ip("-n", self.router.name, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", host.name)
        for space, device, four, six in (
            (host, "eth0", host4, host6),
            (self.router, port, router4, router6),
        ):
            self.ip("-n", space.name, "link", "set", device, "up")
            self.ip("-n", space.name, "addr", "add", f"{four}/24", "dev", device)
            self.ip("-n", space.name, "addr", "add", f"{six}/64", "dev", device, "nodad")
        self.ip("-n", host.name, "route", "add", "default", "via", router4)
        self.ip("-n", host.name, "-6", "route", "add", "default", "via", router6)

    def why_no_queue(self) -> str:
        """Why no packet can be queued here; empty if one can.  Tries a rule in the router and takes it away."""
        commands = Commands(self.router.path)
        rule = ["FORWARD", "-j", "NFQUEUE", "--queue-num", "0", "--queue-bypass"]
        try:
            for action in ("-A", "-D"):
                commands.run(["iptables", "-w", "-t", "mangle", action, *rule])
        except KernelError as error:
            return f"no NFQUEUE here: {error.message}"
        return ""

    @staticmethod
    def ip(*arguments: str) -> None:
        """Run `ip`; KernelError with what it said."""
        Commands().run(["ip", *arguments])

    def run(self, space: Namespace, argv: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command inside a namespace to its end."""
        return space.run(argv, **options)

    def popen(self, space: Namespace, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a command inside a namespace; it is ended with the network at the latest."""

        def start() -> subprocess.Popen[Any]:
            return subprocess.Popen(list(argv), **options)

        process = space.call(start)

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

    @contextlib.contextmanager
    def tcp_echo(self, space: Namespace, port: int, family: int = 4) -> Iterator[None]:
        """A TCP server that echoes."""
        with space.socket(socket.AF_INET6 if family == 6 else socket.AF_INET, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with serving(listener, port, _echo):
                yield

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

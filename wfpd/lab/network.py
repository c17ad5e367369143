"""Three network namespaces on one line, made with a random suffix and always taken away again.

    client 198.51.100.2 ── 198.51.100.1 router 203.0.113.1 ── 203.0.113.2 server

The addresses are documentation ranges (RFC 5737).  Nothing is ever done in the caller's own
namespace but making and deleting these: each is compared with it before a command runs inside.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
from collections.abc import Sequence

from wfpd.lab.errors import LabError
from wfpd.lab.interrupts import held
from wfpd.netfilter.namespace import namespace_id, path_of

CLIENT, CLIENT_GATEWAY = "198.51.100.2", "198.51.100.1"
SERVER, SERVER_GATEWAY = "203.0.113.2", "203.0.113.1"
PREFIX_LENGTH = 24
PARTS = ("client", "router", "server")
COMMAND_TIMEOUT = 20.0
"""Seconds; `ip` and `iptables` answer in milliseconds."""

DRAWING = f"""\
   client                         router                         server
   {CLIENT:<14} ──────── {CLIENT_GATEWAY} [wfpd] {SERVER_GATEWAY} ──────── {SERVER}
                                  FORWARD → queue 0"""


def run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; never raises for its exit status."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_TIMEOUT, check=False)
    except FileNotFoundError as error:
        raise LabError(f"{command[0]} is not installed", hint=".ci/packages run") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{' '.join(command)} did not end in {COMMAND_TIMEOUT:.0f} s") from error


class Network:
    """The namespaces; a context manager that leaves nothing behind."""

    def __init__(self) -> None:
        self.suffix = secrets.token_hex(3)
        self.made: list[str] = []

    def name(self, part: str) -> str:
        """The full name of `client`, `router` or `server`."""
        return f"wfpd-{part}-{self.suffix}"

    def inside(self, part: str, *command: str) -> list[str]:
        """The command line that runs `command` in a part; refuses the caller's own namespace."""
        if namespace_id(path_of(self.name(part))) == namespace_id():
            raise LabError(f"{self.name(part)} is the caller's own network namespace: nothing is done there")
        return ["ip", "netns", "exec", self.name(part), *command]

    def __enter__(self) -> Network:
        try:
            self._build()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()

    def _build(self) -> None:
        for part in PARTS:
            name = self.name(part)
            self.made.append(name)
            done = run(["ip", "netns", "add", name])
            if done.returncode:
                raise LabError(
                    f"no network namespaces: {last_line(done.stderr)}",
                    hint="the lab needs CAP_SYS_ADMIN; in a container, start it privileged",
                )
        self._link("client", "lan", CLIENT, "lan", CLIENT_GATEWAY)
        self._link("server", "wan", SERVER, "wan", SERVER_GATEWAY)
        self._in("router", "sysctl", "-q", "-w", "net.ipv4.ip_forward=1")

    def _link(self, part: str, device: str, address: str, router_device: str, gateway: str) -> None:
        """A veth pair between a part and the router, with addresses and the default route."""
        name, router = self.name(part), self.name("router")
        self._must(
            "ip", "-n", name, "link", "add", device, "type", "veth", "peer", "name", router_device, "netns", router
        )
        for where, link, own in ((name, device, address), (router, router_device, gateway)):
            self._must("ip", "-n", where, "address", "add", f"{own}/{PREFIX_LENGTH}", "dev", link)
            self._must("ip", "-n", where, "link", "set", link, "up")
            self._must("ip", "-n", where, "link", "set", "lo", "up")
        self._must("ip", "-n", name, "route", "add", "default", "via", gateway)

    def _in(self, part: str, *command: str) -> None:
        self._must(*self.inside(part, *command))

    @staticmethod
    def _must(*command: str) -> None:
        done = run(command)
        if done.returncode:
            raise LabError(f"{' '.join(command)}: {last_line(done.stderr)}")

    def require_nfqueue(self) -> None:
        """Try an NFQUEUE rule in the router and take it away again."""
        rule = ["FORWARD", "-j", "NFQUEUE", "--queue-num", "0", "--queue-bypass"]
        done = run(self.inside("router", "iptables", "-t", "mangle", "-A", *rule))
        if done.returncode:
            raise LabError(
                f"no NFQUEUE in this kernel: {last_line(done.stderr)}",
                hint="it needs CONFIG_NETFILTER_NETLINK_QUEUE and CONFIG_NETFILTER_XT_TARGET_NFQUEUE",
            )
        run(self.inside("router", "iptables", "-t", "mangle", "-D", *rule))

    def remove(self) -> None:
        """Delete every namespace made; what was never made is passed over."""
        with held():
            while self.made:
                name = self.made.pop()
                with contextlib.suppress(LabError, OSError):
                    if os.path.exists(path_of(name)):
                        run(["ip", "netns", "delete", name])


def last_line(text: str) -> str:
    """The last line that says something: where tools put their reason."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"

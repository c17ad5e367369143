"""Two network namespaces in a ring: packets leave one, are queued in the other, and end in the first.

    peer                                        gate
    out 198.18.0.2 ─────────────────── 198.18.0.1 in
                                                │ queue: input, forward or output
    sink 198.18.1.2 ────────────────── 198.18.1.1 exit

The addresses are those of benchmarking (RFC 2544, RFC 5180).  Whatever an address says, the gate
takes it: at the input hook every destination is its own, at the others every destination lies behind
the sink.  Nothing answers, and nothing is done in the caller's own namespace.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
from collections.abc import Sequence
from pathlib import Path

from wfpd.netfilter.commands import Commands
from wfpd.netfilter.namespace import call_in, path_of
from wfpd.netfilter.own_namespaces import OwnNamespaces

CHAINS = {"input": "INPUT", "forward": "FORWARD", "output": "OUTPUT"}
"""The hooks that can be measured, and where their rules stand in table mangle."""
ETHERTYPE = {4: b"\x08\x00", 6: b"\x86\xdd"}
MTU = 65535
SETTINGS = (
    ("net.ipv4.ip_forward", 1),
    ("net.ipv4.conf.all.rp_filter", 0),
    ("net.ipv4.conf.default.rp_filter", 0),
    ("net.ipv4.conf.all.accept_local", 1),
    ("net.ipv6.conf.all.forwarding", 1),
    ("net.ipv6.conf.all.accept_ra", 0),
    ("net.ipv6.conf.default.accept_ra", 0),
    ("net.ipv6.conf.default.router_solicitations", 0),
)
_SO_SNDBUFFORCE = 32
_IPV6_HDRINCL = 36
"""asm-generic/socket.h, linux/in6.h; Python has no names for them."""
_SEND_BUFFER = 256 << 20
"""Bytes: what a whole round of queued packets of the largest size is charged to its sender."""


def set_sysctl(name: str, value: int) -> None:
    """Set it in the calling thread's namespace; a kernel without IPv6 has fewer."""
    path = Path("/proc/sys") / name.replace(".", "/")
    if path.exists():
        path.write_text(str(value))


class Ring(OwnNamespaces):
    """The two namespaces; a context manager that leaves nothing behind."""

    def __init__(self, hook: str) -> None:
        self.hook = hook
        self._directed: int | None = None
        suffix = secrets.token_hex(4)
        self.names = {"peer": f"wfpd-bench-{suffix}-p", "gate": f"wfpd-bench-{suffix}-g"}
        super().__init__(tuple(self.names.values()))
        self.peer, self.gate = (Commands(path_of(name)) for name in self.names.values())
        self.families: tuple[int, ...] = (4,)

    # ---- making it

    def build(self) -> None:
        """Both links, and the way of the packets."""
        for where in (self.peer, self.gate):
            for name, value in SETTINGS:
                call_in(where.netns, set_sysctl, name, value)
            where.run(["ip", "link", "set", "lo", "up"])
        if call_in(self.gate.netns, Path("/proc/sys/net/ipv6").exists):
            self.families = (4, 6)
        self._link("out", "in", 0)
        self._link("sink", "exit", 1)
        self._route()
        self._rules()

    def _link(self, ours: str, theirs: str, net: int) -> None:
        gate = self.names["gate"]
        self.peer.run(["ip", "link", "add", ours, "mtu", str(MTU), "type", "veth",
                       "peer", "name", theirs, "mtu", str(MTU), "netns", gate])  # fmt: skip
        for commands, device, host in ((self.peer, ours, 2), (self.gate, theirs, 1)):
            # Without a link-local address of its own an interface sends nothing by itself.
            commands.run(["ip", "link", "set", device, "addrgenmode", "none", "up"])
            commands.run(["ip", "address", "add", f"198.18.{net}.{host}/24", "dev", device])
            if 6 in self.families:
                commands.run(["ip", "address", "add", f"2001:2:0:{net}::{host}/64", "dev", device, "nodad"])

    def _route(self) -> None:
        """Everything is local at the input hook, and lies behind the sink otherwise."""
        address = self._hardware(self.peer, "sink")
        for family in self.families:
            ip = ["ip", f"-{family}"]
            next_hop = "198.18.1.2" if family == 4 else "2001:2:0:1::2"
            if self.hook == "input":
                self.gate.run([*ip, "route", "add", "local", "default", "dev", "lo"])
            else:
                self.gate.run(
                    [*ip, "neighbor", "replace", next_hop, "lladdr", address, "dev", "exit", "nud", "permanent"]
                )
                self.gate.run([*ip, "route", "add", "default", "via", next_hop])

    def _hardware(self, where: Commands, device: str) -> str:
        words = where.run(["ip", "-o", "link", "show", "dev", device]).split()
        return words[words.index("link/ether") + 1]

    def _rules(self) -> None:
        """Nobody answers: what is delivered ends at once."""
        for tool in self._tools:
            self.peer.run([tool, "-w", "-t", "raw", "-A", "PREROUTING", "-j", "DROP"])
            self.gate.run([tool, "-w", "-t", "filter", "-A", "INPUT", "-j", "DROP"])

    @property
    def _tools(self) -> tuple[str, ...]:
        return ("iptables", "ip6tables")[: len(self.families)]

    # ---- using it

    def direct(self, queue: int) -> None:
        """From now on the hook's packets go to this queue."""
        if queue == self._directed:
            return
        for tool in self._tools:
            action = ["-A", CHAINS[self.hook]] if self._directed is None else ["-R", CHAINS[self.hook], "1"]
            self.gate.run([tool, "-w", "-t", "mangle", *action, "-j", "NFQUEUE", "--queue-num", str(queue)])
        self._directed = queue

    def waiting(self, queue: int) -> int:
        """Packets in a queue, by the kernel's count."""
        return (call_in(self.gate.netns, _queue_line, queue) or (0, 0, 0))[2]

    def bound(self, queue: int) -> bool:
        """Whether some program serves the queue."""
        return call_in(self.gate.netns, _queue_line, queue) is not None

    def sender(self) -> Sender:
        """Sends IP packets to the hook; close it after use."""
        where = self.gate if self.hook == "output" else self.peer
        return call_in(where.netns, Sender, self.hook, self._hardware(self.gate, "in"))


def _queue_line(queue: int) -> tuple[int, ...] | None:
    """The kernel's line about a queue: number, port, packets waiting ..."""
    for line in Path("/proc/thread-self/net/netfilter/nfnetlink_queue").read_text().splitlines():
        values = tuple(map(int, line.split()))
        if values[0] == queue:
            return values
    return None


class Sender:
    """Sockets in the right namespace."""

    def __init__(self, hook: str, hardware: str) -> None:
        self._frames = hook != "output"
        self._sockets: list[socket.socket] = []
        self._head = bytes.fromhex(hardware.replace(":", "")) + b"\x02\0\0\0\0\x01"
        if self._frames:
            self._sockets.append(socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
            self._sockets[0].bind(("out", 0))
        else:
            self._sockets.append(socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW))
            with contextlib.suppress(OSError):
                six = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
                six.setsockopt(socket.IPPROTO_IPV6, _IPV6_HDRINCL, 1)
                self._sockets.append(six)
        for sock in self._sockets:
            sock.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _SEND_BUFFER)

    def send(self, packets: Sequence[bytes]) -> int:
        """Send IP packets; how many the kernel took."""
        taken = 0
        for packet in packets:
            with contextlib.suppress(OSError):
                self._send(packet)
                taken += 1
        return taken

    def _send(self, packet: bytes) -> None:
        family = packet[0] >> 4
        if self._frames:
            self._sockets[0].send(self._head + ETHERTYPE[family] + packet)
        elif family == 4:
            self._sockets[0].sendto(packet, (socket.inet_ntop(socket.AF_INET, packet[16:20]), 0))
        elif len(self._sockets) > 1:
            self._sockets[1].sendto(packet, (socket.inet_ntop(socket.AF_INET6, packet[24:40]), 0))
        else:
            raise OSError("no IPv6 here")

    def close(self) -> None:
        """Close the sockets."""
        for sock in self._sockets:
            sock.close()

    def __enter__(self) -> Sender:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

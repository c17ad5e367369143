"""Three network namespaces in a line, the middle one with a queue: an inline bridge, or a router.

    sender eth0 ──── in [bridge, or router; FORWARD → queue 0] out ──── eth0 receiver

Bridged, whatever a capture holds passes unchanged; routed, the addresses are those of benchmarking
(RFC 2544).  Names have a random suffix; everything goes away also after a failure.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from wfpd.bench.network import set_sysctl
from wfpd.errors import KernelError
from wfpd.netfilter.commands import Commands
from wfpd.netfilter.namespace import call_in, path_of
from wfpd.netfilter.own_namespaces import OwnNamespaces

QUEUE = 0
SENDER, RECEIVER = "198.18.0.2", "198.18.1.2"
QUIET = (("net.ipv6.conf.all.addr_gen_mode", 1), ("net.ipv6.conf.default.addr_gen_mode", 1))
"""Without an address of its own no interface sends anything by itself."""


class Line(OwnNamespaces):
    """The namespaces; a context manager that leaves nothing behind."""

    def __init__(self, *, bridged: bool) -> None:
        suffix = secrets.token_hex(4)
        self.bridged = bridged
        self.names = {part: f"wfpd-bench-{suffix}-{part[0]}" for part in ("sender", "middle", "receiver")}
        super().__init__(tuple(self.names.values()))
        self.sender, self.middle, self.receiver = (Commands(path_of(name)) for name in self.names.values())

    def build(self) -> None:
        """The two links, and the bridge or router between them."""
        for where in (self.sender, self.middle, self.receiver):
            for setting in QUIET:
                call_in(where.netns, set_sysctl, *setting)
        for where, device in ((self.sender, "in"), (self.receiver, "out")):
            where.run(["ip", "link", "add", "eth0", "type", "veth", "peer", "name", device,
                       "netns", self.names["middle"]])  # fmt: skip
            where.run(["ip", "link", "set", "eth0", "up"])
            self.middle.run(["ip", "link", "set", device, "up"])
        if self.bridged:
            self._bridge()
        else:
            self._router()

    def _bridge(self) -> None:
        """What comes in on one port leaves by the other; learning would drop most of a capture."""
        self.middle.run(["ip", "link", "add", "br0", "type", "bridge", "mcast_snooping", "0"])
        for device in ("in", "out"):
            self.middle.run(["ip", "link", "set", device, "master", "br0"])
            self.middle.run(["ip", "link", "set", device, "type", "bridge_slave", "learning", "off"])
        self.middle.run(["ip", "link", "set", "br0", "up"])
        for tool in ("iptables", "ip6tables"):
            name = f"net.bridge.bridge-nf-call-{tool}"
            if not call_in(self.middle.netns, Path(f"/proc/sys/{name.replace('.', '/')}").exists):
                raise KernelError("this kernel's bridge does not call netfilter", hint="it needs br_netfilter")
            call_in(self.middle.netns, set_sysctl, name, 1)
            self.middle.run([tool, "-w", "-t", "mangle", "-A", "FORWARD", "-m", "physdev", "--physdev-in", "in",
                             "-j", "NFQUEUE", "--queue-num", str(QUEUE)])  # fmt: skip

    def _router(self) -> None:
        call_in(self.middle.netns, set_sysctl, "net.ipv4.ip_forward", 1)
        for where, device, net, own in ((self.sender, "in", 0, SENDER), (self.receiver, "out", 1, RECEIVER)):
            gateway = f"198.18.{net}.1"
            self.middle.run(["ip", "address", "add", f"{gateway}/24", "dev", device])
            where.run(["ip", "address", "add", f"{own}/24", "dev", "eth0"])
            where.run(["ip", "route", "add", "default", "via", gateway])

    def queue_tcp(self) -> None:
        """From now on TCP meets the queue."""
        self.middle.run(["iptables", "-w", "-t", "mangle", "-F", "FORWARD"])
        self.middle.run(["iptables", "-w", "-t", "mangle", "-A", "FORWARD", "-p", "tcp", "-j", "NFQUEUE",
                         "--queue-num", str(QUEUE)])  # fmt: skip

    def queue_nothing(self) -> None:
        """No packet meets the queue any more; they are counted all the same."""
        for tool in ("iptables", "ip6tables"):
            self.middle.run([tool, "-w", "-t", "mangle", "-F", "FORWARD"])
            self.middle.run([tool, "-w", "-t", "mangle", "-A", "FORWARD", "-j", "ACCEPT"])

    def met(self) -> int:
        """Packets that met the rules in FORWARD since they were made, by the kernel's count."""
        total = 0
        for tool in ("iptables", "ip6tables"):
            for line in self.middle.run([tool, "-t", "mangle", "-L", "FORWARD", "-nvx"]).splitlines():
                words = line.split()
                total += int(words[0]) if words and words[0].isdigit() else 0
        return total

    def arrived(self, where: Commands, device: str) -> int:
        """Packets that an interface has received, by the kernel's count."""
        path = Path("/proc/thread-self/net/dev")
        for line in call_in(where.netns, path.read_text).splitlines():
            name, colon, numbers = line.partition(":")
            if colon and name.strip() == device:
                return int(numbers.split()[1])
        raise KernelError(f"there is no interface {device}")

    def queue(self) -> dict[str, int]:
        """The kernel's account of the queue; empty if no program serves it."""
        lines = call_in(self.middle.netns, Path("/proc/thread-self/net/netfilter/nfnetlink_queue").read_text)
        for values in (tuple(map(int, line.split())) for line in lines.splitlines()):
            if values[0] == QUEUE:
                return {"waiting": values[2], "lost": values[5] + values[6], "ids": values[7]}
        return {}

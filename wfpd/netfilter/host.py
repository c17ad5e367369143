"""This host as the layers need it: interfaces with IANA's types, and which addresses are its own.

Addresses come from the kernel's table `local`, so what the kernel would deliver is what counts as
local: secondary addresses, 127.0.0.0/8 and the like included.
"""

from __future__ import annotations

import contextlib
import enum
import socket
import struct
from dataclasses import dataclass, field

from wfpd.netfilter import rtnetlink

ARPHRD_LOOPBACK = 772
IFF_LOOPBACK = 0x8
IFLA_IFNAME = 3
RTA_DST, RTA_TABLE = 1, 15
RT_TABLE_LOCAL = 255
WATCHED = (
    rtnetlink.RTMGRP_LINK
    | rtnetlink.RTMGRP_IPV4_IFADDR
    | rtnetlink.RTMGRP_IPV6_IFADDR
    | rtnetlink.RTMGRP_IPV4_ROUTE
    | rtnetlink.RTMGRP_IPV6_ROUTE
)

IANA_OTHER, IANA_ETHERNET, IANA_PPP, IANA_LOOPBACK, IANA_WIFI, IANA_TUNNEL, IANA_FIREWIRE = 1, 6, 23, 24, 71, 131, 144
# linux/if_arp.h to IANA ifType (the values of NET_IFTYPE).  Wireless interfaces say Ethernet to netlink.
IANA_TYPE = {
    1: IANA_ETHERNET,
    24: IANA_FIREWIRE,  # IEEE 1394
    32: 199,  # InfiniBand
    512: IANA_PPP,
    768: IANA_TUNNEL,  # IPIP
    769: IANA_TUNNEL,  # IP6IP6
    772: IANA_LOOPBACK,
    776: IANA_TUNNEL,  # SIT
    778: IANA_TUNNEL,  # GRE
    801: IANA_WIFI,
    802: IANA_WIFI,
    803: IANA_WIFI,
    823: IANA_TUNNEL,  # GRE over IPv6
    65534: IANA_TUNNEL,  # tun, WireGuard
}


class RouteType(enum.IntEnum):
    """RTN_*: what the kernel does with packets to a destination."""

    LOCAL = 2
    BROADCAST = 3
    ANYCAST = 4
    MULTICAST = 5


@dataclass(frozen=True, slots=True)
class Interface:
    """One network interface."""

    index: int
    name: str
    arphrd: int
    """ARPHRD_* of linux/if_arp.h."""
    iana_type: int
    """IANA ifType, which is what interface_type conditions compare."""
    is_loopback: bool


Range = tuple[int, int]
"""First and last address, host order."""


@dataclass(frozen=True, slots=True)
class HostInfo:
    """A picture of one network namespace.  Ranges are sorted, disjoint and inclusive."""

    interfaces: tuple[Interface, ...] = ()
    """By index."""
    local4: tuple[Range, ...] = ()
    broadcast4: tuple[Range, ...] = ()
    local6: tuple[Range, ...] = ()
    anycast6: tuple[Range, ...] = ()
    multicast4: tuple[Range, ...] = field(default=())
    """Multicast destinations that the table names; 224.0.0.0/4 is multicast whatever it says."""
    multicast6: tuple[Range, ...] = field(default=())

    def interface(self, index: int) -> Interface | None:
        """The interface with that index."""
        return next((found for found in self.interfaces if found.index == index), None)

    def is_local(self, family: int, address: int) -> bool:
        """Whether the kernel would deliver packets to `address` (host order) here."""
        ranges = self.local6 if family == 6 else self.local4
        return any(low <= address <= high for low, high in ranges)


def merge(ranges: list[Range]) -> tuple[Range, ...]:
    """Sorted and disjoint; neighbours become one."""
    merged: list[Range] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], high))
        else:
            merged.append((low, high))
    return tuple(merged)


def parse_link(payload: bytes) -> Interface:
    """An RTM_NEWLINK message: struct ifinfomsg and attributes."""
    arphrd, index, flags = struct.unpack_from("=xxHiI", payload)
    name = rtnetlink.attributes(payload[16:]).get(IFLA_IFNAME, b"").rstrip(b"\0")
    return Interface(
        index, name.decode("utf-8", "surrogateescape"), arphrd, IANA_TYPE.get(arphrd, IANA_OTHER),
        bool(flags & IFF_LOOPBACK) or arphrd == ARPHRD_LOOPBACK,
    )  # fmt: skip


def parse_route(payload: bytes) -> tuple[int, int, Range] | None:
    """Family (4, 6), RTN type and destination of an RTM_NEWROUTE of table local; None for others."""
    family, length, _, _, table, _, _, kind = struct.unpack_from("=8B", payload)
    found = rtnetlink.attributes(payload[12:])
    number = int.from_bytes(found[RTA_TABLE][:4], "little") if RTA_TABLE in found else table
    if number != RT_TABLE_LOCAL or family not in (socket.AF_INET, socket.AF_INET6):
        return None
    bits = 32 if family == socket.AF_INET else 128
    low = int.from_bytes(found.get(RTA_DST, bytes(bits // 8)), "big")
    return (4 if bits == 32 else 6), kind, (low, low | (1 << (bits - length)) - 1)


def read_host() -> HostInfo:
    """The calling thread's network namespace, now."""
    routes: dict[tuple[int, int], list[Range]] = {}
    with contextlib.closing(rtnetlink.open_socket()) as sock:
        sock.settimeout(5)
        links = rtnetlink.dump(sock, rtnetlink.RTM_GETLINK, bytes(16), rtnetlink.RTM_NEWLINK)
        for family in (socket.AF_INET, socket.AF_INET6):
            body = struct.pack("=8BI", family, 0, 0, 0, RT_TABLE_LOCAL, 0, 0, 0, 0)
            for payload in rtnetlink.dump(sock, rtnetlink.RTM_GETROUTE, body, rtnetlink.RTM_NEWROUTE):
                if route := parse_route(payload):
                    routes.setdefault(route[:2], []).append(route[2])

    def of(family: int, kind: RouteType) -> tuple[Range, ...]:
        return merge(routes.get((family, kind), []))

    return HostInfo(
        tuple(sorted((parse_link(payload) for payload in links), key=lambda link: link.index)),
        local4=of(4, RouteType.LOCAL),
        broadcast4=of(4, RouteType.BROADCAST),
        local6=of(6, RouteType.LOCAL),
        anycast6=of(6, RouteType.ANYCAST),
        multicast4=of(4, RouteType.MULTICAST),
        multicast6=of(6, RouteType.MULTICAST),
    )


class HostWatcher:
    """Becomes readable when interfaces or addresses change; what changed is for read_host to say."""

    def __init__(self) -> None:
        self._sock = rtnetlink.open_socket(WATCHED)
        self._sock.setblocking(False)

    def fileno(self) -> int:
        """For poll()."""
        return self._sock.fileno()

    def drain(self) -> bool:
        """Read away every notice; True if there was one, or if some were lost."""
        changed = False
        while True:
            try:
                self._sock.recv(rtnetlink.RECEIVE)
            except BlockingIOError:
                return changed
            except OSError:  # ENOBUFS: notices were lost, so something changed
                pass
            changed = True

    def close(self) -> None:
        """Unsubscribe."""
        self._sock.close()

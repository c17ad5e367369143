"""The captures beside docs/examples/*.yaml, made anew: `python tests/unit/example_packets.py docs/examples`."""

from __future__ import annotations

import sys
from pathlib import Path

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6ND_RA, IPv6
from scapy.packet import Packet, Raw
from scapy.utils import PcapWriter

HOST, OFFICE, MANAGER, STRANGER = "203.0.113.10", "192.0.2.77", "192.0.2.5", "198.51.100.20"
HOST6 = "2001:db8:9::10"
LOCAL = "203.0.113.10/32,2001:db8:9::10/128"
"""What `--local` says for every capture but the gateway's."""


def tcp(source: str, destination: str, sport: int, dport: int, flags: str = "S") -> Packet:
    """A bare TCP segment."""
    return IP(src=source, dst=destination, id=1) / TCP(sport=sport, dport=dport, flags=flags, seq=1000)


def neighbors() -> list[Packet]:
    """Who has our address?  We ask, are answered, and hear the router."""
    return [
        IPv6(src="fe80::1", dst="ff02::1:ff00:10", hlim=255) / ICMPv6ND_NS(tgt=HOST6),
        IPv6(src=HOST6, dst="ff02::1:ff00:1", hlim=255) / ICMPv6ND_NS(tgt="fe80::1"),
        IPv6(src="fe80::1", dst=HOST6, hlim=255) / ICMPv6ND_NA(tgt="fe80::1"),
        IPv6(src="fe80::1", dst="ff02::1", hlim=255) / ICMPv6ND_RA(),
    ]


def loopback() -> list[Packet]:
    """The host talks to itself."""
    return [tcp(HOST, HOST, 45000, 9477), tcp(HOST, HOST, 9477, 45000, "SA")]


def host_packets() -> list[Packet]:
    """Each filter of host.yaml once, a handshake, IPv6, ways out, neighbors, and the host's talk with itself."""
    return [
        tcp(OFFICE, HOST, 40001, 22),
        tcp(HOST, OFFICE, 22, 40001, "SA"),
        tcp(OFFICE, HOST, 40001, 22, "A"),
        tcp(STRANGER, HOST, 40002, 22),
        tcp(STRANGER, HOST, 40003, 443),
        IPv6(src="2001:db8:1::7", dst="2001:db8:9::10") / TCP(sport=40004, dport=22, flags="S"),
        IPv6(src="2001:db8:2::7", dst="2001:db8:9::10") / TCP(sport=40005, dport=22, flags="S"),
        IP(src=STRANGER, dst=HOST, id=1) / ICMP(type=8, id=7, seq=1),
        IP(src=STRANGER, dst=HOST, id=1) / UDP(sport=40006, dport=161) / Raw(b"x"),
        tcp(HOST, STRANGER, 50001, 25),
        tcp(HOST, STRANGER, 50002, 443),
        IPv6(src="2001:db8:2::7", dst=HOST6) / ICMPv6EchoRequest(id=7, seq=1),
        *neighbors(),
        *loopback(),
    ]


def gateway_packets() -> list[Packet]:
    """Permitted, blocked, vetoed; UDP that no filter names."""
    return [
        tcp("198.51.100.20", "203.0.113.5", 40001, 80),
        tcp("203.0.113.5", "198.51.100.20", 80, 40001, "SA"),
        tcp("198.51.100.20", "203.0.113.5", 40002, 23),
        tcp("198.51.100.66", "203.0.113.5", 40003, 443),
        tcp("198.51.100.20", "203.0.113.70", 40004, 443),
        IP(src="198.51.100.20", dst="203.0.113.5", id=1) / UDP(sport=40005, dport=53) / Raw(b"x"),
        IP(src="198.51.100.66", dst="203.0.113.5", id=1) / ICMP(type=8, id=7, seq=1),
    ]


def hardened_packets() -> list[Packet]:
    """A fragment, a truncated TCP header, what may come and go, neighbors, and the host's talk with itself."""
    return [
        IP(src=STRANGER, dst=HOST, id=9, flags="MF") / UDP(sport=1, dport=53) / Raw(b"x" * 24),
        IP(src=STRANGER, dst=HOST, id=1, proto=6) / Raw(b"\x00\x50\x00\x16"),
        tcp(MANAGER, HOST, 40001, 22),
        tcp(OFFICE, HOST, 40002, 22),
        tcp(HOST, STRANGER, 50001, 443),
        tcp(HOST, STRANGER, 50002, 25),
        IPv6(src="2001:db8:2::7", dst=HOST6) / ICMPv6EchoRequest(id=7, seq=1),
        *neighbors(),
        *loopback(),
    ]


def audit_packets() -> list[Packet]:
    """What audit mode lets pass."""
    return [tcp(OFFICE, HOST, 40001, 22), tcp(STRANGER, HOST, 40002, 22), tcp(STRANGER, HOST, 40003, 23)]


CAPTURES = {
    "host": host_packets, "gateway": gateway_packets, "hardened": hardened_packets, "audit": audit_packets,
}  # fmt: skip


def write(directory: Path) -> None:
    """Raw-IP captures, a packet every millisecond from the epoch's first hour on."""
    for name, packets in CAPTURES.items():
        with PcapWriter(str(directory / f"{name}.pcap"), linktype=101, sync=True) as writer:
            for number, packet in enumerate(packets()):
                packet.time = 3600 + number / 1000
                writer.write(packet)


if __name__ == "__main__":
    write(Path(sys.argv[1]))

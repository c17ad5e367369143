"""The captures beside docs/examples/*.yaml, made anew: `python tests/unit/example_packets.py docs/examples`."""

from __future__ import annotations

import sys
from pathlib import Path

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet, Raw
from scapy.utils import PcapWriter

HOST, OFFICE, MANAGER, STRANGER = "203.0.113.10", "192.0.2.77", "192.0.2.5", "198.51.100.20"
LOCAL = "203.0.113.10/32,2001:db8:9::10/128"
"""What `--local` says for every capture but the gateway's."""


def tcp(source: str, destination: str, sport: int, dport: int, flags: str = "S") -> Packet:
    """A bare TCP segment."""
    return IP(src=source, dst=destination, id=1) / TCP(sport=sport, dport=dport, flags=flags, seq=1000)


def host_packets() -> list[Packet]:
    """Each filter of host.yaml once, a handshake, IPv6, and ways out."""
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
    """A fragment, a truncated TCP header, and what may come and go."""
    return [
        IP(src=STRANGER, dst=HOST, id=9, flags="MF") / UDP(sport=1, dport=53) / Raw(b"x" * 24),
        IP(src=STRANGER, dst=HOST, id=1, proto=6) / Raw(b"\x00\x50\x00\x16"),
        tcp(MANAGER, HOST, 40001, 22),
        tcp(OFFICE, HOST, 40002, 22),
        tcp(HOST, STRANGER, 50001, 443),
        tcp(HOST, STRANGER, 50002, 25),
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

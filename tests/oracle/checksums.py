"""The slow twin of the checksums that a modified packet gets: one word after the other, from the RFCs."""

from __future__ import annotations

ICMP, TCP, UDP, ICMPV6, UDP_LITE = 1, 6, 17, 58, 136
AT = {ICMP: 2, ICMPV6: 2, TCP: 16, UDP: 6, UDP_LITE: 6}
"""Where the field is in the transport header."""


def ones_complement(data: bytes) -> int:
    """RFC 1071: the complement of the sum of 16-bit words, carries added back."""
    total = 0
    for at in range(0, len(data), 2):
        total += int.from_bytes(data[at : at + 2].ljust(2, b"\0"), "big")
        if total > 0xFFFF:
            total -= 0xFFFF
    return 0xFFFF - total


def ipv4_header(packet: bytes) -> int:
    """The header's checksum, the field itself read as zero."""
    header = bytearray(packet[: (packet[0] & 15) * 4])
    header[10:12] = b"\0\0"
    return ones_complement(bytes(header))


def transport(packet: bytes, protocol: int, offset: int) -> int:
    """The checksum of the transport header at `offset`, its field read as zero; no extension header routes."""
    body = bytearray(packet[offset:])
    at = AT[protocol]
    body[at : at + 2] = b"\0\0"
    if protocol == ICMP:
        return ones_complement(bytes(body))
    if packet[0] >> 4 == 4:
        pseudo = packet[12:20] + bytes([0, protocol]) + len(body).to_bytes(2, "big")
    else:
        pseudo = packet[8:40] + len(body).to_bytes(4, "big") + bytes([0, 0, 0, protocol])
    covered = int.from_bytes(body[4:6], "big") if protocol == UDP_LITE else 0
    found = ones_complement(pseudo + bytes(body[: covered or len(body)]))
    return 0xFFFF if found == 0 and protocol in (UDP, UDP_LITE) else found


def right(packet: bytes, protocol: int, offset: int) -> bool:
    """Whether every checksum of the packet is what it has to be."""
    at = offset + AT[protocol]
    if packet[0] >> 4 == 4 and int.from_bytes(packet[10:12], "big") != ipv4_header(packet):
        return False
    return int.from_bytes(packet[at : at + 2], "big") == transport(packet, protocol, offset)

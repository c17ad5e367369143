"""Community ID 1 of a flow (github.com/corelight/community-id-spec), and our own flow number."""

from __future__ import annotations

import base64
import hashlib
import struct

# ICMP and ICMPv6 types whose counterpart is known; the code is the port of all others (one-way).
_ICMP_PAIRS = {8: 0, 0: 8, 13: 14, 14: 13, 15: 16, 16: 15, 17: 18, 18: 17, 10: 9, 9: 10}
_ICMP6_PAIRS = {128: 129, 129: 128, 133: 134, 134: 133, 135: 136, 136: 135, 130: 131, 131: 130, 139: 140, 140: 139,
                144: 145, 145: 144}  # fmt: skip
_WITH_PORTS = frozenset({6, 17, 132})
_ICMP, _ICMP6 = 1, 58


def community_id(
    source: bytes,
    destination: bytes,
    protocol: int,
    ports: tuple[int, int] | None = None,
    icmp: tuple[int, int] | None = None,
    seed: int = 0,
) -> str:
    """The text `1:...`.

    Addresses are in network order; `ports` are (source, destination), `icmp` is (type, code).
    """
    one_way = False
    ends: tuple[int, int] | None
    if protocol in (_ICMP, _ICMP6) and icmp is not None:
        ends, one_way = _icmp_ends(protocol, *icmp)
    else:
        ends = ports if protocol in _WITH_PORTS else None
    low, high = (source, ends[0] if ends else 0), (destination, ends[1] if ends else 0)
    if not one_way and high < low:
        low, high = high, low
    data = struct.pack("!H", seed) + low[0] + high[0] + bytes((protocol, 0))
    if ends is not None:
        data += struct.pack("!HH", low[1], high[1])
    return "1:" + base64.b64encode(hashlib.sha1(data, usedforsecurity=False).digest()).decode("ascii")


def _icmp_ends(protocol: int, kind: int, code: int) -> tuple[tuple[int, int], bool]:
    pairs = _ICMP_PAIRS if protocol == _ICMP else _ICMP6_PAIRS
    counterpart = pairs.get(kind)
    return ((kind, code), True) if counterpart is None else ((kind, counterpart), False)


def flow_number(source: bytes, destination: bytes, protocol: int, ports: tuple[int, int], key: bytes = b"") -> int:
    """1 to 2**53 - 1, the same in both directions: names packets that belong to no flow of ours.

    `key` (at most 64 bytes) makes the numbers unpredictable; replay leaves it empty.
    """
    ends = sorted(((source, ports[0]), (destination, ports[1])))
    data = b"".join(address + struct.pack("!H", port) for address, port in ends) + bytes((protocol,))
    digest = hashlib.blake2b(data, digest_size=8, key=key).digest()
    return (int.from_bytes(digest, "big") >> 11) or 1

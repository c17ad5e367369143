"""A packet that nobody sent: its bytes from what a person says of it, for `wfpd explain`."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from wfpd.capture import LINK_RAW, CapturedPacket
from wfpd.errors import UsageError
from wfpd.model.fields import TCP_FLAG_BITS
from wfpd.model.names import ICMP_TYPES, ICMPV6_TYPES, PROTOCOLS

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

SOURCE_PORT = 50000
"""Where none is said: a port that clients use."""
TTL = 64
MAX_PAYLOAD = 1400
_TCP, _UDP, _ICMP, _ICMP6, _DCCP, _SCTP, _UDPLITE = 6, 17, 1, 58, 33, 132, 136
WITH_PORTS = frozenset((_TCP, _UDP, _DCCP, _SCTP, _UDPLITE))
_ECHO = {4: ICMP_TYPES["echo_request"], 6: ICMPV6_TYPES["echo_request"]}


@dataclass(frozen=True, slots=True)
class Imagined:
    """A described packet, complete."""

    protocol: int
    source: Address
    destination: Address
    source_port: int = 0
    destination_port: int = 0
    flags: int = TCP_FLAG_BITS["syn"]
    """TCP."""
    icmp_type: int = 0
    icmp_code: int = 0
    payload: int = 0
    """Bytes behind the headers, all 0."""
    content: bytes = b""
    """Bytes behind the headers in their place."""
    sequence: int = 0
    acknowledged: int = 0
    """TCP."""
    ttl: int = TTL
    tos: int = 0
    """DSCP and ECN as they stand in the header."""
    fragment: int = 0
    """As `ip_fragment` has it: 0 none, 1 first, 2 later."""
    window: int = 0xFAF0
    """TCP, unscaled."""
    options: bytes = b""
    """TCP, whole words."""
    quoted: bytes = b""
    """ICMP errors: the packet that they speak of, in front of the payload."""

    def packet(self, interface: str = "") -> CapturedPacket:
        """The packet as a capture would have it."""
        data = self.data()
        return CapturedPacket(1, 0, data, len(data), True, interface.encode() or None, LINK_RAW[-1])

    def data(self) -> bytes:
        """The IP packet's bytes, checksums right."""
        source, destination = self.source.packed, self.destination.packed
        body = self._transport()
        protocol = self.protocol.to_bytes(1, "big")
        body = _summed(self.protocol, body, source + destination + len(body).to_bytes(4, "big") + b"\0\0\0" + protocol)
        if self.source.version == 6:
            return self._head6(protocol, body) + body
        fragment = _FRAGMENT4[self.fragment]
        head = b"\x45" + bytes([self.tos]) + (20 + len(body)).to_bytes(2, "big") + b"\0\0" + fragment
        head += bytes([self.ttl]) + protocol
        return head + _checksum(head + source + destination) + source + destination + body

    def _head6(self, protocol: bytes, body: bytes) -> bytes:
        first = (6 << 28 | self.tos << 20).to_bytes(4, "big")
        ends = bytes([self.ttl]) + self.source.packed + self.destination.packed
        if not self.fragment:
            return first + len(body).to_bytes(2, "big") + protocol + ends
        extension = protocol + b"\0" + _FRAGMENT6[self.fragment] + b"\0\0\0\1"
        return first + (8 + len(body)).to_bytes(2, "big") + b"\x2c" + ends + extension

    def _transport(self) -> bytes:
        ports = self.source_port.to_bytes(2, "big") + self.destination_port.to_bytes(2, "big")
        rest = self.content or bytes(self.payload)
        if self.protocol == _TCP:
            numbers = self.sequence.to_bytes(4, "big") + self.acknowledged.to_bytes(4, "big")
            head = ports + numbers + bytes([(5 + len(self.options) // 4) << 4, self.flags])
            return head + self.window.to_bytes(2, "big") + bytes(4) + self.options + rest
        if self.protocol in (_UDP, _UDPLITE):
            return ports + (8 + len(rest)).to_bytes(2, "big") + b"\0\0" + rest
        if self.protocol == _DCCP:
            return ports + b"\x04\0\0\0\x01" + bytes(7) + rest  # 4 words, a Request with long numbers.
        if self.protocol == _SCTP:
            return ports + bytes(8) + rest
        if self.protocol in (_ICMP, _ICMP6):
            return bytes([self.icmp_type, self.icmp_code]) + bytes(6) + self.quoted + rest
        return rest


_FRAGMENT4 = (b"\x40\0", b"\x20\0", b"\0\xb9")
"""Flags and offset: none with don't-fragment, the first, a later one at 1480 bytes."""
_FRAGMENT6 = (b"", b"\0\x01", b"\x05\xc8")
_SUM_AT = {_TCP: 16, _UDP: 6, _UDPLITE: 6, _DCCP: 6, _ICMP: 2, _ICMP6: 2}


def _checksum(data: bytes) -> bytes:
    """RFC 1071."""
    padded = data + bytes(len(data) % 2)
    total = sum(int.from_bytes(padded[at : at + 2], "big") for at in range(0, len(padded), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return (~total & 0xFFFF).to_bytes(2, "big")


def _summed(protocol: int, body: bytes, pseudo: bytes) -> bytes:
    """The transport bytes with their checksum.  SCTP has none here: nothing verifies it."""
    at = _SUM_AT.get(protocol)
    if at is None:
        return body
    found = _checksum(body if protocol == _ICMP else pseudo + body)
    if found == b"\0\0" and protocol in (_UDP, _UDPLITE):
        found = b"\xff\xff"
    return body[:at] + found + body[at + 2 :]


def parse_end(text: str) -> tuple[Address, int | None]:
    """`192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]:443`; UsageError if it is none."""
    match = re.fullmatch(r"\[(.+)\](?::([0-9]{1,5}))?", text) or re.fullmatch(r"([0-9.]+)(?::([0-9]{1,5}))?", text)
    address, port = (match[1], match[2]) if match else (text, None)
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        raise UsageError(f"{text!r} is no address", hint="192.0.2.1:80 or [2001:db8::1]:80") from None
    if port is not None and int(port) > 65535:
        raise UsageError(f"{text!r}: a port is at most 65535")
    return found, None if port is None else int(port)


def protocol_number(text: str, family: int) -> int:
    """A protocol by name or number; `icmp` is that of the family.  UsageError if there is none."""
    name = text.lower()
    if name == "icmp" and family == 6:
        return _ICMP6
    if name.isdecimal() and int(name) <= 255:
        return int(name)
    if name not in PROTOCOLS:
        raise UsageError(f"there is no protocol {text!r}", hint="a name such as tcp, udp, icmp, or a number to 255")
    return PROTOCOLS[name]


def flag_bits(text: str) -> int:
    """`syn,ack`; UsageError names one that is none."""
    value = 0
    for name in text.lower().split(","):
        if name.strip() not in TCP_FLAG_BITS:
            raise UsageError(f"there is no TCP flag {name!r}", hint=", ".join(TCP_FLAG_BITS))
        value |= TCP_FLAG_BITS[name.strip()]
    return value


def icmp_kind(text: str, family: int) -> tuple[int, int]:
    """`TYPE[/CODE]`, the type by name or number; UsageError if it is none."""
    kind, _, code = text.partition("/")
    names = ICMPV6_TYPES if family == 6 else ICMP_TYPES
    number = names.get(kind.lower(), int(kind) if kind.isdecimal() else -1)
    if not 0 <= number <= 255 or (code and not (code.isdecimal() and int(code) <= 255)):
        raise UsageError(f"{text!r} is no ICMP type", hint="a name such as echo_request, or 3/1: type and code")
    return number, int(code or 0)


def imagine(
    protocol: str, source: str, destination: str, *, flags: str | None = None, icmp: str | None = None, payload: int = 0
) -> Imagined:
    """A packet from its description; UsageError says what is missing or wrong."""
    (from_, from_port), (to, to_port) = parse_end(source), parse_end(destination)
    if from_.version != to.version:
        raise UsageError("source and destination are of different families")
    number = protocol_number(protocol, from_.version)
    if number in WITH_PORTS and to_port is None:
        raise UsageError(f"{protocol} goes to a port", hint=f"--dst {to if to.version == 4 else f'[{to}]'}:80")
    for given, wanted, what in ((from_port, WITH_PORTS, "ports"), (to_port, WITH_PORTS, "ports"),
                                (flags, {_TCP}, "flags"), (icmp, {_ICMP, _ICMP6}, "ICMP types")):  # fmt: skip
        if given is not None and number not in wanted:
            raise UsageError(f"{protocol} has no {what}")
    if not 0 <= payload <= MAX_PAYLOAD:
        raise UsageError(f"a payload has at most {MAX_PAYLOAD} bytes")
    kind, code = icmp_kind(icmp, from_.version) if icmp is not None else (_ECHO[from_.version], 0)
    has_icmp = number in (_ICMP, _ICMP6)
    return Imagined(
        number, from_, to,
        source_port=(SOURCE_PORT if from_port is None else from_port) if number in WITH_PORTS else 0,
        destination_port=to_port or 0, flags=flag_bits(flags) if flags is not None else TCP_FLAG_BITS["syn"],
        icmp_type=kind if has_icmp else 0, icmp_code=code if has_icmp else 0, payload=payload,
    )  # fmt: skip

"""Packets that may lie in a region of a policy diff: its fields mapped to headers, and ways to fill the rest.

A guess: whoever asks for them looks at what the packet path makes of each.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wfpd.capture import CapturedPacket
from wfpd.dataplane import Host
from wfpd.imagined import MAX_PAYLOAD, SOURCE_PORT, TTL, WITH_PORTS, Imagined
from wfpd.model.conditions import Atom, Condition, Op
from wfpd.model.fields import FIELDS, TCP_FLAG_BITS
from wfpd.model.layers import Layer
from wfpd.model.names import ICMP_TYPES, ICMPV6_TYPES
from wfpd.model.policy import Policy

MOST_HINTS = 4
"""Values of one field that conditions suggest."""
PORT = 33434
"""Where no port is asked for: one that nobody serves."""
_TCP, _UDP, _GRE = 6, 17, 47
_SYN, _ACK, _FIN, _RST = (TCP_FLAG_BITS[name] for name in ("syn", "ack", "fin", "rst"))
_ENDS = {4: ("192.0.2.1", "198.51.100.2"), 6: ("2001:db8::1", "2001:db8::2")}
_GROUPS = {4: ("224.0.1.1", "255.255.255.255", "0.0.0.0"), 6: ("ff0e::101", "::")}
_ICMP = {4: 1, 6: 58}
_ECHO = {4: ICMP_TYPES["echo_request"], 6: ICMPV6_TYPES["echo_request"]}
_ERRORS = {4: (3, 11, 12, 5, 4), 6: (1, 2, 3, 4)}
_BOTH_WAYS = ("ale_flow_established", "stream_packet", "stream", "datagram_data")
"""Layers that input and output feed."""

Told = tuple[Sequence[Any], bool]
"""What a region says of a field, as policy_diff() has it."""
Where = Mapping[str, Told]
Test = tuple[Condition, bool, bool]
"""A condition that no box can hold, whether it holds in the region, and whether it is the new policy's."""


def inside(value: int | bytes | None, told: Told) -> bool:
    """Whether one field's value is in what a region says of it."""
    bounds, empty = told
    if value is None:
        return empty
    if isinstance(value, bytes):
        return (value in bounds) != (bool(bounds) and bounds[0] is None)
    words = [value >> 32 * place & 0xFFFFFFFF for place in reversed(range(len(bounds)))]
    return bool(bounds) and all(low <= word <= high for word, (low, high) in zip(words, bounds, strict=True))


@dataclass(frozen=True, slots=True)
class Candidate:
    """One packet that may be a witness, and where it passes."""

    imagined: Imagined
    hooks: tuple[str, ...]
    mark: int | None = None
    interface: bytes | None = None

    def packet(self) -> CapturedPacket:
        """As a capture would have it."""
        return self.imagined.packet()._replace(interface_name=self.interface)


# --- what a region leaves open


class Region:
    """A region's fields, and values that lie in it."""

    def __init__(self, where: Where, family: int, hints: Mapping[str, Sequence[Any]] | None = None) -> None:
        """`hints`: values that are tried first, for what the region wants besides."""
        self.where = where
        self.family = family
        self._hints = hints or {}

    def hints(self, name: str) -> Sequence[Any]:
        return self._hints.get(name, ())

    def takes(self, name: str, value: int | bytes | None) -> bool:
        return name not in self.where or inside(value, self.where[name])

    def pick(self, name: str, *preferred: int | None) -> int | None:
        """A preferred value in the region, else its lowest corner; None where only EMPTY will do."""
        tried: tuple[int | None, ...] = (*self.hints(name), *preferred)
        for value in tried:
            if self.takes(name, value):
                return value
        return next(self.corners(name), None)

    def corners(self, name: str) -> Iterator[int]:
        """The lowest value and the highest."""
        bounds = self.where[name][0] if name in self.where else ()
        if bounds and isinstance(bounds[0], tuple):
            for end in (0, 1):
                value = 0
                for bound in bounds:
                    value = value << 32 | bound[end]
                yield value

    def text(self, name: str) -> bytes | None:
        """A text in the region; None for EMPTY, or where any will do."""
        for hint in self.hints(name):
            if self.takes(name, hint):
                return bytes(hint)
        if self.takes(name, None):
            return None
        bounds = self.where[name][0]
        if bounds[0] is not None:
            return bytes(bounds[0])
        return next(name for name in (b"wit%d" % number for number in itertools.count()) if name not in bounds)

    def address(self, name: str, kinds: str, default: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
        """An address in the region whose type, the field `kinds`, is in it too, if there is one."""
        make = ipaddress.IPv6Address if self.family == 6 else ipaddress.IPv4Address
        known = [int(make(text)) for text in (default, *_GROUPS[self.family])]
        host = Host()
        tried = [*self.hints(name), *known, *self.corners(name)]
        for value in tried:
            if self.takes(name, value) and self.takes(kinds, host.address_type(self.family, value)):
                return make(value)
        return make(self.pick(name, *known) or 0)

    def protocols(self) -> list[int]:
        """The ones to try: those with the most fields first."""
        known = (*self.hints("ip_protocol"), _TCP, _UDP, _ICMP[self.family], 132, 136, 33, _GRE, 253)
        corners = self.corners("ip_protocol")
        return list(dict.fromkeys(number for number in (*known, *corners) if self.takes("ip_protocol", number)))


# --- packets to try


def candidates(layer: Layer, region: Region, undecided: bool) -> Iterator[Candidate]:
    """Packets that may come to the layer with values in the region; the likely ones first."""
    hook = layer.hook
    if layer.name in _BOTH_WAYS and not region.takes("direction", 1):
        hook = "output"
    mark = region.pick("packet_mark", None)
    interface = region.text("interface_name")
    loops = (False, True) if "flags" in region.where or undecided else (False,)
    for loop, imagined in itertools.product(loops, _packets(region, layer, hook == "output", undecided)):
        hooks = ("output", "input") if loop and hook != "forward" else (hook,)
        yield Candidate(imagined, hooks, mark, interface)


def _packets(region: Region, layer: Layer, outbound: bool, undecided: bool) -> Iterator[Imagined]:
    ends = _ends(region, layer, outbound)
    by_flags = (1, 2) if "flags" in region.where and layer.name == "inbound_ippacket" else ()
    # No packet has more than these three, whatever values the field has room for.
    fragments = [number for number in (0, 1, 2) if region.takes("ip_fragment", number)][:1]
    for fragment in dict.fromkeys((*fragments, *by_flags)):
        for number in (_ICMP[region.family],) if "icmp_error" in layer.name else region.protocols():
            made = _with_header(region, Imagined(number, *ends, fragment=fragment))
            for filled in _filled(region, layer, made, outbound, undecided):
                yield _of_length(region, filled)


def _ends(region: Region, layer: Layer, outbound: bool) -> tuple[Any, Any]:
    first, second = _ENDS[region.family]
    if layer.hook == "forward":
        source = region.address("ip_source_address", "", first)
        return source, region.address("ip_destination_address", "ip_destination_address_type", second)
    # A type of the destination is that of the remote end outbound.
    kinds = "ip_destination_address_type" if outbound else ""
    local = region.address("ip_local_address", "ip_local_address_type", first if outbound else second)
    remote = region.address("ip_remote_address", kinds, second if outbound else first)
    return (local, remote) if outbound else (remote, local)


def _with_header(region: Region, made: Imagined) -> Imagined:
    dscp, ecn = region.pick("ip_dscp", 0) or 0, region.pick("ip_ecn", 0) or 0
    return dataclasses.replace(made, ttl=region.pick("ip_ttl", TTL) or 0, tos=(dscp & 63) << 2 | ecn & 3)


def _of_length(region: Region, made: Imagined) -> Imagined:
    """With as much payload as `ip_length` asks for, up to what one packet may carry."""
    own = len(made.data())
    wanted = region.pick("ip_length", own) or own
    return dataclasses.replace(made, payload=min(max(wanted - own, 0), MAX_PAYLOAD))


def _filled(region: Region, layer: Layer, made: Imagined, outbound: bool, undecided: bool) -> Iterator[Imagined]:
    """The packet with its transport; nothing where the protocol cannot have what the region asks for."""
    if "icmp_error" in layer.name:
        yield from _errors(region, made)
    elif made.protocol in WITH_PORTS:
        here, there = ("ip_source_port", "ip_destination_port") if layer.hook == "forward" else (
            ("ip_local_port", "ip_remote_port") if outbound else ("ip_remote_port", "ip_local_port"))  # fmt: skip
        ports = region.pick(here, SOURCE_PORT), region.pick(there, PORT)
        if ports[0] is None or ports[1] is None:
            return
        with_ports = dataclasses.replace(made, source_port=ports[0], destination_port=ports[1])
        yield from _tcp(region, layer, with_ports, undecided) if made.protocol == _TCP else (with_ports,)
    elif made.protocol == _ICMP[region.family]:
        names = ("ip_local_port", "ip_remote_port") if layer.hook != "forward" else ("icmp_type", "icmp_code")
        kind = region.pick(names[0], *region.corners("original_icmp_type"), _ECHO[region.family])
        code = region.pick(names[1], 0)
        if kind is not None and code is not None and max(kind, code) <= 255:
            yield dataclasses.replace(made, icmp_type=kind, icmp_code=code)
    else:
        yield made


def _tcp(region: Region, layer: Layer, made: Imagined, undecided: bool) -> Iterator[Imagined]:
    options = b""
    if (size := region.pick("tcp_mss", None)) is not None:
        options += b"\x02\x04" + size.to_bytes(2, "big")
    if (scale := region.pick("tcp_window_scale", None)) is not None:
        options += b"\x01\x03\x03" + bytes([scale])
    window = region.pick("tcp_window", 0xFAF0)
    made = dataclasses.replace(made, options=options, window=window or 0)
    hinted = [flags for flags in region.hints("tcp_flags") if flags]
    usual = [_ACK, _SYN] if layer.name.startswith("ale_flow_established") else [_SYN, _ACK]
    if layer.name.removesuffix("_discard") == "stream":  # Only data, a FIN or an RST come there.
        usual = [_FIN | _ACK]
    more = [_SYN | _ACK, _FIN | _ACK, _RST] if undecided else []
    asked = [] if "tcp_flags" not in region.where else list(region.corners("tcp_flags"))
    for flags in dict.fromkeys(found for found in (*hinted, *usual, *more, *asked) if region.takes("tcp_flags", found)):
        yield dataclasses.replace(made, flags=flags)


def _errors(region: Region, made: Imagined) -> Iterator[Imagined]:
    """ICMP errors of a packet that went out: its source is the local end."""
    kind = region.pick("icmp_type", *_ERRORS[region.family])
    code = region.pick("icmp_code", 0)
    if kind is None or code is None or max(kind, code) > 255:
        return
    local = region.address("embedded_local_address", "embedded_local_address_type", str(made.destination))
    remote = region.address("embedded_remote_address", "", str(made.source))
    known = (_UDP, _TCP, _ICMP[region.family])
    for number in known if region.takes("embedded_protocol", None) else _embedded(region, known):
        inner = Imagined(number, local, remote)
        if number in WITH_PORTS:
            ports = region.pick("embedded_local_port", SOURCE_PORT), region.pick("embedded_remote_port", PORT)
            if ports[0] is None or ports[1] is None:
                continue
            inner = dataclasses.replace(inner, source_port=ports[0], destination_port=ports[1])
        yield dataclasses.replace(made, icmp_type=kind, icmp_code=code, quoted=inner.data())


def _embedded(region: Region, known: Sequence[int]) -> list[int]:
    found = [number for number in known if region.takes("embedded_protocol", number)]
    return found or list(region.corners("embedded_protocol"))


def hints_of(
    tests: Sequence[Test], policies: tuple[Policy, Policy], family: int, where: Where | None = None
) -> dict[str, list[Any]]:
    """By field: values that may make the conditions hold that are to hold; TCP flags that do, in a region."""
    found: dict[str, list[Any]] = {}
    for condition, holds, is_new in tests:
        if not holds:
            continue
        values = found.setdefault(FIELDS[condition.field].name, [])
        for term in condition.terms:
            for atom in term.atoms[:MOST_HINTS] if not term.negate else ():
                values += _hints_of_atom(atom, policies[is_new], FIELDS[condition.field].is_address and family == 6)
    hints = {name: values[:MOST_HINTS] for name, values in found.items()}
    asked = [(condition, holds) for condition, holds, _ in tests if FIELDS[condition.field].name == "tcp_flags"]
    if asked and (flags := _flags_that_fit(asked, Region(where or {}, family))):
        hints["tcp_flags"] = flags
    return hints


def _flags_that_fit(asked: Sequence[tuple[Condition, bool]], region: Region) -> list[int]:
    """All 8 bits are few enough to look at every combination; the usual ones come first."""
    usual = (_SYN, _ACK, _SYN | _ACK, _FIN | _ACK, _RST, _RST | _ACK)
    every = (flags for flags in dict.fromkeys((*usual, *range(256))) if region.takes("tcp_flags", flags))
    return list(itertools.islice((flags for flags in every if all(
        _holds(condition, flags) == holds for condition, holds in asked)), MOST_HINTS))  # fmt: skip


def _holds(condition: Condition, value: int) -> bool:
    """Whether a condition that names no set holds for a number."""
    return any(
        any(_atom_holds(atom, value) for atom in term.atoms) is not term.negate for term in condition.terms
    )  # fmt: skip


def _atom_holds(atom: Atom, value: int) -> bool:
    if atom.op is Op.RANGE:
        return atom.low <= value <= atom.high
    found = value & atom.low
    return {Op.ALL_SET: found == atom.low, Op.ANY_SET: found != 0, Op.NONE_SET: found == 0}.get(atom.op, False)


def _hints_of_atom(atom: Atom, policy: Policy, v6: bool) -> list[Any]:
    if atom.op is Op.IN_SET:
        (found,) = (item for item in policy.sets if item.name == atom.set)
        ranges = found.ranges_v6 if v6 else found.ranges
        return [ranges[0][0]] if ranges else list(found.texts[:1])
    if atom.op in (Op.RANGE, Op.ALL_SET, Op.ANY_SET):
        return [atom.low]
    if atom.op is Op.TEXT_GLOB:
        return [atom.text.replace(b"*", b"").replace(b"?", b"x")]
    if atom.op in (Op.TEXT_STARTS, Op.TEXT_ENDS, Op.TEXT_CONTAINS, Op.TEXT_EQUAL, Op.TEXT_RANGE, Op.TEXT_EQUAL_NO_CASE):
        return [atom.text]
    return []

"""For a region of a policy diff one concrete packet, which both policies are then asked about on replay's path.

The search for a packet is a guess: fields are mapped to headers, and the few ways to fill the rest are tried in
turn.  What is said of a packet is not: it came to the layer, the values that it had there lie in the region, and
the verdicts are those that replay gave.  Where no guess comes so far, that is said.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wfpd.capture import CapturedPacket
from wfpd.dataplane import Host, Snapshot
from wfpd.explaining import FEW_FLOWS, answers_of
from wfpd.imagined import MAX_PAYLOAD, SOURCE_PORT, TTL, WITH_PORTS, Imagined
from wfpd.model.fields import TCP_FLAG_BITS
from wfpd.model.layers import BY_SLOT, Layer, slot_name, why_empty
from wfpd.model.names import ICMP_TYPES, ICMPV6_TYPES
from wfpd.model.policy import Policy
from wfpd.observe.explain import describe_packet
from wfpd.replay import Replay

MOST_TRIED = 40
"""Packets of one region."""
PORT = 33434
"""Where no port is asked for: one that nobody serves."""
_TCP, _UDP, _GRE = 6, 17, 47
_SYN, _ACK, _FIN, _RST = (TCP_FLAG_BITS[name] for name in ("syn", "ack", "fin", "rst"))
_ENDS = {4: ("192.0.2.1", "198.51.100.2"), 6: ("2001:db8::1", "2001:db8::2")}
_GROUPS = {4: ("224.0.1.1", "255.255.255.255", "0.0.0.0"), 6: ("ff0e::101", "::")}
_ICMP = {4: 1, 6: 58}
_ECHO = {4: ICMP_TYPES["echo_request"], 6: ICMPV6_TYPES["echo_request"]}
_ERRORS = {4: (3, 11, 12, 5, 4), 6: (1, 2, 3, 4)}
_BOTH_WAYS = ("ale_flow_established", "stream_packet", "datagram_data")
"""Layers that input and output feed."""
_OF_THE_HOST = "it is the host's to say"

Told = tuple[Sequence[Any], bool]
Where = Mapping[str, Told]
Document = dict[str, Any]


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


@dataclass(frozen=True, slots=True)
class _Asked:
    """What one policy makes of a packet."""

    line: Document
    action: str | None
    """At the layer: permit, block, or None where the packet does not come there."""
    values: Mapping[str, Any]


# --- what a region leaves open


class _Region:
    """A region's fields, and values that lie in it."""

    def __init__(self, where: Where, family: int) -> None:
        self.where = where
        self.family = family

    def takes(self, name: str, value: int | bytes | None) -> bool:
        return name not in self.where or inside(value, self.where[name])

    def pick(self, name: str, *preferred: int | None) -> int | None:
        """A preferred value in the region, else its lowest corner; None where only EMPTY will do."""
        for value in preferred:
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
        tried = [*known, *self.corners(name)]
        for value in tried:
            if self.takes(name, value) and self.takes(kinds, host.address_type(self.family, value)):
                return make(value)
        return make(self.pick(name, *known) or 0)

    def protocols(self) -> list[int]:
        """The ones to try: those with the most fields first."""
        known = (_TCP, _UDP, _ICMP[self.family], 132, 136, 33, _GRE, 253)
        corners = self.corners("ip_protocol")
        return list(dict.fromkeys(number for number in (*known, *corners) if self.takes("ip_protocol", number)))


# --- packets to try


def candidates(layer: Layer, where: Where, family: int, undecided: bool) -> Iterator[Candidate]:
    """Packets that may come to the layer with values in the region; the likely ones first."""
    region = _Region(where, family)
    hook = layer.hook
    if layer.name in _BOTH_WAYS and not region.takes("direction", 1):
        hook = "output"
    mark = region.pick("packet_mark", None)
    interface = region.text("interface_name")
    loops = (False, True) if "flags" in where or undecided else (False,)
    for loop, imagined in itertools.product(loops, _packets(region, layer, hook == "output", undecided)):
        hooks = ("output", "input") if loop and hook != "forward" else (hook,)
        yield Candidate(imagined, hooks, mark, interface)


def _packets(region: _Region, layer: Layer, outbound: bool, undecided: bool) -> Iterator[Imagined]:
    ends = _ends(region, layer, outbound)
    by_flags = (1, 2) if "flags" in region.where and layer.name == "inbound_ippacket" else ()
    for fragment in dict.fromkeys((region.pick("ip_fragment", 0) or 0, *by_flags)):
        for number in (_ICMP[region.family],) if "icmp_error" in layer.name else region.protocols():
            made = _with_header(region, Imagined(number, *ends, fragment=fragment))
            for filled in _filled(region, layer, made, outbound, undecided):
                yield _of_length(region, filled)


def _ends(region: _Region, layer: Layer, outbound: bool) -> tuple[Any, Any]:
    first, second = _ENDS[region.family]
    if layer.hook == "forward":
        source = region.address("ip_source_address", "", first)
        return source, region.address("ip_destination_address", "ip_destination_address_type", second)
    # A type of the destination is that of the remote end outbound.
    kinds = "ip_destination_address_type" if outbound else ""
    local = region.address("ip_local_address", "ip_local_address_type", first if outbound else second)
    remote = region.address("ip_remote_address", kinds, second if outbound else first)
    return (local, remote) if outbound else (remote, local)


def _with_header(region: _Region, made: Imagined) -> Imagined:
    dscp, ecn = region.pick("ip_dscp", 0) or 0, region.pick("ip_ecn", 0) or 0
    return dataclasses.replace(made, ttl=region.pick("ip_ttl", TTL) or 0, tos=(dscp & 63) << 2 | ecn & 3)


def _of_length(region: _Region, made: Imagined) -> Imagined:
    """With as much payload as `ip_length` asks for, up to what one packet may carry."""
    own = len(made.data())
    wanted = region.pick("ip_length", own) or own
    return dataclasses.replace(made, payload=min(max(wanted - own, 0), MAX_PAYLOAD))


def _filled(region: _Region, layer: Layer, made: Imagined, outbound: bool, undecided: bool) -> Iterator[Imagined]:
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


def _tcp(region: _Region, layer: Layer, made: Imagined, undecided: bool) -> Iterator[Imagined]:
    options = b""
    if (size := region.pick("tcp_mss", None)) is not None:
        options += b"\x02\x04" + size.to_bytes(2, "big")
    if (scale := region.pick("tcp_window_scale", None)) is not None:
        options += b"\x01\x03\x03" + bytes([scale])
    window = region.pick("tcp_window", 0xFAF0)
    made = dataclasses.replace(made, options=options, window=window or 0)
    usual = [_ACK, _SYN] if layer.name.startswith("ale_flow_established") else [_SYN, _ACK]
    more = [_SYN | _ACK, _FIN | _ACK, _RST] if undecided else []
    asked = [] if "tcp_flags" not in region.where else list(region.corners("tcp_flags"))
    for flags in dict.fromkeys(found for found in (*usual, *more, *asked) if region.takes("tcp_flags", found)):
        yield dataclasses.replace(made, flags=flags)


def _errors(region: _Region, made: Imagined) -> Iterator[Imagined]:
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


def _embedded(region: _Region, known: Sequence[int]) -> list[int]:
    found = [number for number in known if region.takes("embedded_protocol", number)]
    return found or list(region.corners("embedded_protocol"))


# --- what the policies say of them


class Witnesses:
    """Both policies, to be asked about packets.  Callouts are not called: they are taken to continue."""

    def __init__(self, policies: tuple[Policy, Policy], snapshots: tuple[Snapshot, Snapshot]) -> None:
        self._sides = tuple(zip(policies, snapshots, strict=True))

    def of(self, slot: int, old: str | None, new: str | None, where: Where) -> Document:
        """A packet in the region, what both policies decide, and whether it confirms the region; or why not."""
        layer, family = BY_SLOT[slot]
        if layer.twin:
            return _refused("a discard twin tells of a block and changes no verdict")
        lacking = [
            f"{name}: {why_empty(layer, name) or _OF_THE_HOST}" for name in where if _is_hosts(name, where[name])
        ]
        if lacking:
            return _refused(f"no packet carries {'; '.join(lacking)}")
        best: tuple[int, Document] = 0, _refused("no packet was found that comes to this layer with these values")
        undecided = old is None or new is None
        for candidate in itertools.islice(candidates(layer, where, family, undecided), MOST_TRIED):
            rank, found = self._tried(candidate, slot, (old, new), where)
            if rank > best[0]:
                best = rank, found
            if found["confirmed"]:
                break
        return best[1]

    def _tried(
        self, candidate: Candidate, slot: int, told: tuple[str | None, str | None], where: Where
    ) -> tuple[int, Document]:
        """How far the candidate came, and the document."""
        quick = [self._ask(side, candidate, slot, -1) for side in (0, 1)]
        came = [self._action(side, asked, slot) for side, asked in enumerate(quick)]
        if all(asked.action is None for asked in quick) or None in came:
            return _not_there(candidate, quick, slot)
        known = [self._ask(side, candidate, slot, 0).values for side in (0, 1)]
        values = {**known[0], **known[1]}
        apart = [name for name in where if not inside(values.get(name), where[name])]
        if apart:
            return 1, _refused(f"no packet was found with these values of {', '.join(apart)}")
        verdicts = quick[0].line["verdict"], quick[1].line["verdict"]
        if any(said not in (None, action) for said, action in zip(told, came, strict=True)):
            return 4, _document(candidate, quick, "the layer says otherwise of it: a fault of the comparison")
        if verdicts[0] != verdicts[1]:
            return 5, _document(candidate, quick, None)
        if came[0] != came[1]:
            return 3, _document(candidate, quick, f"the layer's answers differ, and {_decided(quick[0].line)}")
        return 2, _document(candidate, quick, f"both policies {verdicts[0]} the packets that were tried")

    def _action(self, side: int, asked: _Asked, slot: int) -> str | None:
        """At the layer; without filters there it permits."""
        if asked.action is None and not self._sides[side][1].layer_count(slot):
            return "permit"
        return asked.action

    def _ask(self, side: int, candidate: Candidate, slot: int, near: int) -> _Asked:
        policy, snapshot = self._sides[side]
        replay = Replay(policy, snapshot=snapshot, answers=answers_of(snapshot, {}), flows_max=FEW_FLOWS)
        line = replay.decide(candidate.packet(), near=near, mark=candidate.mark, hooks=candidate.hooks)
        for _, visit in replay.visits:
            for place, row in enumerate(visit["rows"]):
                if row[0] == slot:
                    values = visit["layers"][place]["values"] if near >= 0 else {}
                    return _Asked(line, "block" if row[1] == "block" else "permit", values)
        return _Asked(line, None, {})


def _is_hosts(name: str, told: Told) -> bool:
    """Whether a packet of itself cannot have the field, and the region wants a value of it."""
    if told[1]:
        return False
    return name not in _CARRIED


_CARRIED = frozenset(
    "ip_local_address ip_remote_address ip_source_address ip_destination_address ip_local_address_type "
    "ip_destination_address_type ip_protocol ip_local_port ip_remote_port ip_source_port ip_destination_port icmp_type "
    "icmp_code direction flags embedded_protocol embedded_remote_address embedded_local_address_type "
    "embedded_local_port embedded_remote_port reauthorize_reason ale_reauth_reason original_icmp_type ip_dscp ip_ecn "
    "ip_ttl ip_length ip_fragment tcp_flags tcp_mss tcp_window_scale tcp_window packet_mark interface_name".split()
)


def _not_there(candidate: Candidate, asked: Sequence[_Asked], slot: int) -> tuple[int, Document]:
    """The packet did not come to the layer, under one of the policies at least."""
    for one in asked:
        if one.action is None and one.line["verdict"] == "block":
            why = f"it does not come to {slot_name(slot)}: {_decided(one.line)}"
            return 2, _document(candidate, asked, why)
    return 0, _refused(f"no packet was found that comes to {slot_name(slot)}")


def _decided(line: Document) -> str:
    by = " ".join(str(line[key]) for key in ("layer", "sublayer", "filter") if line[key] is not None)
    return f"{by or line['reason']} decides: {line['verdict']}"


def _refused(why: str) -> Document:
    return {"confirmed": False, "why": why, "command": None, "packet": None}


def _document(candidate: Candidate, asked: Sequence[_Asked], why: str | None) -> Document:
    packet = candidate.packet()
    return {
        "confirmed": why is None, "why": why, "command": command(candidate),
        "packet": describe_packet(1, packet.data, len(packet.data)), "hooks": list(candidate.hooks),
        "mark": candidate.mark,
        "interface": None if candidate.interface is None else candidate.interface.decode("utf-8", "backslashreplace"),
        "old": asked[0].line["verdict"], "new": asked[1].line["verdict"],
    }  # fmt: skip


def command(candidate: Candidate) -> str | None:
    """The `wfpd explain` that describes the packet; None where it has no words for it."""
    made = candidate.imagined
    plain = Imagined(made.protocol, made.source, made.destination, made.source_port, made.destination_port, made.flags,
                     made.icmp_type, made.icmp_code, made.payload)  # fmt: skip
    name = (candidate.interface or b"").decode("utf-8", "backslashreplace")
    if made != plain or len(candidate.hooks) != 1 or not all(letter.isalnum() or letter in ".-_" for letter in name):
        return None
    parts = [f"wfpd explain --hook {candidate.hooks[0]} --proto {_PROTOCOLS.get(made.protocol, made.protocol)}"]
    for option, end, port in (
        ("--src", made.source, made.source_port),
        ("--dst", made.destination, made.destination_port),
    ):
        shown = f"[{end}]" if end.version == 6 and made.protocol in WITH_PORTS else str(end)
        parts.append(f"{option} {shown}" + (f":{port}" if made.protocol in WITH_PORTS else ""))
    if made.protocol == _TCP and made.flags != _SYN:
        names = [flag for flag, bit in TCP_FLAG_BITS.items() if made.flags & bit]
        if not names:
            return None
        parts.append(f"--flags {','.join(names)}")
    if made.protocol in _ICMP.values() and (made.icmp_type, made.icmp_code) != (_ECHO[made.source.version], 0):
        parts.append(f"--icmp {made.icmp_type}/{made.icmp_code}")
    parts += [f"--payload {made.payload}"] if made.payload else []
    parts += [f"--interface {name}"] if name else []
    parts += [f"--mark {candidate.mark:#x}"] if candidate.mark is not None else []
    return " ".join(parts)


_PROTOCOLS = {_TCP: "tcp", _UDP: "udp", 1: "icmp", 58: "icmpv6"}

"""Seeded policies and packets for benches and tests: 5-tuple filters at ipforward, and packets that try them.

Shaped after published ClassBench sets in what matters to a classifier: prefixes that share stems,
wildcards, exact and ranged ports, many overlaps.  Our own generator; nothing is copied.
"""

from __future__ import annotations

import dataclasses
import random
import uuid
from array import array
from collections.abc import Sequence

from wfpd.bench.traffic import SIZE, routable4, udp4
from wfpd.model.conditions import Atom, Condition, Op, Term
from wfpd.model.fields import FIELD
from wfpd.model.layers import LAYER
from wfpd.model.policy import Action, Filter, FilterFlag, Policy, Sublayer, default_key

FIELDS = ("ip_source_address", "ip_destination_address", "ip_source_port", "ip_destination_port", "ip_protocol")
FIELD_IDS = tuple(FIELD[name].id for name in FIELDS)
Range = tuple[int, int]
Rule = tuple[Range, Range, Range, Range, Range]
Packet = tuple[int, int, int, int, int]

PORTS = (0, 65535)
PROTOCOLS = (0, 255)
SERVICES = (20, 21, 22, 23, 25, 53, 80, 110, 123, 143, 161, 389, 443, 445, 514, 993, 1433, 1521, 3306, 3389, 5060, 8080)


@dataclasses.dataclass(frozen=True, slots=True)
class Shape:
    """How a rule set looks; shares are 0-1."""

    any_source: float
    any_destination: float
    short: float
    """Share of prefixes at most half an address long."""
    source_port: float
    exact_port: float
    any_protocol: float


SHAPES = {
    "access": Shape(0.05, 0.02, 0.10, 0.02, 0.70, 0.10),
    "firewall": Shape(0.40, 0.20, 0.15, 0.30, 0.45, 0.15),
    "chain": Shape(0.15, 0.10, 0.30, 0.15, 0.50, 0.33),
    "ports": Shape(0.70, 0.70, 1.00, 1.00, 0.00, 0.50),
}


def rules(shape: str, count: int, seed: int = 1, bits: int = 32) -> list[Rule]:
    """`count` distinct rules, the first the most important; `bits` is the address's width."""
    rng = random.Random(f"{shape} {count} {seed} {bits}")
    look = SHAPES[shape]
    stems = [rng.getrandbits(bits) for _ in range(max(4, count // 50))]
    everywhere = (0, (1 << bits) - 1)
    found: dict[Rule, None] = {}
    while len(found) < count:
        protocol = PROTOCOLS if rng.random() < look.any_protocol else (rng.choice((6, 6, 6, 17, 17, 1)),) * 2
        rule = (
            _prefix(rng, stems, bits, look.any_source, look.short),
            _prefix(rng, stems, bits, look.any_destination, look.short),
            _ports(rng, look.exact_port) if rng.random() < look.source_port else PORTS,
            _ports(rng, look.exact_port),
            protocol,
        )
        whole = (everywhere, everywhere, PORTS, PORTS, PROTOCOLS)
        # A rule that asks for next to nothing would hide all that follow.
        if sum(part != every for part, every in zip(rule, whole, strict=True)) >= 3:
            found[rule] = None
    return list(found)


def _prefix(rng: random.Random, stems: Sequence[int], bits: int, anything: float, short: float) -> Range:
    if rng.random() < anything:
        return 0, (1 << bits) - 1
    length = rng.randint(bits // 8, bits // 2) if rng.random() < short else rng.randint(bits // 2, bits)
    keep = rng.randint(bits // 4, bits)
    stem = rng.choice(stems)
    address = (stem >> (bits - keep) << (bits - keep)) | (rng.getrandbits(bits - keep) if keep < bits else 0)
    low = address >> (bits - length) << (bits - length)
    return low, low | ((1 << (bits - length)) - 1)


def _ports(rng: random.Random, exact: float) -> Range:
    if rng.random() < exact:
        return (rng.choice(SERVICES) if rng.random() < 0.7 else rng.randrange(65536),) * 2
    kind = rng.random()
    if kind < 0.5:
        return PORTS
    if kind < 0.7:
        return 1024, 65535
    low = rng.randrange(65000)
    return low, rng.randint(low, 65535)


def packets(of: Sequence[Rule], count: int, seed: int = 1) -> list[Packet]:
    """Points inside rules, at their corners, just outside of them, and anywhere."""
    rng = random.Random(f"packets {count} {seed}")
    tops = [max(rule[index][1] for rule in of) for index in range(5)]
    found: list[Packet] = []
    for _ in range(count):
        rule, kind = rng.choice(of), rng.random()
        point = [rng.randint(low, high) if kind < 0.6 else rng.choice((low, high)) for low, high in rule]
        if kind > 0.8:
            index = rng.randrange(5)
            point[index] = min(tops[index], max(0, rng.choice((rule[index][0] - 1, rule[index][1] + 1))))
        if kind > 0.92:
            point = [rng.randint(0, top) for top in tops]
        found.append((point[0], point[1], point[2], point[3], point[4]))
    return found


def policy(of: Sequence[Rule], family: int = 4, sublayers: int = 1, audit: bool = False) -> Policy:
    """The rules as filters at ipforward, dealt into `sublayers`; wildcards are left out.

    With `audit` none of them ends its sublayer.
    """
    whole = (0, (1 << (32 if family == 4 else 128)) - 1)
    spans = (whole, whole, PORTS, PORTS, PROTOCOLS)
    slot = LAYER["ipforward"].slot(family)
    ranks = tuple(
        Sublayer(f"rank{index}", default_key("file", "sublayer", f"rank{index}"), 0x9000 - index)
        for index in range(sublayers)
    )
    filters = []
    for order, rule in enumerate(of):
        conditions = tuple(
            Condition(FIELD_IDS[index], (Term((Atom(Op.RANGE, *rule[index]),)),))
            for index in range(5)
            if rule[index] != spans[index]
        )
        filters.append(
            Filter(f"r{order}", uuid.UUID(int=order), slot, f"rank{order % sublayers}", Action.PERMIT, order,
                   len(of) - order, conditions, FilterFlag.AUDIT if audit else FilterFlag(0))
        )  # fmt: skip
    return Policy(filters=tuple(filters), sublayers=ranks)


def table(of: Sequence[Packet]) -> memoryview:
    """Packets as rows of (high, low) pairs for classify_many."""
    flat = array("Q")
    for packet in of:
        for value in packet:
            flat.append(value >> 64)
            flat.append(value & 0xFFFFFFFFFFFFFFFF)
    return memoryview(flat).cast("B").cast("Q", (len(of), 10))


INPUT_FIELDS = ("ip_remote_address", "ip_local_address", "ip_remote_port", "ip_local_port", "ip_protocol")
"""FIELDS at the layers of the input hook, in the same order."""
INPUT_LAYERS = (
    "inbound_ippacket", "inbound_transport", "ale_auth_recv_accept", "ale_flow_established", "datagram_data",
)  # fmt: skip
"""The layers that a UDP packet passes at input."""


def conditions(rule: Rule, names: Sequence[str]) -> tuple[Condition, ...]:
    """The IPv4 rule's conditions on these fields ("" leaves one out); wildcards are left out."""
    whole = (0, (1 << 32) - 1)
    spans = (whole, whole, PORTS, PORTS, PROTOCOLS)
    return tuple(
        Condition(FIELD[name].id, (Term((Atom(Op.RANGE, *part),)),))
        for name, part, span in zip(names, rule, spans, strict=True)
        if name and part != span
    )


def input_policy(of: Sequence[Rule]) -> Policy:
    """The rules, IPv4, dealt to the layers of the input hook, permitting, the ports only where the layer has them."""
    filters: list[Filter] = []
    for place, layer in enumerate(INPUT_LAYERS):
        slot = LAYER[layer].slot(4)
        names = INPUT_FIELDS[:2] + ("", "", "") if layer == "inbound_ippacket" else INPUT_FIELDS
        for order, rule in enumerate(of[place :: len(INPUT_LAYERS)]):
            filters.append(
                Filter(f"{layer}{order}", uuid.UUID(int=len(filters)), slot, "rank0", Action.PERMIT, len(filters),
                       len(of) - order, conditions(rule, names))
            )  # fmt: skip
    return Policy(
        filters=tuple(filters), sublayers=(Sublayer("rank0", default_key("file", "sublayer", "rank0"), 0x9000),)
    )


def with_filter(of: Policy, action: Action, *, length: int | None = None, callout: str = "") -> Policy:
    """One more filter at ipforward_v4, in front of all others: for packets of `length` bytes, or for all."""
    tests = () if length is None else (Condition(FIELD["ip_length"].id, (Term((Atom(Op.RANGE, length, length),)),)),)
    first = Filter("first", uuid.UUID(int=1 << 64), LAYER["ipforward"].slot(4), "rank0", action, 0, len(of.filters) + 1,
                   tests, callout=callout)  # fmt: skip
    return dataclasses.replace(of, filters=(first, *of.filters))


def udp_packets(of: Sequence[Rule], count: int, flows: int, longer_every: int = 0) -> list[bytes]:
    """`count` UDP packets of `flows` conversations that try the IPv4 rules, in turns, every so many a byte longer."""
    tried = (p for p in packets(of, 20 * flows + 100) if routable4(p[0]) and routable4(p[1]))
    ends = [p[:4] for p, _ in zip(tried, range(flows), strict=False)]
    return [
        udp4(*ends[number % flows], size=SIZE + (longer_every != 0 and number % longer_every == 0))
        for number in range(count)
    ]

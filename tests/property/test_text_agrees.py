"""A policy's text and a packet's bytes, end to end: what is written holds for what is sent, in the order of weight.

Conditions are drawn as text beside a predicate written from the documentation; packets are built beside
the values they carry.  Every filter asks a callout that continues, so a packet's row lists the filters that
match it, in the order in which they are asked.
"""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment
from scapy.packet import Raw

from tests.replaying import decide

Values = dict[str, Any]
Range = tuple[int, int]

ADDRESSES = ("ip_source_address", "ip_destination_address")
V4 = ("10.0.0.1", "10.0.0.2", "10.0.1.1", "192.0.2.255", "224.0.0.1")
V6 = ("2001:db8::1", "2001:db8::2", "2001:db8:1::1", "::ffff:10.0.0.1", "ff02::1")
PREFIXES = {4: (0, 8, 24, 31), 6: (0, 16, 48, 127)}
PORTS = (1, 22, 53, 80)
# Width in bits, largest value, values that are drawn often enough to meet.
NUMBERS: dict[str, tuple[int, int, tuple[int, ...]]] = {
    "ip_ttl": (8, 255, (1, 5, 6, 7, 64, 255)),
    "ip_dscp": (8, 63, (0, 10, 46)),
    "ip_ecn": (8, 3, (0, 1, 2, 3)),
    "ip_length": (32, 0xFFFFFFFF, (20, 28, 40, 44, 60)),
    "ip_fragment": (8, 2, (0, 1, 2)),
    "tcp_mss": (16, 0xFFFF, (536, 1460)),
    "tcp_window_scale": (8, 255, (0, 7)),
    "tcp_window": (16, 0xFFFF, (0, 8192)),
    "ip_protocol": (8, 255, (1, 6, 17, 47, 58)),
    "ip_source_port": (16, 0xFFFF, PORTS),
    "ip_destination_port": (16, 0xFFFF, PORTS),
    "icmp_type": (16, 0xFFFF, (0, 3, 8, 128)),
    "icmp_code": (16, 0xFFFF, (0, 1)),
    "ip_destination_address_type": (8, 255, (1, 3)),
}
TCP_FLAGS = {name: 1 << bit for bit, name in enumerate(("fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"))}
MASKS: dict[str, Callable[[int, int], bool]] = {
    "flags_all_set": lambda value, mask: value & mask == mask,
    "flags_any_set": lambda value, mask: value & mask != 0,
    "flags_none_set": lambda value, mask: value & mask == 0,
    "equal": lambda value, mask: value == mask,
}


@dataclass(frozen=True)
class Written:
    """A condition's text, what it says of a packet, and its specificity for a family (None: not told here)."""

    text: str
    holds: Callable[[Values], bool]
    specific: Callable[[int], int | None]


def fixed(ranges: list[Range], bits: int) -> int:
    """Specificity of a list: floor(255 x (width - ceil(log2(number of values admitted))) / width)."""
    admitted, last = 0, -1
    for low, high in sorted(ranges):
        admitted += max(0, high - max(low, last + 1) + 1)
        last = max(last, high)
    return 255 * (bits - (admitted - 1).bit_length()) // bits


def address_values(rand: random.Random, family: int) -> tuple[str, Range]:
    """An address, a prefix or a range as text, and what it covers."""
    pool = V4 if family == 4 else V6
    address, other = ipaddress.ip_address(rand.choice(pool)), ipaddress.ip_address(rand.choice(pool))
    kind = rand.randrange(3)
    if kind == 0:
        return str(address), (int(address), int(address))
    if kind == 1:
        network = ipaddress.ip_network(f"{address}/{rand.choice(PREFIXES[family])}", strict=False)
        return str(network), (int(network[0]), int(network[-1]))
    low, high = sorted((address, other), key=int)
    return f"{low}-{high}", (int(low), int(high))


def address_condition(rand: random.Random, field: str) -> Written:
    covered: dict[int, list[Range]] = {4: [], 6: []}
    texts = []
    for _ in range(rand.randint(1, 3)):
        family = rand.choice((4, 6))
        text, span = address_values(rand, family)
        texts.append(f'"{text}"')
        covered[family].append(span)

    def inside(values: Values) -> bool:
        return any(low <= int(values[field]) <= high for low, high in covered[values["family"]])

    listed = f"[{', '.join(texts)}]"
    if rand.random() < 0.3:
        return Written(f"{{none_of: {listed}}}", lambda values: not inside(values), lambda family: 1)
    return Written(
        listed, inside, lambda family: fixed(covered[family], 32 if family == 4 else 128) if covered[family] else None
    )


def flags_condition(rand: random.Random) -> Written:
    names = rand.sample(sorted(TCP_FLAGS), rand.randint(1, 2))
    mask = sum(TCP_FLAGS[name] for name in names)
    match = rand.choice(sorted(MASKS))
    specific = 255 if match == "equal" else 255 * len(names) // 8

    def holds(values: Values) -> bool:
        return "tcp_flags" in values and MASKS[match](values["tcp_flags"], mask)

    listed = f"[{', '.join(names)}]"
    text = listed if match == "equal" and rand.random() < 0.5 else f"{{{match}: {listed}}}"
    return Written(text, holds, lambda family: specific)


def ordered_condition(rand: random.Random, field: str) -> Written:
    bits, top, pool = NUMBERS[field]
    value = rand.choice(pool)
    match = rand.choice(("greater", "less", "greater_or_equal", "less_or_equal"))
    low, high = {"greater": (value + 1, top), "less": (0, value - 1), "greater_or_equal": (value, top),
                 "less_or_equal": (0, value)}[match]  # fmt: skip
    return Written(
        f"{{{match}: {value}}}",
        lambda values: field in values and low <= values[field] <= high,
        lambda family: fixed([(low, high)], bits) if low <= high else None,
    )


def number_condition(rand: random.Random, field: str) -> Written:
    bits, _, pool = NUMBERS[field]
    ranges = [tuple(sorted((rand.choice(pool), rand.choice(pool)))) for _ in range(rand.randint(1, 3))]
    texts = [hex(low) if low == high else f"{low}-{high}" for low, high in ranges]
    listed = ", ".join(texts)

    def inside(values: Values) -> bool:
        return any(low <= values[field] <= high for low, high in ranges)

    kind = rand.randrange(6)
    if kind == 0:
        return Written("{equal: empty}", lambda values: field not in values, lambda family: None)
    if kind == 1:
        value = rand.choice(pool)
        return Written(f"{{not_equal: {value}}}", lambda v: field in v and v[field] != value, lambda family: 1)
    if kind == 2:
        return Written(f"{{none_of: [{listed}]}}", lambda v: field in v and not inside(v), lambda family: 1)
    if kind == 3:
        return Written(f"[{listed}, {{equal: empty}}]", lambda v: field not in v or inside(v), lambda family: None)
    if kind == 4:
        return ordered_condition(rand, field)
    return Written(f"[{listed}]", lambda v: field in v and inside(v), lambda family: fixed(ranges, bits))


def condition(rand: random.Random, field: str) -> Written:
    if field in ADDRESSES:
        return address_condition(rand, field)
    return flags_condition(rand) if field == "tcp_flags" else number_condition(rand, field)


def upper_layer(rand: random.Random, values: Values) -> Any:
    """What follows the IP header; its fields are noted in `values`."""
    kind = rand.choice(("tcp", "tcp", "udp", "icmp", "gre", "later"))
    if kind in ("tcp", "udp"):
        source, destination = rand.choice(PORTS), rand.choice(PORTS)
        values.update(ip_source_port=source, ip_destination_port=destination)
    if kind == "tcp":
        values.update(ip_protocol=6, tcp_flags=rand.randrange(256), tcp_window=rand.choice((0, 8192)))
        options: list[tuple[str, int]] = []
        for name, option, pool in (("tcp_mss", "MSS", (536, 1460)), ("tcp_window_scale", "WScale", (0, 7))):
            if rand.random() < 0.5:
                values[name] = rand.choice(pool)
                options.append((option, values[name]))
        return TCP(sport=source, dport=destination, flags=values["tcp_flags"], window=values["tcp_window"],
                   options=options)  # fmt: skip
    if kind == "udp":
        values["ip_protocol"] = 17
        return UDP(sport=source, dport=destination)
    if kind == "icmp":
        values.update(ip_protocol=1 if values["family"] == 4 else 58, icmp_type=rand.choice((0, 3, 8, 128)),
                      icmp_code=rand.choice((0, 1)))  # fmt: skip
        return Raw(bytes((values["icmp_type"], values["icmp_code"])) + bytes(6))
    values.update(ip_protocol=47 if kind == "gre" else 17, ip_fragment=0 if kind == "gre" else 2)
    return Raw(bytes(8))


def packet(rand: random.Random) -> tuple[bytes, Values]:
    """A packet and the values of its fields; a field that is not named is EMPTY."""
    family = rand.choice((4, 6))
    pool = V4 if family == 4 else V6
    source, destination = rand.choice(pool[:-1]), rand.choice(pool)
    values: Values = {"family": family, "ip_ttl": rand.choice(NUMBERS["ip_ttl"][2]), "ip_fragment": 0,
                      "ip_dscp": rand.choice((0, 10, 46)), "ip_ecn": rand.randrange(4)}  # fmt: skip
    values["ip_source_address"] = ipaddress.ip_address(source)
    values["ip_destination_address"] = ipaddress.ip_address(destination)
    values["ip_destination_address_type"] = 3 if values["ip_destination_address"].is_multicast else 1
    inner = upper_layer(rand, values)
    traffic_class, later = values["ip_dscp"] << 2 | values["ip_ecn"], values["ip_fragment"] == 2
    if family == 4:
        head = IP(src=source, dst=destination, ttl=values["ip_ttl"], tos=traffic_class, proto=values["ip_protocol"],
                  frag=5 if later else 0)  # fmt: skip
    else:
        head = IPv6(src=source, dst=destination, hlim=values["ip_ttl"], tc=traffic_class, nh=values["ip_protocol"])
        if later:
            head = IPv6(src=source, dst=destination, hlim=values["ip_ttl"], tc=traffic_class) / IPv6ExtHdrFragment(
                offset=5, nh=17
            )
    data = bytes(head / inner)
    values["ip_length"] = len(data)
    return data, values


@dataclass(frozen=True)
class Drawn:
    """One filter of the policy."""

    name: str
    conditions: dict[str, Written]
    range: int | None
    exact: int | None

    def text(self) -> str:
        weight = {} if self.range is None else {"weight": f"{{range: {self.range}}}"}
        if self.exact is not None:
            weight = {"weight": str(self.exact)}
        members = {"name": self.name, "layer": "ipforward", "action": f"{{callout: {self.name}}}"} | weight
        lines = [f"    {key}: {value}" for key, value in members.items()]
        if self.conditions:
            lines += ["    when:", *(f"      {field}: {one.text}" for field, one in self.conditions.items())]
        return "  -" + "\n".join(lines)[3:] + "\n"

    def weight(self, family: int) -> int | None:
        """64 bits, as the documentation of the policy file computes them."""
        if self.exact is not None:
            return self.exact
        parts = [one.specific(family) for one in self.conditions.values()]
        if None in parts:
            return None
        low = min(len(parts), 15) << 56 | min(sum(part or 0 for part in parts), 0xFFFF) << 40
        return (self.range or 0) << 60 | low


def draw(rand: random.Random, name: str) -> Drawn:
    fields = rand.sample([*NUMBERS, *ADDRESSES, "tcp_flags"], rand.choice((0, 1, 1, 2, 2, 3)))
    kind = rand.random()
    return Drawn(
        name,
        {field: condition(rand, field) for field in fields},
        rand.randrange(16) if kind < 0.25 else None,
        rand.choice((7, 1 << 60, (1 << 60) + 5, (1 << 64) - 1)) if kind > 0.85 else None,
    )


@pytest.mark.parametrize("seed", range(60))
def test_what_is_written_holds_for_what_is_sent_in_the_order_of_weight(seed: int) -> None:
    rand = random.Random(seed)
    drawn = [draw(rand, f"f{number}") for number in range(rand.randint(2, 9))]
    use = "use: 'wfpd.callouts.fixed:Fixed', options: {answer: continue}"
    callouts = "".join(f"  - {{name: {one.name}, {use}}}\n" for one in drawn)
    text = f"version: 1\ncallouts:\n{callouts}filters:\n" + "".join(one.text() for one in drawn)
    packets = [packet(rand) for _ in range(8)]
    packets += rand.sample(packets, 4)
    for (_, values), result in zip(packets, decide(text, [data for data, _ in packets]), strict=True):
        (row,) = result["layers"]
        matching = [one for one in drawn if all(each.holds(values) for each in one.conditions.values())]
        assert sorted(row["callouts"]) == sorted(one.name for one in matching), (text, values)
        weights = {one.name: one.weight(values["family"]) for one in matching}
        if None not in weights.values():
            by_weight = sorted(weights, key=lambda name: -(weights[name] or 0))  # Stable: ties in file order.
            assert row["callouts"] == by_weight, (text, weights)

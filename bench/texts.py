"""Generated policies and set files as a person or a program would write them."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address

from bench.workloads import FIELDS, PORTS, PROTOCOLS, Range, Rule

WORDS = {1: "icmp", 6: "tcp", 17: "udp"}


def _address(span: Range, bits: int) -> str:
    kind = IPv4Address if bits == 32 else IPv6Address
    return f"{kind(span[0])}/{bits - (span[1] - span[0]).bit_length()}"


def _numbers(span: Range) -> int | str:
    return span[0] if span[0] == span[1] else f"{span[0]}-{span[1]}"


def _filter(rule: Rule, order: int, count: int, bits: int) -> dict[str, object]:
    whole = (0, (1 << bits) - 1)
    when: dict[str, object] = {}
    for name, span, every in zip(FIELDS, rule, (whole, whole, PORTS, PORTS, PROTOCOLS), strict=True):
        if span == every:
            continue
        if "address" in name:
            when[name] = _address(span, bits)
        elif name == "ip_protocol":
            when[name] = WORDS[span[0]]
        else:
            when[name] = _numbers(span)
    return {
        "name": f"rule-{order}",
        "layer": "ipforward_v4" if bits == 32 else "ipforward_v6",
        "sublayer": "perimeter",
        "weight": (1 << 61) + count - order,
        "action": "block" if order % 3 else "permit",
        "when": when,
    }


def policy_json(of: Sequence[Rule], bits: int = 32) -> str:
    """The rules as filters, in JSON."""
    filters = [_filter(rule, order, len(of), bits) for order, rule in enumerate(of)]
    return json.dumps({"version": 1, "sublayers": [{"name": "perimeter", "weight": 0x9000}], "filters": filters})


def policy_yaml(of: Sequence[Rule], bits: int = 32) -> str:
    """The rules as filters, in YAML, a line for each condition."""
    lines = ["version: 1", "sublayers:", "  - {name: perimeter, weight: 0x9000}", "filters:"]
    for order, rule in enumerate(of):
        item = _filter(rule, order, len(of), bits)
        when = item.pop("when")
        assert isinstance(when, dict)
        lines += [f"  {' ' if number else '-'} {key}: {value}" for number, (key, value) in enumerate(item.items())]
        lines += ["    when:", *(f"      {key}: {_quoted(value)}" for key, value in when.items())]
    return "\n".join(lines) + "\n"


def _quoted(value: object) -> object:
    return f'"{value}"' if str(value).startswith(":") else value


def set_text(count: int, bits: int = 32, seed: int = 1) -> str:
    """`count` addresses, one a line."""
    rng = random.Random(f"set {count} {bits} {seed}")
    kind = IPv4Address if bits == 32 else IPv6Address
    return "".join(f"{kind(rng.getrandbits(bits))}\n" for _ in range(count))


def set_policy() -> str:
    """A policy that uses the set file `values.txt`."""
    return (
        "version: 1\nsets:\n  listed: {type: address, file: values.txt}\nfilters:\n"
        "  - {name: one, layer: ipforward, action: block, when: {ip_source_address: $listed}}\n"
    )

"""Reads rule sets in ClassBench's text format (D. Taylor, J. Turner, "ClassBench: A Packet Classification Benchmark").

A set is `NAME.rules` or `NAME.rules.gz`: one rule a line, the first the most important, fields separated by tabs:
`@source/length`, `destination/length`, `low : high` source ports, destination ports, `0xPP/0xMM` protocol.  Beside it
may be `NAME.trace` (packets: source, destination, ports, protocol, index of the first matching rule or -1) and
`NAME.exp4` (the same for four sublayers, rule i in sublayer i modulo 4), both with or without `.gz`.
"""

from __future__ import annotations

import gzip
from pathlib import Path

from bench.workloads import PROTOCOLS, Packet, Rule


def sets(directory: Path) -> list[Path]:
    """The rule sets of a directory, by name."""
    return sorted([*directory.glob("*.rules"), *directory.glob("*.rules.gz")])


def name(path: Path) -> str:
    """A rule set's name."""
    return path.name.removesuffix(".gz").removesuffix(".rules")


def rules(path: Path) -> list[Rule]:
    """The rules of a set; host bits below a prefix are masked off."""
    found: list[Rule] = []
    for line in _lines(path):
        source, destination, first, second, protocol = line.strip().split("\t")[:5]
        value, mask = (int(part, 16) for part in protocol.split("/"))
        found.append(
            (
                _address(source),
                _address(destination),
                _ports(first),
                _ports(second),
                (value, value) if mask else PROTOCOLS,
            )
        )
    return found


def trace(path: Path) -> list[tuple[Packet, int]]:
    """The packets beside a set, with their expected rule; none if there is no trace."""
    numbers = [[int(part) for part in line.split()] for line in _beside(path, "trace")]
    return [((one, two, three, four, five), rule) for one, two, three, four, five, rule in numbers]


def expected_of_four(path: Path) -> list[list[int]]:
    """Expected rules in four sublayers, packet by packet as in the trace."""
    return [[int(part) for part in line.split()] for line in _beside(path, "exp4")]


def _lines(path: Path) -> list[str]:
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        return [line for line in file.read().splitlines() if line.strip()]


def _beside(path: Path, kind: str) -> list[str]:
    for suffix in (f".{kind}.gz", f".{kind}"):
        other = path.with_name(name(path) + suffix)
        if other.exists():
            return _lines(other)
    return []


def _address(text: str) -> tuple[int, int]:
    dotted, length = text.lstrip("@").split("/")
    value = int.from_bytes(bytes(int(part) for part in dotted.split(".")), "big")
    mask = (1 << (32 - int(length))) - 1
    return value & ~mask, value | mask


def _ports(text: str) -> tuple[int, int]:
    low, high = text.split(":")
    return int(low), int(high)

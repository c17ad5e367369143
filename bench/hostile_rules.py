"""Seeded rule sets that are hard for one kind of classifier or another, and packets to go with them.

`masks`: nearly every rule has its own combination of prefix lengths.  `ranges`: short prefixes or none, port ranges
that overlap at both ends.  `nests`: prefixes within prefixes, each a bit longer.  `same`: rules that nothing separates.
"""

from __future__ import annotations

import random

from bench.workloads import PORTS, PROTOCOLS, Range, Rule

KINDS = ("masks", "ranges", "nests", "same")
ANY = (0, 2**32 - 1)


def rules(kind: str, count: int, seed: int = 1) -> list[Rule]:
    """`count` rules, the first the most important."""
    rng = random.Random(f"{kind} {count} {seed}")
    make = {"masks": _masks, "ranges": _ranges, "nests": _nests, "same": _same}[kind]
    return [make(rng, index) for index in range(count)]


def prefix(rng: random.Random, length: int) -> Range:
    """A random prefix of so many bits."""
    low = rng.getrandbits(32) >> (32 - length) << (32 - length) if length else 0
    return low, low | ((1 << (32 - length)) - 1)


def _span(rng: random.Random) -> Range:
    """A range of ports, as often narrow as wide."""
    low = rng.randrange(65536)
    return low, min(65535, low + int(2 ** (rng.random() * 13)))


def _masks(rng: random.Random, index: int) -> Rule:
    ports = (PORTS, (rng.randrange(65536),) * 2, (1024, 65535), (0, 1023))
    protocol = rng.choice((PROTOCOLS, (6, 6), (17, 17)))
    return (
        prefix(rng, rng.randint(0, 32)),
        prefix(rng, rng.randint(4, 32)),
        rng.choice(ports),
        rng.choice(ports),
        protocol,
    )


def _ranges(rng: random.Random, index: int) -> Rule:
    protocol = rng.choice((PROTOCOLS, (6, 6), (17, 17)))
    return (
        prefix(rng, rng.choice((0, 0, 0, 1, 2))),
        prefix(rng, rng.choice((0, 0, 1, 3))),
        _span(rng),
        _span(rng),
        protocol,
    )


def _nests(rng: random.Random, index: int) -> Rule:
    """Address 10.x.y.z seen through prefixes of every length, the longest first."""
    stem = random.Random(index % 64).getrandbits(32)
    length = 32 - index // 64 % 33
    low = stem >> (32 - length) << (32 - length) if length else 0
    return (low, low | ((1 << (32 - length)) - 1)), prefix(rng, 32 - length // 2), PORTS, _span(rng), (6, 6)


def _same(rng: random.Random, index: int) -> Rule:
    return ANY, ANY, (1000, 2000), PORTS, (6, 6)

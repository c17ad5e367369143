"""A filter with a large set against one with a small set of the same shape.

    python -m bench.bench_sets [--small 1000] [--large 100000] [--packets 20000] [--rounds 40] [--json]

One filter at one layer that names the set, so all that differs is the set.  "spread" are addresses from anywhere;
"clumped" are those of a few networks, 250 of each, close to each other; "nested" are what suits equal parts worst:
crowds within crowds, each a sixteenth as wide as the one around it.  Texts are host names.  Packets hold members of
the set, values right beside one, or one or the other at random.  Nanoseconds are of one classification, CPU time of
the thread; both sets take turns, round by round.  They are those that a tenth of the rounds stay below: a large
set lives in caches that other programs of the machine use too, so the median of the rounds' ratios
stands beside.  Bytes are of ranges, or texts without letters, and of everything that leads to them.
"""

from __future__ import annotations

import argparse
import mmap
import random
import statistics
import sys
import tempfile
import uuid
from array import array
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.report import Table, main, settings
from wfpd.compiler.pack import pack
from wfpd.dataplane import Snapshot
from wfpd.dataplane._probe import classify_many, set_bytes
from wfpd.model.conditions import Atom, Condition, Op, Term
from wfpd.model.fields import FIELD
from wfpd.model.layers import LAYER
from wfpd.model.policy import Action, Filter, Policy, Sublayer, ValueSet, Word, default_key

LAYER_NAME, ADDRESS, TEXT = "ipforward", "ip_source_address", "interface_name"
CLUMP = 250
WORD = 0xFFFFFFFFFFFFFFFF


def spread(rng: random.Random, count: int, bits: int) -> set[int]:
    """Anywhere."""
    found: set[int] = set()
    while len(found) < count:
        found.add(rng.getrandbits(bits))
    return found


def clumped(rng: random.Random, count: int, bits: int) -> set[int]:
    """Networks of 2 ** 11 addresses; of IPv6 they share the first 16 bits, and begin at interface 0."""
    found: set[int] = set()
    for _ in range(count // CLUMP):
        net = rng.getrandbits(21) << 11 if bits == 32 else 0x2A01 << 112 | rng.getrandbits(48) << 64
        members: set[int] = set()
        while len(members) < CLUMP:
            members.add(net | rng.getrandbits(11))
        found |= members
    return found


def nested(rng: random.Random, count: int, bits: int) -> set[int]:
    """Crowds at 0, each a sixteenth as wide as the one around it."""
    found: set[int] = set()
    width = bits
    while len(found) < count:
        wanted = min(count - len(found), max(16, count >> (bits - width + 1) // 4 + 1))
        for _ in range(2 * wanted):
            found.add(rng.getrandbits(width))
        width = width - 4 if width > 24 else bits
    return set(rng.sample(sorted(found), count))


SHAPES: dict[str, Callable[[random.Random, int, int], set[int]]] = {
    "spread": spread, "clumped": clumped, "nested": nested,
}  # fmt: skip


@dataclass
class Case:
    """A set in a policy, and what to ask of it."""

    taken: Snapshot
    slot: int
    field: int
    values: dict[str, Sequence[int]]
    """By traffic."""
    texts: Sequence[bytes] = ()

    def ask(self, traffic: str, rounds: int = 1) -> float:
        """Nanoseconds a packet."""
        rows = array("Q", [word for value in self.values[traffic] for word in (value >> 64, value & WORD)])
        table = memoryview(rows).cast("B").cast("Q", (len(self.values[traffic]), 2))
        found: float = classify_many(self.taken, self.slot, [self.field], table, rounds, self.texts)
        return found


def _policy(of: ValueSet, field: str, family: int) -> Snapshot:
    test = Condition(FIELD[field].id, (Term((Atom(Op.IN_SET, set=of.name),)),))
    one = Filter("one", uuid.UUID(int=1), LAYER[LAYER_NAME].slot(family), "rank0", Action.BLOCK, 0, 1, (test,))
    rank = Sublayer("rank0", default_key("file", "sublayer", "rank0"), 0x9000)
    packed = pack(Policy(filters=(one,), sublayers=(rank,), sets=(of,)))
    with tempfile.TemporaryFile() as file:  # A map begins at a page, as the daemon's does.
        file.write(packed)
        file.flush()
        mapped = memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ, flags=mmap.MAP_PRIVATE))
    return Snapshot(mapped, [], generation=1, on_error=Word.PERMIT, on_malformed=Word.PERMIT,
                    on_late=Word.PERMIT, flows_full=Word.PERMIT)  # fmt: skip


def _traffic(rng: random.Random, hits: Sequence[int], misses: Sequence[int], packets: int) -> dict[str, Sequence[int]]:
    hit, miss = (rng.choices(of, k=packets) for of in (hits, misses))
    return {"hits": hit, "misses": miss, "both": [rng.choice(pair) for pair in zip(hit, miss, strict=True)]}


def addresses(shape: str, count: int, bits: int, packets: int) -> Case:
    """A set of addresses."""
    rng = random.Random(f"{shape} {count} {bits}")
    members = SHAPES[shape](rng, count, bits)
    ranges: list[tuple[int, int]] = []
    for value in sorted(members):
        if ranges and ranges[-1][1] == value - 1:
            ranges[-1] = ranges[-1][0], value
        else:
            ranges.append((value, value))
    beside = [high + 1 for _, high in ranges[:-1]]
    family, of = (4, ValueSet("s", "address", ranges)) if bits == 32 else (6, ValueSet("s", "address", (), ranges))
    lows = [low for low, _ in ranges]
    assert not any(ranges[bisect_right(lows, value) - 1][1] >= value for value in beside[:1000])
    return Case(_policy(of, ADDRESS, family), LAYER[LAYER_NAME].slot(family), FIELD[ADDRESS].id,
                _traffic(rng, sorted(members), beside, packets))  # fmt: skip


def names(count: int, packets: int) -> Case:
    """A set of texts."""
    rng = random.Random(count)
    known = [b"host%d.zone%d.example.org" % (number, number % 97) for number in range(2 * count)]
    of = ValueSet("s", "text", texts=tuple(sorted(known[::2])))
    return Case(_policy(of, TEXT, 4), LAYER[LAYER_NAME].slot(4), FIELD[TEXT].id,
                _traffic(rng, range(0, 2 * count, 2), range(1, 2 * count, 2), packets), known)  # fmt: skip


def compare(table: Table, name: str, small: Case, large: Case, entries: int, rounds: int) -> None:
    """A row for each traffic."""
    for traffic in small.values:
        pairs = [(small.ask(traffic, 2), large.ask(traffic, 2)) for _ in range(rounds)]
        quick = [sorted(side)[rounds // 10] for side in zip(*pairs, strict=True)]
        table.add(f"{name}, {traffic}", *quick, quick[1] / quick[0], statistics.median(b / a for a, b in pairs),
                  set_bytes(large.taken) / entries)  # fmt: skip


def bench(given: argparse.Namespace) -> list[Table]:
    """One table."""
    assert __doc__ is not None
    table = Table("Large sets", __doc__.rpartition("\n\n")[2].strip(),
                  ["", f"{given.small:,}: ns", f"{given.large:,}: ns", "ratio", "median ratio",
                   "bytes an entry"])  # fmt: skip
    for bits in (32, 128):
        for shape in SHAPES:
            cases = (addresses(shape, count, bits, given.packets) for count in (given.small, given.large))
            compare(table, f"{'IPv4' if bits == 32 else 'IPv6'} {shape}", *cases, given.large, given.rounds)
    compare(table, "texts", names(given.small, given.packets), names(given.large, given.packets), given.large,
            given.rounds)  # fmt: skip
    return [table]


def arguments() -> argparse.ArgumentParser:
    """Its options."""
    return settings("bench_sets", __doc__, small=1000, large=100_000, packets=20_000, rounds=40)


if __name__ == "__main__":
    sys.exit(main(arguments(), bench))

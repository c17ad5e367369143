"""Seeded filters shaped like those of a Windows host, at ale_auth_connect: applications, users, ports, address lists.

Six of ten filters name an application, few of them often; a third names remote addresses, of these every third as a
list; many name no address at all, so that many wide filters match each packet.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Sequence

from bench.workloads import PORTS, SERVICES, Range
from wfpd.model.conditions import Atom, Condition, Op, Term
from wfpd.model.fields import FIELD
from wfpd.model.layers import LAYER
from wfpd.model.policy import Action, Filter, Policy, Sublayer, default_key

FIELDS = (
    "ale_app_id", "ale_user_id", "ip_remote_address", "ip_local_address", "ip_local_port", "ip_remote_port",
    "ip_protocol", "ip_local_interface",
)  # fmt: skip
FIELD_IDS = tuple(FIELD[name].id for name in FIELDS)
TEXT_FIELDS = ("ale_app_id", "ale_user_id")
ApplicationRule = dict[str, tuple[Range, ...]]
"""Alternatives by field; of a text field indexes in `texts`."""
LAYER_NAME = "ale_auth_connect"
USERS = 40


def applications(count: int) -> int:
    """How many applications `count` filters name."""
    return max(8, count // 25)


def texts(count: int) -> list[bytes]:
    """Paths of the applications, then names of the users."""
    paths = [f"\\device\\harddiskvolume3\\program files\\vendor {index % 97}\\product {index}\\app.exe".encode()
             for index in range(applications(count))]  # fmt: skip
    return paths + [f"S-1-5-21-1004336348-1177238915-682003330-{1000 + index}".encode() for index in range(USERS)]


def rules(count: int, seed: int = 1, bits: int = 32) -> list[ApplicationRule]:
    """`count` distinct rules, the first the most important; `bits` is the address's width."""
    rng = random.Random(f"applications {count} {seed} {bits}")
    found: dict[tuple[object, ...], ApplicationRule] = {}
    stems = [rng.getrandbits(bits) for _ in range(max(8, count // 100))]
    while len(found) < count:
        rule = _rule(rng, applications(count), stems, bits)
        if len(rule) > 1:
            found.setdefault(tuple(rule.items()), rule)
    # As automatic weights do: what names more fields is the more important, by and large.
    return sorted(found.values(), key=lambda rule: 2 * rng.random() - len(rule))


def _rule(rng: random.Random, n_applications: int, stems: Sequence[int], bits: int) -> ApplicationRule:
    rule: ApplicationRule = {}
    if rng.random() < 0.60:
        # Popularity falls as one over the rank.
        index = min(n_applications - 1, int(n_applications ** rng.random()) - 1)
        rule["ale_app_id"] = ((index, index),)
    if rng.random() < 0.08:
        user = n_applications + rng.randrange(USERS)
        rule["ale_user_id"] = ((user, user),)
    if rng.random() < 0.35:
        n = rng.randint(2, 6) if rng.random() < 0.30 else 1
        rule["ip_remote_address"] = _disjoint([_addresses(rng, stems, bits) for _ in range(n)])
    if rng.random() < 0.05:
        rule["ip_local_address"] = (_addresses(rng, stems, bits),)
    if rng.random() < 0.38:
        n = rng.randint(2, 5) if rng.random() < 0.15 else 1
        rule["ip_local_port"] = _disjoint([_ports(rng) for _ in range(n)])
    if rng.random() < 0.23:
        rule["ip_remote_port"] = (_ports(rng),)
    if rng.random() < 0.80:
        rule["ip_protocol"] = ((rng.choice((6, 6, 6, 17, 17, 1)),) * 2,)
    if rng.random() < 0.10:
        rule["ip_local_interface"] = ((rng.randint(1, 12),) * 2,)
    return rule


def _addresses(rng: random.Random, stems: Sequence[int], bits: int) -> Range:
    stem = rng.choice(stems) ^ (rng.getrandbits(bits // 4) << rng.randrange(bits // 2))
    length = rng.randint(bits // 4, bits)
    low = stem >> (bits - length) << (bits - length)
    return low, low | ((1 << (bits - length)) - 1)


def _ports(rng: random.Random) -> Range:
    kind = rng.random()
    if kind < 0.75:
        return (rng.choice(SERVICES) if rng.random() < 0.5 else rng.randrange(65536),) * 2
    if kind < 0.85:
        return 1024, 65535
    low = rng.randrange(65000)
    return low, min(65535, low + rng.randrange(2000))


def _disjoint(ranges: list[Range]) -> tuple[Range, ...]:
    """Those that overlap no earlier one, ascending."""
    kept: list[Range] = []
    for low, high in ranges:
        if all(high < other[0] or low > other[1] for other in kept):
            kept.append((low, high))
    return tuple(sorted(kept))


def top(field: str, bits: int) -> int:
    """The largest value that a packet here has."""
    return {"ip_remote_address": 2**bits - 1, "ip_local_address": 2**bits - 1, "ip_local_port": PORTS[1],
            "ip_remote_port": PORTS[1], "ip_protocol": 255, "ip_local_interface": 12}[field]  # fmt: skip


def packets(
    of: Sequence[ApplicationRule], count: int, n_filters: int, seed: int = 1, bits: int = 32
) -> list[list[int]]:
    """Points inside rules with the rest at random, some of them moved in one field; by the order of FIELDS."""
    rng = random.Random(f"application packets {count} {seed}")
    n_applications = applications(n_filters)
    found = []
    for _ in range(count):
        rule = rng.choice(of)
        point = [int(n_applications ** rng.random()) - 1, n_applications + rng.randrange(USERS)]
        point += [rng.randint(0, top(name, bits)) for name in FIELDS[2:]]
        point[6] = rng.choice((6, 6, 17, 1))
        for index, name in enumerate(FIELDS):
            if name in rule and rng.random() < 0.97:
                low, high = rng.choice(rule[name])
                point[index] = rng.choice((low, high, rng.randint(low, high)))
        found.append(point)
    return found


def policy(of: Sequence[ApplicationRule], n_filters: int, family: int = 4, sublayers: int = 1) -> Policy:
    """The rules as filters, dealt into `sublayers`."""
    known = texts(n_filters)
    slot = LAYER[LAYER_NAME].slot(family)
    ranks = tuple(
        Sublayer(f"rank{index}", default_key("file", "sublayer", f"rank{index}"), 0x9000 - index)
        for index in range(sublayers)
    )
    filters = tuple(
        Filter(f"r{order}", uuid.UUID(int=order), slot, f"rank{order % sublayers}", Action.PERMIT, order,
               len(of) - order, tuple(_condition(name, rule[name], known) for name in rule))
        for order, rule in enumerate(of)
    )  # fmt: skip
    return Policy(filters=filters, sublayers=ranks)


def _condition(name: str, ranges: Sequence[Range], known: Sequence[bytes]) -> Condition:
    if name in TEXT_FIELDS:
        atoms = tuple(Atom(Op.TEXT_EQUAL, text=known[low]) for low, _ in ranges)
    else:
        atoms = tuple(Atom(Op.RANGE, *span) for span in ranges)
    return Condition(FIELD[name].id, (Term(atoms),))

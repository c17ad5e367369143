"""The decision cache: the classifier's own answers, exact counts, and never a callout's."""

from __future__ import annotations

import random
from array import array
from collections import Counter

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.builders import (
    FIELDS_DRAWN,
    a_filter,
    a_policy,
    callout,
    equal,
    field_values,
    policies,
    slot,
    snapshot,
    sublayer,
    when,
    within,
)  # fmt: skip
from wfpd.dataplane import Flows, Replayer
from wfpd.dataplane._cache import CacheDoor
from wfpd.model.conditions import Atom, Condition, Op, Term
from wfpd.model.fields import FIELD
from wfpd.model.policy import Action, FilterFlag

PORTS = ("ip_source_port", "ip_destination_port")
IDS = [FIELD[name].id for name in PORTS]


def table(rows):
    """Rows of (high, low) for each field, as the door takes them."""
    flat = array("Q", [word for row in rows for value in row for word in (value >> 64, value & (2**64 - 1))])
    return memoryview(flat).cast("B").cast("Q", (len(rows), 2 * len(rows[0])))


def port_policy(count=40):
    return snapshot(a_policy([
        a_filter(f"f{n}", Action.BLOCK if n % 3 else Action.PERMIT, when(PORTS[n % 2], within(n, n + 5)))
        for n in range(count)
    ]))  # fmt: skip


def test_a_question_asked_again_is_answered_from_the_cache():
    door, taken = CacheDoor(), port_policy()
    rows = table([(n % 50, n % 7) for n in range(350)])
    first = door.decide_many(taken, slot(), IDS, rows)
    assert door.counts == {"hits": 0, "misses": 350}
    assert door.decide_many(taken, slot(), IDS, rows) == first
    assert sum(door.counts.values()) == 700
    assert door.counts["hits"] > 340  # Of three questions in one set of two one is asked in vain.
    assert first == door.decide_many(taken, slot(), IDS, rows, cached=False)


def test_the_answers_of_an_older_policy_are_never_given():
    door, rows = CacheDoor(), table([(3, 3)])
    filters = [a_filter(f"f{n}", Action.BLOCK, when(PORTS[0], equal(n))) for n in range(20)]
    first, second = snapshot(a_policy(filters), generation=1), snapshot(a_policy(filters[4:]), generation=2)
    assert door.decide_many(first, slot(), IDS, rows)[0][0] == "block"
    assert door.decide_many(second, slot(), IDS, rows)[0][0] == "none"
    assert door.counts == {"hits": 0, "misses": 2}


def test_an_absent_value_is_another_question_than_zero():
    door = CacheDoor(min_filters=1)
    empty = Condition(FIELD[PORTS[0]].id, (Term((Atom(Op.EMPTY),)),))
    taken = snapshot(
        a_policy([a_filter("none", Action.BLOCK, empty), a_filter("far", Action.PERMIT, when(PORTS[1], equal(1)))])
    )
    with_zero, without = table([(0, 1)]), table([(1,)])
    for _ in range(2):
        assert door.decide_many(taken, slot(), IDS, with_zero)[0][0] == "permit"
        assert door.decide_many(taken, slot(), IDS[1:], without)[0][0] == "block"
    assert door.counts == {"hits": 2, "misses": 2}


def test_a_decision_that_called_a_callout_is_never_kept():
    calls = []
    inspect = a_filter("inspect", Action.CALLOUT_INSPECTION, when(PORTS[0], equal(7)), callout="c", weight=9)
    filters = [inspect, *(a_filter(f"f{n}", Action.BLOCK, when(PORTS[0], equal(n))) for n in range(20))]
    taken = snapshot(a_policy(filters, callouts=[callout("c")]), [calls.append])
    packet = bytes.fromhex("4500001c000000004011000001020304050607080007001600080000")
    replayer = Replayer(taken, Flows(64, False))
    results = [replayer.visit(packet, "forward", 0) for _ in range(3)]
    assert [result["rows"][0][4] for result in results] == [("c",)] * 3
    assert len(calls) == 3
    assert [result["verdict"] for result in results] == ["block"] * 3


def test_a_layer_that_names_a_text_is_searched_every_time():
    door = CacheDoor(min_filters=1)
    text = Condition(FIELD["interface_name"].id, (Term((Atom(Op.TEXT_EQUAL, text=b"eth0"),)),))
    taken = snapshot(a_policy([a_filter("named", Action.BLOCK, text)]))
    door.decide_many(taken, slot(), IDS, table([(1, 1)] * 5))
    assert door.counts == {"hits": 0, "misses": 0}


def test_traffic_that_never_repeats_is_soon_left_alone():
    door, taken, rng = CacheDoor(), port_policy(), random.Random(1)
    rows = table([(rng.getrandbits(16), n % 65536) for n in range(100_000)])
    assert door.decide_many(taken, slot(), IDS, rows) == door.decide_many(taken, slot(), IDS, rows, cached=False)
    assert door.counts["misses"] < 6000


def test_more_hits_than_an_entry_holds_are_searched_every_time():
    door = CacheDoor(min_filters=1)
    missing = [a_filter(f"f{n}", Action.CALLOUT_TERMINATING, sublayer=f"s{n}", callout="gone") for n in range(12)]
    taken = snapshot(a_policy(missing, [sublayer(f"s{n}", n + 1) for n in range(12)], [callout("gone", use="")]))
    rows = table([(1, 1)] * 3)
    answers = door.decide_many(taken, slot(), IDS, rows)
    assert [len(row[4]) for row in answers] == [12] * 3
    assert door.counts == {"hits": 0, "misses": 3}


def test_small_and_large_entries_write_over_each_other_without_a_wrong_answer():
    rng, door = random.Random(5), CacheDoor()
    names = ("ip_source_address", "ip_destination_address", PORTS[0])
    ids = [FIELD[name].id for name in names]
    filters = [
        a_filter(f"f{family}-{n}", Action.BLOCK if n % 2 else Action.PERMIT, when(names[0], within(n * 3, n * 3 + 4)),
                 when(names[1], within(0, 100)), when(names[2], within(0, 30000 + n)), at=slot(family=family))
        for family in (4, 6) for n in range(40)
    ]  # fmt: skip
    taken = snapshot(a_policy(filters))
    for turn in range(1000):  # 30 questions, six times each: 30,000 keys of both sizes in 8,192 sets.
        family = 6 if turn % 2 else 4
        rows = table([(rng.randrange(200), rng.randrange(200), rng.getrandbits(16)) for _ in range(30)])
        plain = door.decide_many(taken, slot(family=family), ids, rows, cached=False)
        for _ in range(6):
            assert door.decide_many(taken, slot(family=family), ids, rows) == plain
    assert door.counts["hits"] > 100_000
    assert door.counts["misses"] > 25_000


def test_filters_are_counted_as_without_the_cache_over_reloads_and_traffic_that_repeats_at_random():
    rng, door = random.Random(11), CacheDoor()
    asks = a_filter(
        "asks", Action.CALLOUT_TERMINATING, when(PORTS[0], equal(3)), callout="gone", sublayer="s0", weight=99
    )
    filters = []
    for n in range(60):
        tests = [when(port, within(low, low + 9)) for port in PORTS if (low := rng.randrange(40)) % 3]
        flags = FilterFlag.AUDIT if n % 5 == 0 else FilterFlag(0)
        action = rng.choice([Action.BLOCK, Action.PERMIT])
        filters.append(a_filter(f"f{n}", action, *tests, sublayer=f"s{n % 3}", weight=n, flags=flags))
    ranks = [sublayer(f"s{n}", 0x9000 - n) for n in range(3)]
    known = [(rng.randrange(50), rng.randrange(50)) for _ in range(300)]
    for generation in range(1, 5):
        of = a_policy([asks, *filters[generation:]], ranks, [callout("gone", use="")])
        taken = snapshot(of, generation=generation)
        rows = table([rng.choice(known) if rng.random() < 0.8 else (rng.randrange(50), n) for n in range(5000)])
        counts = [Counter(hit for row in door.decide_many(taken, slot(), IDS, rows, cached=cached) for hit in row[4])
                  for cached in (True, False)]  # fmt: skip
        assert counts[0] == counts[1] and len(counts[1]) > 20
    assert door.counts["hits"] > 10_000


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(policies(at=slot()), st.lists(field_values(4), min_size=1, max_size=6))
def test_with_and_without_the_cache_every_answer_and_hit_is_the_same(policy, packets):
    door, taken = CacheDoor(min_filters=1), snapshot(policy)
    for values in packets + packets:
        present = {name: value for name, value in values.items() if isinstance(value, int)}
        ids = [FIELD[name].id for name in FIELDS_DRAWN if name in present]
        rows = table([tuple(present[name] for name in FIELDS_DRAWN if name in present)] if ids else [()])
        if ids:
            assert door.decide_many(taken, slot(), ids, rows) == CacheDoor().decide_many(
                taken, slot(), ids, rows, cached=False
            )

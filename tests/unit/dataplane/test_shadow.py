"""Filters that can never decide, case by case; tests/property/test_shadow_agrees.py asks every point."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.builders import a_filter, a_policy, callout, equal, slot, snapshot, sublayer, when, within
from wfpd.compiler.pack import pack
from wfpd.dataplane import Added, shadows
from wfpd.dataplane._part import Part
from wfpd.model.conditions import Atom, Op
from wfpd.model.policy import Action, Filter, FilterFlag, Policy, ValueSet

CALLOUTS = [callout("there"), callout("missing", use="")]
RANKS = [sublayer("high", 0x9000), sublayer("low", 0x1000)]
PORT = when("ip_source_port", within(10, 20))
PART = when("ip_source_port", within(12, 15))


def found(*filters: Filter, at: int | None = None, **limits: Any) -> dict[str, Any]:
    """shadows() of the filters, the first one with the most weight; by name."""
    weighted = [a_filter(item.name, item.action, *item.conditions, at=at, flags=item.flags, callout=item.callout,
                         sublayer=item.sublayer, reply=item.reply, weight=100 - place)
                for place, item in enumerate(filters)]  # fmt: skip
    policy = a_policy(weighted, RANKS, CALLOUTS, [ValueSet("many", "uint64", [(n, n) for n in range(0, 400, 2)])])
    taken = snapshot(policy)
    said = shadows(taken, slot() if at is None else at, **limits)
    name = taken.filter_name
    return {
        "shadowed": {name(i): ([name(k) for k in by], n, same) for i, by, n, same in said["shadowed"]},
        **{kind: [name(i) for i in said[kind]] for kind in ("never", "undecided", "open", "untested")},
        **{kind: {name(i): name(k) for i, k in said[kind]} for kind in ("useless", "veto")},
    }


PERMIT, BLOCK = Action.PERMIT, Action.BLOCK


@pytest.mark.parametrize(
    ("action", "on", "flags", "shadows_it"),
    [
        (BLOCK, "", FilterFlag(0), True),
        (BLOCK, "", FilterFlag.AUDIT, False),
        (Action.CALLOUT_INSPECTION, "there", FilterFlag(0), False),
        (Action.CALLOUT_INSPECTION, "missing", FilterFlag(0), False),
        (Action.CALLOUT_UNKNOWN, "there", FilterFlag(0), False),
        (Action.CALLOUT_TERMINATING, "there", FilterFlag(0), True),
        (Action.CALLOUT_UNKNOWN, "missing", FilterFlag(0), True),
        (Action.CALLOUT_TERMINATING, "missing", FilterFlag.PERMIT_IF_CALLOUT_UNREGISTERED, True),
    ],
)
def test_what_always_ends_its_sublayer_shadows(action: Action, on: str, flags: FilterFlag, shadows_it: bool) -> None:
    said = found(a_filter("first", action, PORT, callout=on, flags=flags), a_filter("second", PERMIT, PART))
    assert said["shadowed"] == ({"second": (["first"], 1, False)} if shadows_it else {})


def test_another_sublayer_shadows_nothing() -> None:
    said = found(a_filter("first", BLOCK, PORT, sublayer="high"), a_filter("second", BLOCK, PART, sublayer="low"))
    assert not said["shadowed"]


def test_the_same_is_told_from_something_else() -> None:
    hard = FilterFlag.CLEAR_ACTION_RIGHT
    assert found(a_filter("a", PERMIT, PORT), a_filter("b", PERMIT, PART))["shadowed"]["b"][2]
    assert not found(a_filter("a", PERMIT, PORT), a_filter("b", PERMIT, PART, flags=hard))["shadowed"]["b"][2]
    assert not found(a_filter("a", PERMIT, PORT), a_filter("b", BLOCK, PART))["shadowed"]["b"][2]


def test_several_together_are_counted_and_named() -> None:
    low, high = (a_filter(f"p{n}", PERMIT, when("ip_source_port", within(n, n + 4))) for n in (10, 14))
    said = found(low, high, a_filter("b", BLOCK, PART))
    assert said["shadowed"] == {"b": (["p10", "p14"], 2, False)}
    assert not found(low, high, a_filter("b", BLOCK, PORT))["shadowed"]


def test_a_list_and_the_largest_value_are_exact() -> None:
    every = a_filter("all", PERMIT, when("ip_source_port", within(0, 65535)))
    none = a_filter("none", PERMIT, when("ip_source_port", Atom(Op.EMPTY)))
    assert set(found(every, none, a_filter("b", BLOCK))["shadowed"]) == {"b"}
    assert not found(every, a_filter("b", BLOCK))["shadowed"]  # Packets without ports are left to it.
    two = when("ip_source_port", equal(12), equal(14))
    assert set(found(a_filter("a", PERMIT, PORT), a_filter("b", BLOCK, two))["shadowed"]) == {"b"}
    assert not found(a_filter("a", PERMIT, two), a_filter("b", BLOCK, PART))["shadowed"]


def test_conditions_that_no_box_holds_shadow_nothing_and_may_be_shadowed() -> None:
    syn = when("tcp_flags", Atom(Op.ALL_SET, 2))
    assert not found(a_filter("a", BLOCK, syn), a_filter("b", PERMIT, syn))["shadowed"]
    said = found(a_filter("a", BLOCK, syn, PORT), a_filter("b", PERMIT, PORT), a_filter("c", BLOCK, syn, PART))
    assert set(said["shadowed"]) == {"c"} and said["shadowed"]["c"][0] == ["b"]
    many = when("ip_source_port", Atom(Op.IN_SET, set="many"))
    assert not found(a_filter("a", BLOCK, many), a_filter("b", PERMIT, PART))["shadowed"]


def test_texts_and_ipv6_addresses_are_exact() -> None:
    named = when("interface_name", Atom(Op.TEXT_EQUAL, text=b"eth0"))
    others = when("interface_name", Atom(Op.TEXT_EQUAL, text=b"eth0"), negate=True)
    there = a_filter("c", BLOCK, when("interface_name", Atom(Op.TEXT_EQUAL, text=b"lo")))
    assert set(found(a_filter("a", PERMIT, named), a_filter("b", PERMIT, others), there)["shadowed"]) == {"c"}
    half = 1 << 127
    net = [a_filter(name, PERMIT, when("ip_source_address", within(low, low + half - 1)))
           for name, low in (("a", 0), ("b", half))]  # fmt: skip
    last = a_filter("c", BLOCK, when("ip_source_address", within(half - (1 << 64), half + (1 << 64) - 1)))
    said = found(*net, last, at=slot(family=6))
    assert not said["shadowed"] or set(said["shadowed"]) == {"c"}
    inside = a_filter("c", BLOCK, when("ip_source_address", within(half, half + (1 << 64) - 1)))
    assert said["never"] == [] and found(*net, inside, at=slot(family=6))["shadowed"]["c"][0] == ["b"]


@pytest.mark.parametrize(
    ("layer", "fields", "never"),
    [
        ("ipforward", {"ip_protocol": 17, "tcp_flags": 2}, True),
        ("ipforward", {"ip_protocol": 6, "tcp_flags": 2}, False),
        ("ipforward", {"ip_protocol": 47, "ip_source_port": 1}, True),
        ("ipforward", {"ip_protocol": 132, "ip_source_port": 1}, False),
        ("ipforward", {"ip_protocol": 6, "icmp_type": 8}, True),
        ("ipforward", {"ip_source_port": 6, "icmp_type": 8}, True),
        ("inbound_transport", {"ip_protocol": 1, "ip_local_port": 8}, False),
        ("inbound_transport", {"ip_protocol": 47, "ip_local_port": 8}, True),
        ("ipforward", {"ip_source_port": 65536}, True),
        ("datagram_data", {"tcp_flags": 2}, True),
        ("inbound_transport", {"tcp_flags": 2}, False),
    ],
)
def test_fields_that_no_packet_has_together_never_match(layer: str, fields: dict[str, int], never: bool) -> None:
    conditions = [when(name, equal(value)) for name, value in fields.items()]
    assert found(a_filter("a", BLOCK, *conditions), at=slot(layer))["never"] == (["a"] if never else [])


def test_empty_beside_a_value_is_no_contradiction() -> None:
    either = when("tcp_flags", equal(2), Atom(Op.EMPTY))
    assert not found(a_filter("a", BLOCK, when("ip_protocol", equal(17)), either))["never"]


def test_a_permit_below_a_hard_block_has_no_effect_unless_something_else_may_come_before() -> None:
    block, permit = a_filter("b", BLOCK, PORT, sublayer="high"), a_filter("p", PERMIT, PART, sublayer="low")
    assert found(block, permit)["useless"] == {"p": "b"}
    assert found(a_filter("c", BLOCK, PART, sublayer="high"), block, permit)["useless"] == {"p": "c"}
    assert not found(a_filter("c", PERMIT, equal_port(13), sublayer="high"), block, permit)["useless"]
    asked = a_filter("c", Action.CALLOUT_UNKNOWN, equal_port(13), callout="there", sublayer="high")
    assert not found(asked, block, permit)["useless"]
    assert found(a_filter("c", PERMIT, equal_port(9), sublayer="high"), block, permit)["useless"] == {"p": "b"}
    assert not found(permit, block)["shadowed"]


def equal_port(number: int) -> Any:
    return when("ip_source_port", equal(number))


def test_a_hard_permit_above_a_callout_may_be_vetoed() -> None:
    hard = a_filter("p", PERMIT, PORT, flags=FilterFlag.CLEAR_ACTION_RIGHT, sublayer="high")
    asked = a_filter("c", Action.CALLOUT_UNKNOWN, equal_port(13), callout="there", sublayer="low")
    assert found(hard, asked)["veto"] == {"p": "c"}
    assert not found(a_filter("p", PERMIT, PORT, sublayer="high"), asked)["veto"]
    for other in (a_filter("c", Action.CALLOUT_UNKNOWN, equal_port(9), callout="there", sublayer="low"),
                  a_filter("c", Action.CALLOUT_INSPECTION, callout="there", sublayer="low"),
                  a_filter("c", Action.CALLOUT_UNKNOWN, callout="missing", sublayer="low"),
                  a_filter("c", BLOCK, sublayer="low")):  # fmt: skip
        assert not found(hard, other)["veto"]


def test_limits_are_kept_and_said() -> None:
    ports = [a_filter(f"p{number}", BLOCK, equal_port(number)) for number in range(10, 21)]
    assert found(*ports, a_filter("b", BLOCK, PORT))["shadowed"]["b"][1] == 11
    assert found(*ports, a_filter("b", BLOCK, PORT), work_each=3)["undecided"] == ["b"]
    assert found(*ports, a_filter("b", BLOCK, PORT), work=3)["undecided"] == ["b"]  # The easy ones are no work.
    hard = a_filter("p", PERMIT, PORT, flags=FilterFlag.CLEAR_ACTION_RIGHT, sublayer="high")
    below = [a_filter(f"c{number}", BLOCK, equal_port(number), sublayer="low") for number in range(10)]
    assert found(hard, *below, tests=3)["untested"] == ["p"]


def test_only_whole_policies_are_looked_at() -> None:
    policy = a_policy([a_filter("a", BLOCK, PORT)])
    taken = snapshot(policy)
    with pytest.raises((ValueError, IndexError)):
        shadows(taken, 64)
    one = Policy(filters=(a_filter("b", BLOCK, PART, key=uuid.UUID(int=9)),), sublayers=policy.sublayers)
    part = Part(pack(one))
    added = Added(part, taken.root.add(part, []))
    with pytest.raises(ValueError, match="whole policy"):
        shadows(taken.changed(2, (added,)), slot())

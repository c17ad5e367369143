"""Packets that may lie in a region: what is tried first, for every kind of field."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tests.builders import a_policy, equal, when, within
from wfpd.candidates import MOST_HINTS, Candidate, Region, candidates, hints_of, inside
from wfpd.dataplane import parse_of
from wfpd.model.conditions import Atom, Op
from wfpd.model.fields import FIELD
from wfpd.model.layers import LAYER
from wfpd.model.policy import ValueSet


def exact(*values: int) -> tuple[list[tuple[int, int]], bool]:
    """A region's words about one value."""
    return [(value, value) for value in values], False


def tried(layer: str, where: dict[str, Any], family: int = 4, undecided: bool = False) -> list[Candidate]:
    found = candidates(LAYER[layer], Region(where, family), undecided)
    return list(itertools.islice(found, 100))


def first(layer: str, where: dict[str, Any], family: int = 4) -> dict[str, int]:
    data = tried(layer, where, family)[0].packet().data
    return parse_of(data)


def test_a_free_field_has_a_harmless_value_and_protocols_are_tried_in_turn() -> None:
    found = tried("ipforward", {})
    assert [one.imagined.protocol for one in found[:3]] == [6, 6, 17]
    assert found[0].hooks == ("forward",) and found[0].mark is None and found[0].interface is None
    assert {one.imagined.protocol for one in found} >= {6, 17, 1, 132, 136, 33, 47, 253}


@pytest.mark.parametrize(("layer", "field", "wants"), [
    ("inbound_transport", "ip_local_port", "destination_port"), ("inbound_transport", "ip_remote_port", "source_port"),
    ("outbound_transport", "ip_local_port", "source_port"), ("ale_auth_connect", "ip_remote_port", "destination_port"),
    ("ipforward", "ip_source_port", "source_port"), ("ipforward", "ip_ttl", "ttl"), ("ipforward", "ip_dscp", "dscp"),
    ("ipforward", "ip_ecn", "ecn"), ("ipforward", "tcp_mss", "tcp_mss"), ("ipforward", "tcp_window", "tcp_window"),
    ("ipforward", "tcp_window_scale", "tcp_window_scale"), ("ipforward", "ip_fragment", "fragment"),
])  # fmt: skip
@pytest.mark.parametrize("family", [4, 6])
def test_a_field_goes_to_its_header(layer: str, field: str, wants: str, family: int) -> None:
    assert first(layer, {field: exact(2)}, family)[wants] == 2


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("layer", sorted(LAYER))
def test_whatever_a_region_asks_for_packets_are_made_or_none(layer: str, family: int) -> None:
    for name in LAYER[layer].fields:
        bits = FIELD[name].type_for(family).bits
        values = [value for value in (0, 3, 64, 255, 256, 65535, (1 << bits) - 1) if value < 1 << min(bits, 32)]
        for value in values if 0 < bits <= 32 else ():
            for one in tried(layer, {name: exact(value)}, family, undecided=True):
                one.packet()


def test_a_kind_of_fragment_that_no_packet_is_has_no_candidate() -> None:
    assert not tried("ipforward", {"ip_fragment": exact(3)})
    assert first("ipforward", {"ip_fragment": ([(2, 255)], False)})["fragment"] == 2


def test_addresses_are_of_the_type_that_is_asked_for() -> None:
    (one, *_) = tried("ale_auth_connect", {"ip_destination_address_type": exact(3)}, 6)
    assert one.imagined.destination.is_multicast
    (one, *_) = tried("ale_auth_connect", {"ip_destination_address_type": exact(4)})
    assert str(one.imagined.destination) == "255.255.255.255"
    words = [(0x20010DB8, 0x20010DB8), (5, 5), (0, 2**32 - 1), (0, 2**32 - 1)]
    (one, *_) = tried("ipforward", {"ip_source_address": (words, False)}, 6)
    assert str(one.imagined.source) == "2001:db8:0:5::"


def test_the_hook_follows_the_direction_and_the_loop_the_flags() -> None:
    assert tried("stream_packet", {"direction": exact(0)})[0].hooks == ("output",)
    assert tried("stream_packet", {})[0].hooks == ("input",)
    assert {one.hooks for one in tried("inbound_transport", {"flags": exact(1)})} == {("input",), ("output", "input")}
    assert {one.hooks for one in tried("inbound_transport", {}, undecided=True)} == {("input",), ("output", "input")}


def test_icmp_has_its_type_in_the_local_port_but_at_ipforward() -> None:
    for layer, fields in (
        ("inbound_transport", ("ip_local_port", "ip_remote_port")),
        ("ipforward", ("icmp_type", "icmp_code")),
    ):
        where = {fields[0]: exact(13), fields[1]: exact(1), "ip_protocol": exact(1)}
        view = first(layer, where)
        assert (view["icmp_type"], view["icmp_code"]) == (13, 1)
    assert tried("inbound_transport", {"ip_local_port": exact(300), "ip_protocol": exact(1)}) == []


def test_what_no_protocol_has_is_not_tried() -> None:
    assert tried("ipforward", {"ip_source_port": ([], True), "ip_protocol": exact(6)}) == []
    assert [one.imagined.protocol for one in tried("ipforward", {"ip_protocol": ([(200, 201)], False)})] == [200, 201]


def test_an_icmp_error_quotes_a_packet_that_went_out() -> None:
    view = first("inbound_icmp_error", {"embedded_protocol": exact(6), "embedded_remote_port": exact(9)})
    assert (view["is_icmp_error"], view["quoted_protocol"], view["quoted_destination_port"]) == (1, 6, 9)


def test_texts_and_marks_come_beside_the_packet() -> None:
    where = {"interface_name": ([b"eth0"], False), "packet_mark": exact(7)}
    (one, *_) = tried("ipforward", where)
    assert (one.interface, one.mark, one.packet().interface_name) == (b"eth0", 7, b"eth0")
    (one, *_) = tried("ipforward", {"interface_name": ([None, b"wit0"], False)})
    assert one.interface == b"wit1"


def test_conditions_suggest_values() -> None:
    ports = ValueSet("s", "port", ((7, 9),))
    names = ValueSet("t", "text", texts=(b"a", b"b"))
    addresses = ValueSet("u", "address", ((1, 1),), ((2, 2),))
    policy = a_policy([], sets=[ports, names, addresses])
    tests = [(when("ip_destination_port", Atom(Op.IN_SET, set="s")), True, False),
             (when("interface_name", Atom(Op.TEXT_GLOB, text=b"e?h*"), Atom(Op.IN_SET, set="t")), True, True),
             (when("ip_source_address", Atom(Op.IN_SET, set="u")), True, True),
             (when("flags", Atom(Op.ALL_SET, 1)), False, True), (when("tcp_flags", Atom(Op.ANY_SET, 5)), True, True),
             (when("ip_ttl", *[equal(n) for n in range(9)]), True, True),
             (when("ip_dscp", within(1, 2), negate=True), True, True)]  # fmt: skip
    assert hints_of(tests, (policy, policy), 6) == {
        "ip_destination_port": [7], "interface_name": [b"exh", b"a"], "ip_source_address": [2],
        "tcp_flags": [0x10 | 1, 4, 0x14, 1],
        "ip_ttl": list(range(MOST_HINTS)), "ip_dscp": [],
    }  # fmt: skip
    assert hints_of(tests, (policy, policy), 4)["ip_source_address"] == [1]
    (one, *_) = candidates(LAYER["ipforward"], Region({}, 4, {"ip_ttl": [3], "interface_name": [b"x"]}), False)
    assert (one.imagined.ttl, one.interface) == (3, b"x")


def test_tcp_flags_are_suggested_that_fit_every_condition_on_them() -> None:
    policies = (a_policy([]), a_policy([]))
    reset, urgent, push = 4, 32, 8
    tests = [(when("tcp_flags", Atom(Op.ANY_SET, reset | urgent)), True, False),
             (when("tcp_flags", Atom(Op.ANY_SET, reset)), False, True),
             (when("tcp_flags", Atom(Op.ALL_SET, push), negate=True), False, True)]  # fmt: skip
    for flags in hints_of(tests, policies, 4)["tcp_flags"]:
        assert flags & urgent and not flags & reset and flags & push
    where = {"tcp_flags": ([(200, 255)], False)}
    assert hints_of(tests, policies, 4, where)["tcp_flags"][0] >= 200
    assert hints_of([(when("tcp_flags", Atom(Op.EMPTY)), True, True)], policies, 4) == {"tcp_flags": []}


@pytest.mark.parametrize(("value", "told", "is_inside"), [
    (None, ([], True), True), (None, ([(1, 2)], False), False), (2, ([(1, 2)], False), True),
    (3, ([(1, 2)], True), False),
    (1 << 32, ([(1, 1), (0, 0)], False), True), (b"a", ([b"a"], False), True), (b"b", ([b"a"], False), False),
    (b"b", ([None, b"a"], False), True), (b"a", ([None, b"a"], False), False), (5, ([], True), False),
    (b"a", ([], True), False),
])  # fmt: skip
def test_a_value_is_inside_of_what_a_region_says(value: Any, told: Any, is_inside: bool) -> None:
    assert inside(value, told) is is_inside


@pytest.mark.parametrize("layer", ["stream", "stream_discard"])
def test_a_packet_that_comes_to_the_stream_layer_has_data_or_ends_the_stream(layer: str) -> None:
    (one, *_) = tried(layer, {"ip_local_port": exact(7000)})
    assert (one.imagined.protocol, one.imagined.flags) == (6, 0x11)


def test_what_is_sent_at_the_stream_layer_passes_output() -> None:
    (one, *_) = tried("stream", {"direction": exact(0)})
    assert one.hooks == ("output",)

"""Filters in the words of a policy file (that they read back as the same filters is a property test)."""

from __future__ import annotations

import pytest

from tests.builders import equal, when, within
from wfpd.model.conditions import Atom, Condition, Op, Term
from wfpd.model.fields import FIELD
from wfpd.observe.described import describe_condition


@pytest.mark.parametrize(
    ("condition", "family", "said"),
    [
        (when("ip_protocol", equal(6)), 4, "tcp"),
        (when("ip_protocol", within(6, 17)), 4, "6-17"),
        (when("ip_source_port", equal(22), within(80, 81)), 4, ["22", "80-81"]),
        (when("ip_source_address", within(0xC0000200, 0xC00002FF)), 4, "192.0.2.0/24"),
        (when("ip_source_address", equal(1), negate=True), 6, {"none_of": ["::1"]}),
        (when("flags", Atom(Op.NONE_SET, 1)), 4, {"flags_none_set": ["is_loopback"]}),
        (when("packet_mark", Atom(Op.ALL_SET, 0x30)), 4, {"flags_all_set": "0x30"}),
        (when("tcp_flags", equal(2)), 4, {"equal": ["syn"]}),
        (when("tcp_flags", equal(0)), 4, {"equal": "0x0"}),
        (when("ip_protocol", Atom(Op.EMPTY)), 4, {"equal": "empty"}),
        (when("interface_name", Atom(Op.TEXT_EQUAL, text=b"$x")), 4, {"equal": {"text": "$x"}}),
        (when("interface_name", Atom(Op.TEXT_EQUAL, text=b"\xff")), 4, "\\xff"),
        (when("interface_name", Atom(Op.TEXT_RANGE, text=b"a")), 4, {"greater_or_equal": "a"}),
        (when("interface_name", Atom(Op.TEXT_RANGE, text_high=b"b")), 4, {"less_or_equal": "b"}),
        (Condition(FIELD["ip_protocol"].id, ()), 4, []),
        (
            Condition(FIELD["ip_protocol"].id, (Term((equal(6),)), Term((equal(17),), True))),
            4, ["tcp", {"none_of": ["udp"]}],
        ),
    ],
)  # fmt: skip
def test_a_condition_is_said_as_the_value_of_its_field(condition: Condition, family: int, said: object) -> None:
    assert describe_condition(condition, family) == said

"""Conditions and values as the policy file would write them."""

from __future__ import annotations

import pytest

from tests.builders import equal, when, within
from wfpd.model.conditions import Atom, Condition, Op, Term
from wfpd.model.fields import FIELD
from wfpd.observe.wording import quoted, say_condition, say_value


def says(field: str, *atoms: Atom, family: int = 4, negate: bool = False) -> str:
    return say_condition(when(field, *atoms, negate=negate), family)


def test_numbers_have_the_names_of_their_field() -> None:
    assert says("ip_protocol", equal(6)) == "tcp"
    assert says("ip_protocol", equal(6), equal(17)) == "[tcp, udp]"
    assert says("icmp_type", equal(8)) == "echo_request"
    assert says("icmp_type", equal(128), family=6) == "echo_request"
    assert says("ip_destination_port", within(22, 25), equal(80)) == "[22-25, 80]"
    assert says("ip_destination_port", within(1024, 65535)) == ">=1024"
    assert says("ip_destination_port", within(0, 65535)) == "anything"


def test_addresses_are_prefixes_where_they_can_be() -> None:
    assert says("ip_source_address", within(0xC0000200, 0xC00002FF)) == "192.0.2.0/24"
    assert says("ip_source_address", within(0xC0000201, 0xC00002FF)) == "192.0.2.1-192.0.2.255"
    assert says("ip_source_address", equal(0xC0000201)) == "192.0.2.1"
    assert says("ip_source_address", within(1 << 64, (2 << 64) - 1), family=6) == "0:0:0:1::/64"
    assert says("ip_source_address", within(0, 2**32 - 1)) == "0.0.0.0/0"


def test_flags_are_named_and_what_has_no_name_is_a_number() -> None:
    assert says("tcp_flags", Atom(Op.ALL_SET, 18)) == "flags_all_set syn+ack"
    assert says("tcp_flags", Atom(Op.ANY_SET, 1)) == "flags_any_set fin"
    assert says("flags", Atom(Op.NONE_SET, 1)) == "flags_none_set is_loopback"
    assert say_value(FIELD["tcp_flags"], 4, 0) == "0x0"
    assert say_value(FIELD["flags"], 4, 0x40000001) == "is_loopback+0x40000000"


def test_texts_are_quoted_and_cannot_hurt_a_terminal() -> None:
    assert says("interface_name", Atom(Op.TEXT_EQUAL, text=b"eth0")) == '"eth0"'
    assert says("interface_name", Atom(Op.TEXT_GLOB, text=b"eth*")) == 'glob "eth*"'
    assert says("interface_name", Atom(Op.TEXT_STARTS, text=b"e")) == 'starts_with "e"'
    assert says("interface_name", Atom(Op.TEXT_RANGE, text=b"a", text_high=b"b")) == '"a"-"b"'
    assert says("interface_name", Atom(Op.TEXT_RANGE, text=b"a")) == '"a"-'
    assert quoted(b'\x1b[31m"\xff\n') == '"\\x1b[31m\\"\\udcff\\n"'
    assert say_value(FIELD["interface_name"], 4, b"lo") == '"lo"'


def test_sets_negations_and_absence() -> None:
    assert says("ip_source_address", Atom(Op.IN_SET, set="offices"), equal(1), negate=True) == (
        "none_of [$offices, 0.0.0.1]"
    )
    assert says("ip_protocol", Atom(Op.EMPTY)) == "empty"
    assert say_condition(Condition(FIELD["ip_protocol"].id, ()), 4) == "nothing"
    either = Condition(FIELD["ip_protocol"].id, (Term((equal(6),)), Term((equal(1),), True)))
    assert say_condition(either, 4) == "[tcp, none_of [icmp]]"
    assert say_value(FIELD["ip_protocol"], 4, None) == "empty"


def test_a_long_list_is_cut_and_counted() -> None:
    told = says("ip_destination_port", *(equal(2 * port) for port in range(20)))
    assert told == "[0, 2, 4, 6, 8, 10, 12, 14, and 12 more]"


@pytest.mark.parametrize("family", [4, 6])
def test_every_field_has_words_for_its_values(family: int) -> None:
    for field in FIELD.values():
        value = b"x" if not field.type_for(family).bits else 1
        assert say_value(field, family, value)

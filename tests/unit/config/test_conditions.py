"""How conditions are read: the rules of docs/config.md, one after the other.

1 scalar, list or mapping; 2 masks; 3 one value; 4 none_of; 5 EMPTY; 6 families; 7 texts; 8 integers and names;
9 addresses; 10 unknown fields; 11 ICMP at transport and ALE; 12 extensions; 13 protocol.
"""

import pytest

from wfpd.model.conditions import Atom, Condition, Op, Term
from wfpd.model.fields import FIELD

PORT = "ip_destination_port"
SRC = "ip_source_address"


def ranges(condition):
    """The ranges of a condition with one positive term."""
    if not condition.terms:
        return []
    (term,) = condition.terms
    assert not term.negate and all(atom.op is Op.RANGE for atom in term.atoms)
    return [(atom.low, atom.high) for atom in term.atoms]


def v4(text):
    a, b, c, d = (int(part) for part in text.split("."))
    return a << 24 | b << 16 | c << 8 | d


# Rule 1.


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("22", [(22, 22)]),
        ('"22"', [(22, 22)]),
        ("0x16", [(22, 22)]),
        ("8000-8100", [(8000, 8100)]),
        ("[22, 2222, 8000-8100]", [(22, 22), (2222, 2222), (8000, 8100)]),
        ("{equal: 22}", [(22, 22)]),
        ("{range: 1-5}", [(1, 5)]),
        ("{range: [1, 5]}", [(1, 5)]),
        ("{greater: 60000}", [(60001, 65535)]),
        ("{less: 10}", [(0, 9)]),
        ("{greater_or_equal: 60000}", [(60000, 65535)]),
        ("{less_or_equal: 10}", [(0, 10)]),
        ("[22, {greater: 60000}]", [(22, 22), (60001, 65535)]),
        ("[$p, 1]", None),
    ],
)
def test_rule_1_a_value_is_a_scalar_a_list_or_a_mapping(policies, value, expected):
    condition = policies.condition(PORT, value, top="sets: {p: {type: port, values: [80]}}\n")
    if expected is not None:
        assert ranges(condition) == expected
    else:
        assert condition.terms == (Term((Atom(Op.RANGE, 1, 1), Atom(Op.IN_SET, set="p"))),)


def test_rule_1_two_match_types_in_one_mapping_are_an_error(policies):
    problem = policies.refused(PORT, "{greater: 1, less: 9}")
    assert "greater and less" in problem.message and problem.location.line == 6


def test_rule_1_different_fields_are_anded(policies):
    conditions = policies.load(policies.filter(f"{{ip_protocol: tcp, {PORT}: 22}}")).filters[0].conditions
    assert [item.field for item in conditions] == [FIELD["ip_protocol"].id, FIELD[PORT].id]


@pytest.mark.parametrize("value", ["[]", "{none_of: []}", "{equal: []}", "{starts_with: []}"])
def test_rule_1_an_empty_list_is_an_error(policies, value):
    field = "interface_name" if "starts" in value else PORT
    assert policies.refused(field, value).code == "FWP_E_ZERO_LENGTH_ARRAY"


def test_rule_1_an_unknown_match_type_gets_the_nearest(policies):
    assert 'did you mean "greater"?' in policies.refused(PORT, "{grater: 1}").hint


# Rule 2.


@pytest.mark.parametrize("value", ["[syn, ack]", "[0x2, 16]", "18", "[syn, 16]", "{equal: [syn, ack]}"])
def test_rule_2_a_list_of_flags_is_one_mask(policies, value):
    assert ranges(policies.condition("tcp_flags", value)) == [(18, 18)]


def test_rule_2_masks_are_ored_by_a_list_of_mappings(policies):
    condition = policies.condition("tcp_flags", "[{flags_all_set: [syn, ack]}, {flags_any_set: rst}]")
    assert condition.terms == (Term((Atom(Op.ALL_SET, 18),)), Term((Atom(Op.ANY_SET, 4),)))


def test_rule_2_names_and_mappings_do_not_mix(policies):
    assert "list of mappings" in policies.refused("tcp_flags", "[syn, {flags_any_set: rst}]").hint


@pytest.mark.parametrize(
    ("name", "op"), [("flags_all_set", Op.ALL_SET), ("flags_any_set", Op.ANY_SET), ("flags_none_set", Op.NONE_SET)]
)
def test_rule_2_flag_matches_take_masks(policies, name, op):
    condition = policies.condition("flags", f"{{{name}: [is_loopback, is_reauthorize]}}")
    assert condition == Condition(FIELD["flags"].id, (Term((Atom(op, 5),)),), 255 * 2 // 32)


def test_rule_2_none_of_cannot_tell_values_from_a_mask(policies):
    problem = policies.refused("flags", "{none_of: [is_loopback, is_reauthorize]}")
    assert "flags_none_set" in problem.hint and problem.code == "FWP_E_MATCH_TYPE_MISMATCH"


@pytest.mark.parametrize("field", [SRC, "interface_name"])
def test_rule_2_flag_matches_are_for_unsigned_integers(policies, field):
    assert policies.refused(field, "{flags_any_set: 1}").code == "FWP_E_MATCH_TYPE_MISMATCH"


# Rule 3.


@pytest.mark.parametrize("name", ["not_equal", "greater", "less", "greater_or_equal", "less_or_equal"])
def test_rule_3_an_operator_with_one_value_refuses_a_list(policies, name):
    problem = policies.refused(PORT, f"{{{name}: [1, 2]}}")
    assert "none_of" in problem.hint


def test_rule_3_not_equal_has_a_value_and_another_one(policies):
    condition = policies.condition(PORT, "{not_equal: 22}")
    assert condition.terms == (Term((Atom(Op.RANGE, 22, 22),), negate=True),) and condition.specificity == 1


@pytest.mark.parametrize("value", ["192.0.2.0/24", "192.0.2.1-192.0.2.9"])
@pytest.mark.parametrize("name", ["not_equal", "greater", "less"])
def test_rule_3_masks_and_ranges_are_for_none_of(policies, name, value):
    problem = policies.refused(SRC, f"{{{name}: {value}}}")
    assert problem.code == "FWP_E_MATCH_TYPE_MISMATCH" and "none_of" in problem.hint


def test_rule_3_equal_takes_no_range_but_a_prefix(policies):
    assert policies.refused(PORT, "{equal: 1-2}").code == "FWP_E_MATCH_TYPE_MISMATCH"
    assert ranges(policies.condition(SRC, "{equal: 192.0.2.0/24}")) == [(v4("192.0.2.0"), v4("192.0.2.255"))]


@pytest.mark.parametrize(("name", "value"), [("greater", "65535"), ("less", "0")])
def test_rule_3_beyond_the_last_value_nothing_matches(policies, name, value):
    assert policies.condition(PORT, f"{{{name}: {value}}}").terms == ()


# Rule 4.


def test_rule_4_none_of_takes_values_ranges_prefixes_and_sets(policies):
    top = "sets: {s: {type: address, values: [10.0.0.0/8]}}\n"
    condition = policies.condition(SRC, "{none_of: [192.0.2.1, 192.0.2.4-192.0.2.9, 198.51.100.0/24, $s]}", top=top)
    (term,) = condition.terms
    assert term.negate and condition.specificity == 1
    assert [atom.op for atom in term.atoms] == [Op.RANGE, Op.RANGE, Op.RANGE, Op.IN_SET]


def test_rule_4_none_of_takes_one_value_too(policies):
    assert policies.condition(PORT, "{none_of: 22}") == policies.condition(PORT, "{none_of: [22]}")


@pytest.mark.parametrize("value", ["{none_of: [{greater: 5}]}", "{none_of: [empty]}", "{none_of: {equal: 1}}"])
def test_rule_4_none_of_refuses_what_is_no_value(policies, value):
    assert policies.errors(policies.filter(f"{{{PORT}: {value}}}"))


# Rule 5.


def test_rule_5_equal_empty_is_the_absent_field(policies):
    assert policies.condition(PORT, "{equal: empty}").terms == (Term((Atom(Op.EMPTY),)),)


def test_rule_5_empty_may_stand_in_a_list(policies):
    condition = policies.condition(PORT, "[22, {equal: empty}]")
    assert condition.terms == (Term((Atom(Op.RANGE, 22, 22), Atom(Op.EMPTY))),)


def test_rule_5_the_text_empty_is_written_out(policies):
    assert policies.condition("interface_name", "{equal: {text: empty}}").terms == (
        Term((Atom(Op.TEXT_EQUAL, text=b"empty"),)),
    )


@pytest.mark.parametrize("value", ["empty", "[empty]", "{not_equal: empty}", "{greater: empty}"])
@pytest.mark.parametrize("field", ["interface_name", PORT])
def test_rule_5_no_other_condition_names_empty(policies, field, value):
    assert "{equal: empty}" in policies.refused(field, value).hint


@pytest.mark.parametrize("field", ["ale_user_id", "ale_package_id"])
def test_rule_5_equal_is_for_every_type(policies, field):
    assert policies.condition(field, "{equal: empty}", "ale_auth_connect_v4").terms
    assert policies.refused(field, "joe", "ale_auth_connect_v4").code == "FWP_E_TYPE_MISMATCH"


# Rule 6.


def both(policies, value):
    first, second = policies.load(policies.filter(f"{{{SRC}: {value}}}", "ipforward")).filters
    return first.conditions[0], second.conditions[0]


def test_rule_6_an_address_speaks_of_its_own_family(policies):
    at_v4, at_v6 = both(policies, '[192.0.2.0/24, "2001:db8::/32"]')
    assert ranges(at_v4) == [(v4("192.0.2.0"), v4("192.0.2.255"))]
    assert ranges(at_v6) == [(0x20010DB8 << 96, (0x20010DB9 << 96) - 1)]
    assert (at_v4.specificity, at_v6.specificity) == (255 * 24 // 32, 255 * 32 // 128)


@pytest.mark.parametrize("value", ["192.0.2.1", "{greater: 192.0.2.1}", "{range: [192.0.2.1, 192.0.2.2]}", "$s"])
def test_rule_6_a_positive_condition_without_a_value_of_the_family_matches_nothing(policies, value):
    text = policies.filter(f"{{{SRC}: {value}}}", "ipforward", top="sets: {s: {type: address, values: [192.0.2.1]}}\n")
    first, second = policies.load(text).filters
    assert first.conditions[0].terms and second.conditions[0].terms == ()


@pytest.mark.parametrize("value", ["{none_of: [192.0.2.1]}", "{not_equal: 192.0.2.1}"])
def test_rule_6_a_negative_one_is_true_there(policies, value):
    at_v4, at_v6 = both(policies, value)
    assert at_v4.terms[0].atoms and at_v6.terms == (Term((), negate=True),)


# Rule 7.


@pytest.mark.parametrize(
    ("name", "op", "negate"),
    [
        ("ends_with", Op.TEXT_ENDS, False),
        ("not_ends_with", Op.TEXT_ENDS, True),
        ("starts_with", Op.TEXT_STARTS, False),
        ("contains", Op.TEXT_CONTAINS, False),
        ("glob", Op.TEXT_GLOB, False),
    ],
)
def test_rule_7_texts_have_matches_of_their_own(policies, name, op, negate):
    condition = policies.condition("interface_name", f'{{{name}: "eth*"}}')
    assert condition.terms == (Term((Atom(op, text=b"eth*"),), negate),) and condition.specificity == 1
    assert policies.refused(PORT, f"{{{name}: 80}}").code == "FWP_E_MATCH_TYPE_MISMATCH"


@pytest.mark.parametrize("name", ["prefix", "not_prefix"])
def test_rule_7_prefix_is_refused_and_both_readings_are_named(policies, name):
    hint = policies.refused("interface_name", f"{{{name}: eth}}").hint
    assert "ends_with" in hint and "starts_with" in hint


def test_rule_7_texts_are_bytes_and_case_sensitive(policies):
    assert policies.condition("interface_name", "Eth0").terms == (Term((Atom(Op.TEXT_EQUAL, text=b"Eth0"),)),)
    problem = policies.refused("interface_name", "{equal_case_insensitive: eth0}")
    assert problem.code == "FWP_E_MATCH_TYPE_MISMATCH"


def test_rule_7_texts_have_an_order(policies):
    condition = policies.condition("interface_name", "[{range: [a, b]}, {greater: x}, {less: c}, {less_or_equal: d}]")
    assert condition.terms == (
        Term((Atom(Op.TEXT_RANGE, text=b"a", text_high=b"b"),)),
        Term((Atom(Op.TEXT_RANGE, text=b"x\0"),)),
        Term((Atom(Op.TEXT_RANGE, text=b"c"),), negate=True),
        Term((Atom(Op.TEXT_RANGE, text_high=b"d"),)),
    )


def test_rule_7_a_glob_with_an_open_bracket_is_refused(policies):
    assert "glob" in policies.refused("interface_name", '{glob: "eth[0"}').message
    assert policies.condition("interface_name", '{glob: "eth[]0]"}')


# Rule 8.


@pytest.mark.parametrize("value", ["022", "+22", "1_000", "1e3", "22.0", '""', "two", "0X16", "0b1"])
def test_rule_8_other_spellings_of_integers_are_refused(policies, value):
    assert policies.refused(PORT, value).code == "FWP_E_TYPE_MISMATCH"


@pytest.mark.parametrize("value", ["65536", "-1", "99999999999999999999999", "0x10000"])
def test_rule_8_integers_outside_the_field_are_out_of_bounds(policies, value):
    assert policies.refused(PORT, value).code == "FWP_E_OUT_OF_BOUNDS"


def test_rule_8_the_message_names_the_bounds(policies):
    problem = policies.refused(PORT, "70000")
    assert str(problem).startswith(f'{problem.location}: filter "one": {PORT}: 70000 is outside 0-65535')
    assert "5300-5310" in problem.hint
    weight = policies.error("version: 1\nsublayers: [{name: a, weight: 65536}]\n")
    assert "outside 0-65535" in weight.message and not weight.hint


@pytest.mark.parametrize(
    ("field", "name", "number"),
    [
        ("ip_protocol", "tcp", 6),
        ("ip_protocol", "ipv6-icmp", 58),
        ("ip_dscp", "cs7", 56),
        ("ip_dscp", "af43", 38),
        ("ip_dscp", "ef", 46),
        ("ip_dscp", "le", 1),
        ("icmp_type", "echo_request", 8),
        ("ip_destination_address_type", "multicast", 3),
        ("ip_fragment", "later", 2),
    ],
)
def test_rule_8_names_stand_for_numbers(policies, field, name, number):
    assert ranges(policies.condition(field, name)) == [(number, number)]


@pytest.mark.parametrize(
    ("field", "name", "number"),
    [
        ("interface_type", "wifi", 71),
        ("tunnel_type", "teredo", 14),
        ("tunnel_type", "6to4", 11),
        ("direction", "inbound", 1),
    ],
)
def test_rule_8_names_of_interfaces_tunnels_and_directions(policies, field, name, number):
    assert ranges(policies.condition(field, name, "datagram_data_v4")) == [(number, number)]


def test_rule_8_names_of_icmp_types_are_those_of_the_family(policies):
    first, second = policies.load(policies.filter("{icmp_type: echo_request}", "ipforward")).filters
    assert (ranges(first.conditions[0]), ranges(second.conditions[0])) == ([(8, 8)], [(128, 128)])


def test_rule_8_ports_have_no_names_and_the_hint_gives_the_number(policies):
    problem = policies.refused(PORT, "https")
    assert problem.code == "FWP_E_TYPE_MISMATCH" and "443" in problem.hint


def test_rule_8_a_misspelt_name_gets_the_nearest(policies):
    assert "udplite" in policies.refused("ip_protocol", "udplit").hint
    assert "lower case" in policies.refused("ip_protocol", "TCP").hint


@pytest.mark.parametrize(("field", "value"), [("ip_dscp", "64"), ("ip_ecn", "4"), ("ip_ttl", "256")])
def test_rule_8_small_fields_have_small_bounds(policies, field, value):
    assert policies.refused(field, value).code == "FWP_E_OUT_OF_BOUNDS"


def test_rule_8_a_range_backwards_is_invalid(policies):
    assert policies.refused(PORT, "9-1").code == "FWP_E_INVALID_RANGE"


# Rule 9.


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("192.0.2.7", ("192.0.2.7", "192.0.2.7")),
        ("192.0.2.0/24", ("192.0.2.0", "192.0.2.255")),
        ("0.0.0.0/0", ("0.0.0.0", "255.255.255.255")),
        ("192.0.2.7/32", ("192.0.2.7", "192.0.2.7")),
        ("192.0.2.1-192.0.2.9", ("192.0.2.1", "192.0.2.9")),
    ],
)
def test_rule_9_addresses_prefixes_and_ranges(policies, value, expected):
    assert ranges(policies.condition(SRC, value)) == [(v4(expected[0]), v4(expected[1]))]


def test_rule_9_host_bits_are_refused_with_the_masked_form(policies):
    assert "192.0.2.0/24" in policies.refused(SRC, "192.0.2.7/24").hint
    assert "2001:db8::/32" in policies.refused(SRC, '"2001:db8::1/32"').hint


def test_rule_9_mapped_addresses_are_ipv6(policies):
    at_v4, at_v6 = both(policies, '"::ffff:192.0.2.1"')
    assert at_v4.terms == () and ranges(at_v6) == [(0xFFFF << 32 | v4("192.0.2.1"),) * 2]


def test_rule_9_zone_ids_are_refused(policies):
    assert "zone" in policies.refused(SRC, '"fe80::1%eth0"').message


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("192.0.2.1-2001:db8::1", "FWP_E_INVALID_RANGE"),
        ("192.0.2.9-192.0.2.1", "FWP_E_INVALID_RANGE"),
        ("192.0.2.0/33", "FWP_E_INVALID_NET_MASK"),
        ("192.0.2.0/255.255.255.0", "FWP_E_INVALID_NET_MASK"),
        ("192.0.2.0/024", "FWP_E_INVALID_NET_MASK"),
        ("192.0.2.01", "FWP_E_TYPE_MISMATCH"),
        ("192.0.2", "FWP_E_TYPE_MISMATCH"),
        ("3221225985", "FWP_E_TYPE_MISMATCH"),
        ("host.example", "FWP_E_TYPE_MISMATCH"),
    ],
)
def test_rule_9_what_is_no_address_is_refused(policies, value, code):
    assert policies.refused(SRC, f'"{value}"').code == code


# Rule 10.


def test_rule_10_a_field_that_the_layer_lacks_names_the_layers_that_have_it(policies):
    problem = policies.refused("ip_remote_address", "192.0.2.1", "ipforward_v4")
    assert problem.code == "FWP_E_CONDITION_NOT_FOUND"
    assert "inbound_transport" in problem.hint and "ipforward" not in problem.hint


def test_rule_10_a_field_that_nothing_has_gets_the_nearest(policies):
    problem = policies.refused("ip_remote_adress", "192.0.2.1", "inbound_transport_v4")
    assert problem.code == "FWP_E_CONDITION_NOT_FOUND" and "ip_remote_address" in problem.hint


# Rule 11.


@pytest.mark.parametrize("layer", ["inbound_transport_v4", "ale_auth_connect_v4", "datagram_data_v4"])
def test_rule_11_the_icmp_names_are_the_ports_at_transport_and_ale_layers(policies, layer):
    text = policies.filter("{ip_protocol: icmp, icmp_type: echo_request, icmp_code: 0}", layer)
    fields = [item.field for item in policies.load(text).filters[0].conditions]
    assert fields[1:] == [FIELD["ip_local_port"].id, FIELD["ip_remote_port"].id]


def test_rule_11_both_names_in_one_filter_are_a_duplicate(policies):
    text = policies.filter("{ip_protocol: icmp, icmp_type: 8, ip_local_port: 8}", "inbound_transport_v4")
    assert policies.error(text).code == "FWP_E_DUPLICATE_CONDITION"


def test_rule_11_a_port_without_a_protocol_is_a_lint(policies):
    lints = policies.load(policies.filter("{ip_local_port: 22}", "inbound_transport_v4")).lints
    assert len(lints) == 1 and "ip_protocol" in lints[0].message and lints[0].location.line == 6
    text = policies.filter("{ip_local_port: 22, ip_protocol: tcp}", "inbound_transport_v4")
    assert policies.load(text).lints == ()


def test_rule_11_at_ipforward_the_fields_are_separate(policies):
    text = policies.filter("{icmp_type: 8, ip_source_port: 8}", "ipforward_v4")
    assert len(policies.load(text).filters[0].conditions) == 2 and policies.load(text).lints == ()


# Rule 12.

EXTENSIONS = {
    "ip_dscp": 8, "ip_ecn": 8, "ip_ttl": 8, "ip_length": 32, "ip_fragment": 8, "tcp_flags": 8, "tcp_mss": 16,
    "tcp_window_scale": 8, "tcp_window": 16, "packet_mark": 32,
}  # fmt: skip


@pytest.mark.parametrize("field", [*EXTENSIONS, "interface_name", "nexthop_interface_name"])
@pytest.mark.parametrize(
    "layer",
    ["inbound_ippacket_v4", "ipforward_v4", "outbound_transport_v6", "datagram_data_v4", "stream_packet_v4",
     "inbound_icmp_error_v6", "inbound_transport_v4_discard", "ipforward_v6_discard"],
)  # fmt: skip
def test_rule_12_extension_fields_at_packet_layers(policies, layer, field):
    assert policies.condition(field, "1", layer).specificity == 255


@pytest.mark.parametrize("layer", ["ale_auth_connect_v4", "ale_flow_established_v4"])
def test_rule_12_not_at_ale_layers(policies, layer):
    assert policies.refused("ip_ttl", "1", layer).code == "FWP_E_CONDITION_NOT_FOUND"


@pytest.mark.parametrize("field", ["ip_protocol", "ip_source_port", "ip_destination_port", "icmp_type", "icmp_code"])
def test_rule_12_fields_that_ipforward_has_besides(policies, field):
    assert policies.condition(field, "1").specificity == 255


# Rule 13 speaks of values; what a file can say about it is that numbers and names are one.


def test_rule_13_esp_and_ah_are_protocols(policies):
    assert ranges(policies.condition("ip_protocol", "[esp, ah]")) == [(50, 51)]


# Names of Windows for the same field.


def test_aliases_of_windows_are_the_same_field(policies):
    condition = policies.condition("local_interface_index", "3", "inbound_transport_v4")
    assert condition.field == FIELD["interface_index"].id
    text = policies.filter("{local_interface_index: 3, interface_index: 3}", "inbound_transport_v4")
    assert policies.error(text).code == "FWP_E_DUPLICATE_CONDITION"


# Sets in conditions.


def test_an_unknown_set_gets_the_nearest(policies):
    problem = policies.refused(SRC, "$office", top="sets: {offices: {type: address, values: [192.0.2.1]}}\n")
    assert problem.code == "FWP_E_NOT_FOUND" and "offices" in problem.hint


def test_a_set_of_another_type_is_a_mismatch(policies):
    problem = policies.refused(PORT, "$a", top="sets: {a: {type: address, values: [192.0.2.1]}}\n")
    assert problem.code == "FWP_E_TYPE_MISMATCH"


def test_a_text_that_begins_with_a_dollar_is_written_out(policies):
    assert policies.condition("interface_name", '{equal: {text: "$x"}}').terms[0].atoms[0].text == b"$x"


# Specificity.


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        (SRC, "192.0.2.1", 255),
        (SRC, "192.0.2.0/24", 255 * 24 // 32),
        (SRC, "0.0.0.0/0", 0),
        (PORT, "8000-8100", 255 * 9 // 16),
        (PORT, "[22, 23]", 255 * 15 // 16),
        (PORT, "[22, 22]", 255),
        (PORT, "[20-24, 22-25]", 255 * 13 // 16),
        (PORT, "{greater: 32767}", 255 * 1 // 16),
        ("ip_ecn", "{greater: 1}", 255 * 7 // 8),
        ("ip_ecn", "2-3", 255 * 7 // 8),
        ("ip_dscp", "{greater_or_equal: 0}", 255 * 2 // 8),
        ("ip_dscp", "{less: 63}", 255 * 2 // 8),
        (PORT, "[$p, 80]", 255 * 15 // 16),
        (PORT, "[$p, $q]", 255 * 14 // 16),
        (PORT, "[22, {not_equal: 3}]", 1),
        ("tcp_flags", "{flags_all_set: [syn, ack]}", 255 * 2 // 8),
        ("interface_name", "eth0", 255),
        ("interface_name", "{contains: eth}", 1),
    ],
)
def test_specificity_follows_the_bits_that_are_fixed(policies, field, value, expected):
    top = "sets: {p: {type: port, values: [80, 81]}, q: {type: port, values: [81, 82]}}\n"
    assert policies.condition(field, value, top=top).specificity == expected


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (PORT, "22"), (PORT, "0x16"), ("ip_protocol", "6"), ("tcp_flags", "18"), ("icmp_type", "8"), (SRC, "192.0.2.1"),
        (SRC, "192.0.2.0/24"), (SRC, "192.0.2.1-192.0.2.9"), (SRC, '"2001:db8::/32"'), ("packet_mark", "0xffffffff"),
    ],
)  # fmt: skip
def test_one_value_and_a_list_of_one_are_the_same_condition(policies, field, value):
    for layer in ("ipforward_v4", "ipforward_v6"):
        assert policies.condition(field, value, layer) == policies.condition(field, f"[{value}]", layer)

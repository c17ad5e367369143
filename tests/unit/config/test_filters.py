"""Filters of a file to engine filters: layers, keys, actions, flags, weights."""

import pytest

from wfpd.model.layers import LAYER, UNSERVED_LAYERS
from wfpd.model.policy import FILE_PROVIDER, Action, FilterFlag, Reply, Word, default_key

HEAD = "version: 1\n"
CALLOUTS = "callouts: [{name: watch}]\n"


def one(policies, extra="", layer="ipforward_v4", top=""):
    return policies.load(policies.filter("{}", layer, extra, top)).filters[0]


def test_a_layer_without_family_becomes_two_engine_filters_with_one_name(policies):
    first, second = policies.load(policies.filter("{}", "inbound_transport")).filters
    assert (first.name, first.order) == (second.name, second.order)
    assert (first.slot, second.slot) == (LAYER["inbound_transport"].slot(4), LAYER["inbound_transport"].slot(6))
    assert first.key == default_key(FILE_PROVIDER, "filter", "one", "inbound_transport_v4")
    assert second.key == default_key(FILE_PROVIDER, "filter", "one", "inbound_transport_v6")


def test_a_layer_with_family_keeps_the_plain_key(policies):
    assert one(policies, layer="inbound_transport_v6").key == default_key(FILE_PROVIDER, "filter", "one")


def test_twins_are_named_with_and_without_family(policies):
    twin = LAYER["inbound_transport_discard"]
    slots = [item.slot for item in policies.load(policies.filter("{}", "inbound_transport_discard")).filters]
    assert slots == [twin.slot(4), twin.slot(6)]
    assert one(policies, layer="inbound_transport_v4_discard").slot == twin.slot(4)


def test_a_list_of_layers_becomes_one_engine_filter_for_each(policies):
    filters = policies.load(policies.filter("{}", "[ipforward_v4, inbound_ippacket]")).filters
    assert len(filters) == 3 and len({item.key for item in filters}) == 3
    assert filters[0].key == default_key(FILE_PROVIDER, "filter", "one", "ipforward_v4")


def test_an_own_key_is_used_and_spread_over_the_layers(policies):
    extra = "    key: c38d57d1-05a7-4c33-904f-7fbceee60e82\n"
    assert str(one(policies, extra).key) == "c38d57d1-05a7-4c33-904f-7fbceee60e82"
    keys = {item.key for item in policies.load(policies.filter("{}", "ipforward", extra)).filters}
    assert len(keys) == 2


def test_a_key_used_twice_exists_already(policies):
    body = "layer: ipforward_v4, action: block, key: c38d57d1-05a7-4c33-904f-7fbceee60e82"
    problem = policies.error(HEAD + f"filters:\n  - {{name: a, {body}}}\n  - {{name: b, {body}}}\n")
    assert problem.code == "FWP_E_ALREADY_EXISTS" and problem.location.line == 4


@pytest.mark.parametrize("layer", ["[ipforward, ipforward_v4]", "[ipforward_v4, ipforward_v4]"])
def test_a_layer_given_twice_is_an_error(policies, layer):
    assert policies.error(policies.filter("{}", layer)).code == "FWP_E_ALREADY_EXISTS"


def test_an_unknown_layer_gets_the_nearest(policies):
    problem = policies.error(policies.filter("{}", "inbound_transprt_v4"))
    assert problem.code == "FWP_E_LAYER_NOT_FOUND" and "inbound_transport_v4" in problem.hint


@pytest.mark.parametrize("layer", [*UNSERVED_LAYERS, "ale_auth_listen_v4", "ale_auth_listen_v6_discard"])
def test_a_layer_that_cannot_be_served_says_why(policies, layer):
    problem = policies.error(policies.filter("{}", layer))
    assert "cannot be served here: " in problem.message and problem.code == "FWP_E_INCOMPATIBLE_LAYER"


def test_a_disabled_filter_is_checked_and_left_out(policies):
    assert policies.load(policies.filter("{}", extra="    enabled: false\n")).filters == ()
    assert policies.errors(policies.filter("{ip_ttl: 999}", extra="    enabled: false\n"))


def test_order_is_the_order_of_reading(policies):
    body = "layer: ipforward_v4, action: block"
    names = ["c", "a", "b"]
    text = HEAD + "filters:\n" + "".join(f"  - {{name: {name}, {body}}}\n" for name in names)
    assert [(item.name, item.order) for item in policies.load(text).filters] == [("c", 0), ("a", 1), ("b", 2)]


@pytest.mark.parametrize("missing", ["name", "layer", "action"])
def test_required_keys_are_missed(policies, missing):
    fields = {"name": "a", "layer": "ipforward_v4", "action": "block"}
    del fields[missing]
    body = ", ".join(f"{key}: {value}" for key, value in fields.items())
    problem = policies.error(HEAD + f"filters:\n  - {{{body}}}\n")
    assert f"{missing} is missing" in problem.message and problem.location.line == 3


def test_a_name_is_unique_in_its_provider(policies):
    body = "layer: ipforward_v4, action: block"
    top = HEAD + "providers: [{name: p}]\nfilters:\n"
    assert len(policies.load(top + f"  - {{name: a, {body}}}\n  - {{name: a, provider: p, {body}}}\n").filters) == 2
    problem = policies.error(top + f"  - {{name: a, {body}}}\n  - {{name: a, {body}}}\n")
    assert problem.code == "FWP_E_ALREADY_EXISTS" and problem.location.line == 5


@pytest.mark.parametrize("name", ["é", '"a\\tb"', '"\\e[1m"', '""', "x" * 129])
def test_names_are_printable_ascii_of_at_most_128_characters(policies, name):
    problem = policies.error(HEAD + f"filters:\n  - {{name: {name}, layer: ipforward_v4, action: block}}\n")
    assert problem.code in ("FWP_E_INVALID_PARAMETER", "FWP_E_NULL_DISPLAY_NAME")
    assert str(problem).isascii() and str(problem).isprintable()
    assert policies.load(HEAD + f"filters: [{{name: {'x' * 128}, layer: ipforward_v4, action: block}}]\n")


# Actions.


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("permit", Action.PERMIT),
        ("block", Action.BLOCK),
        ("{callout: watch}", Action.CALLOUT_UNKNOWN),
        ("{callout: watch, kind: terminating}", Action.CALLOUT_TERMINATING),
        ("{callout: watch, kind: inspection}", Action.CALLOUT_INSPECTION),
    ],
)
def test_actions(policies, action, expected):
    text = HEAD + CALLOUTS + f"filters: [{{name: a, layer: ipforward_v4, action: {action}}}]\n"
    found = policies.load(text).filters[0]
    assert found.action is expected and found.callout == ("watch" if "watch" in action else "")


@pytest.mark.parametrize("action", ["drop", "continue", "{kind: unknown}", "{callout: watch, kind: x}", "[]"])
def test_other_actions_are_invalid(policies, action):
    text = HEAD + CALLOUTS + f"filters: [{{name: a, layer: ipforward_v4, action: {action}}}]\n"
    assert policies.error(text).code == "FWP_E_INVALID_ACTION_TYPE"


@pytest.mark.parametrize(
    ("extra", "code", "nearest"),
    [
        ("action: {callout: wach}", "FWP_E_CALLOUT_NOT_FOUND", "watch"),
        ("action: block, sublayer: universl", "FWP_E_SUBLAYER_NOT_FOUND", "universal"),
        ("action: block, provider: fil", "FWP_E_PROVIDER_NOT_FOUND", "file"),
        ("action: block, provider_context: context", "FWP_E_PROVIDER_CONTEXT_NOT_FOUND", "contexts"),
    ],
)
def test_references_to_nothing_get_the_nearest_name(policies, extra, code, nearest):
    top = HEAD + CALLOUTS + "provider_contexts: [{name: contexts}]\n"
    problem = policies.error(top + f"filters:\n  - {{name: a, layer: ipforward_v4, {extra}}}\n")
    assert problem.code == code and nearest in problem.hint and problem.location.line == 5
    assert problem.subject == 'filter "a"'


@pytest.mark.parametrize("action", ["permit", "block", "{callout: watch}", "{callout: watch, kind: terminating}"])
def test_the_inspection_sublayer_takes_inspection_callouts_only(policies, action):
    top = HEAD + CALLOUTS + "filters:\n  - {name: a, layer: ipforward_v4, sublayer: inspection, action: "
    assert policies.error(top + action + "}\n").code == "FWP_E_ACTION_INCOMPATIBLE_WITH_SUBLAYER"
    assert policies.load(top + "{callout: watch, kind: inspection}}\n").filters[0].sublayer == "inspection"


# Flags, replies, words.


def test_flags_are_set(policies):
    extra = "    flags: [clear_action_right, indexed]\n    log: true\n    metrics: true\n    mode: audit\n"
    assert one(policies, extra).flags == (
        FilterFlag.CLEAR_ACTION_RIGHT | FilterFlag.INDEXED | FilterFlag.LOG | FilterFlag.METRICS | FilterFlag.AUDIT
    )


@pytest.mark.parametrize("flag", ["persistent", "boottime", "disabled", "clear_action_rights"])
def test_flags_that_a_file_cannot_set_are_invalid(policies, flag):
    problem = policies.error(policies.filter(extra=f"    flags: [{flag}]\n"))
    assert problem.code == "FWP_E_INVALID_FLAGS" and problem.hint


@pytest.mark.parametrize("kind", ["terminating", "unknown"])
def test_permit_if_callout_unregistered_goes_with_callouts_that_decide(policies, kind):
    flags = "flags: permit_if_callout_unregistered"
    top = HEAD + CALLOUTS
    text = top + f"filters: [{{name: a, layer: ipforward_v4, {flags}, action: {{callout: watch, kind: {kind}}}}}]\n"
    assert policies.load(text).filters[0].flags == FilterFlag.PERMIT_IF_CALLOUT_UNREGISTERED
    for action in ("block", "{callout: watch, kind: inspection}"):
        text = top + f"filters: [{{name: a, layer: ipforward_v4, {flags}, action: {action}}}]\n"
        assert policies.error(text).code == "FWP_E_INVALID_FLAGS"


@pytest.mark.parametrize("word", ["on", "yes", "True", "1"])
def test_booleans_are_true_and_false_only(policies, word):
    assert "neither true nor false" in policies.error(policies.filter(extra=f"    log: {word}\n")).message


def test_absorb_and_reply_go_with_a_block(policies):
    assert one(policies, "    absorb: true\n", "inbound_transport_v4").flags == FilterFlag.ABSORB
    assert one(policies, "    reply: tcp_reset\n").reply is Reply.TCP_RESET
    for extra in ("absorb: true", "reply: tcp_reset"):
        for action in ("permit", "{callout: watch}"):
            body = f"name: a, layer: inbound_transport_v4, action: {action}, {extra}"
            problem = policies.error(HEAD + CALLOUTS + f"filters: [{{{body}}}]\n")
            assert problem.code == "FWP_E_INVALID_PARAMETER" and "block only" in problem.message


@pytest.mark.parametrize("layer", ["ipforward_v4", "ale_flow_established_v4", "inbound_transport_v4_discard"])
def test_absorb_where_windows_does_not_allow_it_is_invalid(policies, layer):
    problem = policies.error(policies.filter("{}", layer, "    absorb: true\n"))
    assert problem.code == "FWP_E_INVALID_PARAMETER"
    assert one(policies, "    absorb: false\n", layer).flags == FilterFlag(0)


def test_a_filter_overrides_on_error(policies):
    assert one(policies, "    on_error: block\n").on_error is Word.BLOCK
    assert policies.error(policies.filter(extra="    on_error: drop\n")).code == "FWP_E_INVALID_ENUMERATOR"


# Weights.


def test_an_exact_weight_stands_as_it_is(policies):
    assert one(policies, "    weight: 0xffffffffffffffff\n").weight == 2**64 - 1
    assert one(policies, "    weight: 0\n").weight == 0


@pytest.mark.parametrize("weight", ["-1", "18446744073709551616", "{range: 16}", "auto", "{rnge: 1}", "1.5"])
def test_other_weights_are_invalid(policies, weight):
    problems = policies.errors(policies.filter(extra=f"    weight: {weight}\n"))
    assert any(problem.code == "FWP_E_INVALID_WEIGHT" for problem in problems)


def test_auto_weight_is_the_number_of_fields_then_their_specificity(policies):
    text = policies.filter("{ip_protocol: tcp, ip_destination_port: 80-81, ip_source_address: 10.0.0.0/8}")
    expected = 3 << 56 | (255 + 255 * 15 // 16 + 255 * 8 // 32) << 40
    assert policies.load(text).filters[0].weight == expected
    assert one(policies).weight == 0


def test_a_range_weight_is_added_above_the_auto_weight(policies):
    text = policies.filter("{ip_protocol: tcp}", extra="    weight: {range: 15}\n")
    assert policies.load(text).filters[0].weight == 15 << 60 | 1 << 56 | 255 << 40


def test_mixing_exact_and_auto_weights_in_a_sublayer_is_a_lint(policies):
    body = "layer: ipforward_v4, action: block"
    text = HEAD + f"filters:\n  - {{name: a, weight: 5, {body}}}\n  - {{name: b, {body}}}\n"
    (lint,) = policies.load(text).lints
    assert "universal" in lint.message and lint.location.line == 3 and lint.subject == 'filter "a"'
    for weight in ("0x1000000000000000", "{range: 3}"):
        assert policies.load(text.replace("weight: 5", f"weight: {weight}")).lints == ()


def test_a_field_that_is_always_empty_here_is_a_lint(policies):
    text = policies.filter("{sub_interface_index: 1}", "inbound_transport_v4")
    assert "always empty" in policies.load(text).lints[0].message
    text = policies.filter("{arrival_sub_interface_index: 1}", "ale_auth_recv_accept_v4")
    assert policies.load(text).lints[0].message.startswith("arrival_sub_interface_index is always empty")


def test_all_errors_of_a_filter_are_reported_at_once_in_order(policies):
    text = (
        HEAD + "filters:\n  - name: a\n    layer: ipforwrd\n    action: drop\n    weight: -1\n    on_eror: block\n"
        "  - name: b\n    layer: ipforward_v4\n    action: block\n    when:\n      ip_ttl: 256\n      ip_dscp: x\n"
    )
    problems = policies.errors(text)
    assert [problem.location.line for problem in problems] == [4, 5, 6, 7, 12, 13]
    assert {problem.subject for problem in problems} == {'filter "a"', 'filter "b"'}


def test_absorb_and_reply_contradict_each_other(policies):
    text = policies.filter("{}", "inbound_transport_v4", "    absorb: true\n    reply: tcp_reset\n")
    assert policies.error(text).code == "FWP_E_INVALID_PARAMETER"


def test_a_key_used_twice_by_one_name_of_two_providers_exists_already(policies):
    body = "name: a, layer: ipforward_v4, action: block, key: c38d57d1-05a7-4c33-904f-7fbceee60e82"
    text = HEAD + f"providers: [{{name: p}}]\nfilters:\n  - {{{body}}}\n  - {{{body}, provider: p}}\n"
    assert policies.error(text).code == "FWP_E_ALREADY_EXISTS"


def test_more_conditions_than_fields_are_refused_at_once(policies):
    when = "{" + ", ".join(f"a{number}: 1" for number in range(500)) + "}"
    assert "more conditions" in policies.error(policies.filter(when)).message


def test_conditions_of_a_filter_whose_layer_is_wrong_are_read_all_the_same(policies):
    when = "{ip_local_port: http, ip_remote_address: 10.0.0.1/8, icmp_type: echo, direction: in, nothing: 1}"
    problems = policies.errors(policies.filter(when, layer="inbound_transprot"))
    found = {problem.message.partition(":")[0] for problem in problems}
    fields = {"ip_local_port", "ip_remote_address", "icmp_type", "direction"}
    assert found == {*fields, 'there is no layer "inbound_transprot"', 'there is no field "nothing"'}

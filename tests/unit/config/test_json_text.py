"""JSON gives the same policy as YAML."""

import json

import pytest

POLICY = {
    "version": 1,
    "sublayers": [{"name": "s", "weight": 36864}],
    "filters": [
        {
            "name": "f",
            "layer": "inbound_transport",
            "sublayer": "s",
            "weight": 18446744073709551615,
            "action": "block",
            "when": {"ip_protocol": 6, "ip_local_port": [22, "80-90"]},
        }
    ],
}


def test_json_and_yaml_give_equal_policies(policies):
    yaml_text = (
        "version: 1\nsublayers: [{name: s, weight: 0x9000}]\nfilters:\n  - {name: f, layer: inbound_transport,"
        " sublayer: s, weight: 0xffffffffffffffff, action: block,"
        " when: {ip_protocol: tcp, ip_local_port: [22, 80-90]}}\n"
    )
    one, two = policies.load(json.dumps(POLICY), "p.json"), policies.load(yaml_text)
    assert [(f.key, f.weight, f.conditions, f.slot) for f in one.filters] == [
        (f.key, f.weight, f.conditions, f.slot) for f in two.filters
    ]


def test_integers_above_2_to_the_53_are_exact(policies):
    text = json.dumps(POLICY).replace("18446744073709551615", "9007199254740993")
    assert policies.load(text, "p.json").filters[0].weight == 9007199254740993


def test_a_number_and_its_string_are_equal(policies):
    text = json.dumps(POLICY).replace("18446744073709551615", '"9007199254740993"').replace("22", '"22"')
    policy = policies.load(text, "p.json")
    assert policy.filters[0].weight == 9007199254740993


@pytest.mark.parametrize("number", ["1e3", "80.0", "-1", "1.5"])
def test_numbers_that_are_no_integers_are_refused(policies, number):
    text = json.dumps(POLICY).replace("18446744073709551615", number)
    assert "weight" in policies.error(text, "p.json").message


def test_a_duplicate_key_is_refused_with_its_place(policies):
    problem = policies.error('{"version": 1,\n "filters": [],\n "filters": []}', "p.json")
    assert "given twice" in problem.message and (problem.location.line, problem.location.column) == (3, 2)


def test_a_leading_brace_is_json_without_the_suffix(policies):
    assert policies.load('\n{"version": 1, "filters": [], "daemon": {"workers": 2}}').daemon.workers == 2


def test_a_flow_mapping_of_yaml_may_begin_with_a_brace_too(policies):
    assert policies.load("{version: 1, filters: []}").filters == ()


@pytest.mark.parametrize(
    "text",
    ['{"version": 1,}', '{"version": 01}', '{"version": 1} x', '{"version" 1}', "{'version': 1}", '{"version": 1', "",
     '{"version": NaN}', '{"version": 1, "a": "\t"}', '{"a": "\\x"}', '[1 2]', '{"a": truefalse}'],
)  # fmt: skip
def test_what_is_not_json_is_refused(policies, text):
    problem = policies.error(text, "p.json")
    assert problem.location.line >= 1 and problem.location.column >= 1


def test_a_lone_surrogate_is_no_text(policies):
    assert any("surrogate" in p.message for p in policies.errors('{"version": 1, "include": ["\\ud800"]}', "p.json"))


def test_deep_nesting_is_refused(policies):
    assert "nested" in policies.error("[" * 100_000, "p.json").message


def test_errors_carry_lines_of_the_json_text(policies):
    text = json.dumps(POLICY, indent=1).replace('"block"', '"drop"')
    problem = policies.error(text, "p.json")
    assert problem.code == "FWP_E_INVALID_ACTION_TYPE"
    assert problem.location.line == text[: text.index('"drop"')].count("\n") + 1

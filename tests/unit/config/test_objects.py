"""Providers, sublayers, contexts and callouts."""

import pytest

from wfpd.model.policy import FILE_PROVIDER, Budget, default_key

HEAD = "version: 1\n"


def weights(policies, text):
    return {item.name: item.weight for item in policies.load(HEAD + text).sublayers}


def test_the_built_in_sublayers_are_there_with_their_guids_by_falling_weight(policies):
    found = policies.load(HEAD + "sublayers: [{name: low, weight: 5}, {name: high, weight: 0xffff}]\n").sublayers
    assert [item.name for item in found] == ["high", "universal", "low", "inspection"]
    assert str(found[1].key) == "eebecc03-ced4-4380-819a-2734397b2b74" and found[1].weight == 0x8000
    assert str(found[3].key) == "877519e1-e6a9-41a5-81b4-8c4f118e4a60" and found[3].weight == 0


def test_a_taken_weight_goes_to_the_nearest_free_below_else_above(policies):
    text = "sublayers: [{name: a, weight: 2}, {name: b, weight: 2}, {name: c, weight: 2}, {name: d, weight: 0x8000}]\n"
    found = weights(policies, text)
    assert (found["a"], found["b"], found["c"], found["d"]) == (2, 1, 3, 0x7FFF)


def test_a_request_for_weight_0_gets_1(policies):
    found = weights(policies, "sublayers: [{name: a, weight: 0}, {name: b, weight: 0}]\n")
    assert (found["a"], found["b"]) == (1, 2)


@pytest.mark.parametrize("weight", ["65536", "-1", "high"])
def test_other_weights_are_invalid(policies, weight):
    problem = policies.error(HEAD + f"sublayers: [{{name: a, weight: {weight}}}]\n")
    assert problem.code == "FWP_E_INVALID_WEIGHT"


@pytest.mark.parametrize("name", ["universal", "inspection"])
def test_the_built_in_names_are_taken(policies, name):
    assert policies.error(HEAD + f"sublayers: [{{name: {name}, weight: 1}}]\n").code == "FWP_E_ALREADY_EXISTS"


@pytest.mark.parametrize("section", ["providers", "sublayers", "provider_contexts", "callouts"])
def test_a_name_given_twice_exists_already(policies, section):
    problem = policies.error(HEAD + f"{section}:\n  - {{name: a}}\n  - {{name: a}}\n")
    assert problem.code == "FWP_E_ALREADY_EXISTS" and problem.location.line == 4


@pytest.mark.parametrize(
    ("section", "kind"),
    [
        ("sublayers", "sublayer"),
        ("provider_contexts", "provider_context"),
        ("callouts", "callout"),
        ("providers", "provider"),
    ],
)
def test_default_keys_come_from_provider_kind_and_name(policies, section, kind):
    policy = policies.load(HEAD + f"{section}: [{{name: a, description: words}}]\n")
    (found,) = [item for item in getattr(policy, section) if item.name == "a"]
    assert found.key == default_key(FILE_PROVIDER, kind, "a") and found.description == "words"


def test_an_object_of_a_provider_has_another_key(policies):
    policy = policies.load(HEAD + "providers: [{name: p}]\nsublayers: [{name: a, provider: p, weight: 9}]\n")
    found = next(item for item in policy.sublayers if item.name == "a")
    assert found.provider == "p" and found.key == default_key("p", "sublayer", "a")


@pytest.mark.parametrize("key", ["123", "{c38d57d1}", "00000000-0000-0000-0000-000000000000"])
def test_what_is_no_guid_is_refused(policies, key):
    assert policies.error(HEAD + f'sublayers: [{{name: a, key: "{key}"}}]\n').code == "FWP_E_INVALID_PARAMETER"


def test_a_key_of_a_built_in_object_exists_already(policies):
    text = HEAD + "sublayers: [{name: a, key: eebecc03-ced4-4380-819a-2734397b2b74}]\n"
    assert policies.error(text).code == "FWP_E_ALREADY_EXISTS"


def test_a_callout_keeps_use_and_options_and_imports_nothing(policies):
    text = HEAD + (
        'callouts:\n  - {name: a, use: "no.such:Thing", options: {answer: permit, n: 3, f: 0.5, clear_right: false,'
        ' quoted: "3", many: [1, x]}}\n'
    )
    (found,) = policies.load(text).callouts
    assert found.use == "no.such:Thing"
    assert found.options == {
        "answer": "permit", "n": 3, "f": 0.5, "clear_right": False, "quoted": "3", "many": [1, "x"],
    }  # fmt: skip


@pytest.mark.parametrize("use", ["module", "module:", ":Class", "a b:C", "../x:C", "a:C()"])
def test_use_is_a_module_and_a_class(policies, use):
    assert "use:" in policies.error(HEAD + f'callouts: [{{name: a, use: "{use}"}}]\n').message


def test_a_callout_without_use_has_no_options(policies):
    assert "no use" in policies.error(HEAD + "callouts: [{name: a, options: {n: 1}}]\n").message


def test_options_are_names_of_arguments(policies):
    assert "options" in policies.error(HEAD + 'callouts: [{name: a, use: "m:C", options: {no-name: 1}}]\n').message


def test_provider_contexts_keep_their_data(policies):
    (found,) = policies.load(HEAD + "provider_contexts: [{name: a, data: {x: [1, two]}}]\n").provider_contexts
    assert found.data == {"x": [1, "two"]}


def test_a_reference_to_a_broken_object_is_not_reported_again(policies):
    text = HEAD + "callouts: [{name: w, use: x}]\nfilters: [{name: a, layer: ipforward, action: {callout: w}}]\n"
    assert "use" in policies.error(text).message


def test_a_sublayer_without_a_weight_asks_for_0(policies):
    assert weights(policies, "sublayers: [{name: a}]\n")["a"] == 1


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("sublayers: [{name: a}, {name: a, weight: 010, color: red}]\n", ["is taken", "weight", '"color"']),
        ("sublayers: [{weight: 99999}]\n", ["name is missing", "weight"]),
        ("callouts: [{name: a}, {name: a, use: no, options: [1]}]\n", ["is taken", "use", "options"]),
        ("callouts: [{use: no, options: [1]}]\n", ["name is missing", "use", "options"]),
    ],
)
def test_an_object_without_a_usable_name_is_read_on_for_its_other_errors(policies, text, parts):
    messages = sorted(problem.message for problem in policies.errors(HEAD + text))
    assert len(messages) == len(parts)
    assert all(any(part in message for message in messages) for part in parts)


def test_a_budget_has_defaults_beside_its_time(policies):
    text = HEAD + "callouts: [{name: a, budget: {time: 200us}}, {name: b}]\n"
    assert [item.budget for item in policies.load(text).callouts] == [
        Budget(200_000, times=5, within_ns=60 * 10**9, suspend_ns=10 * 10**9), None,
    ]  # fmt: skip
    text = HEAD + "callouts: [{name: a, budget: {time: 1ms, times: 1, within: 2s, suspend: 1m}}]\n"
    assert policies.load(text).callouts[0].budget == Budget(10**6, times=1, within_ns=2 * 10**9, suspend_ns=60 * 10**9)


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        ("{times: 2}", "budget: time is missing"),
        ("{time: 0us}", "outside 1us-1h"),
        ("{time: 2h}", "outside 1us-1h"),
        ("{time: fast}", "not a duration"),
        ("{time: 1ms, times: 0}", "budget: times"),
        ("{time: 1ms, length: 3}", "length"),
        ("7", "budget"),
    ],
)
def test_what_is_wrong_with_a_budget_is_said(policies, budget, said):
    assert said in str(policies.error(HEAD + f"callouts: [{{name: a, budget: {budget}}}]\n"))

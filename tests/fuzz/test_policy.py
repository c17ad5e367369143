"""Policies made of the words of the language: a Policy or a PolicyError, nothing else."""

import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.target_policy import outcome, written
from wfpd.model.fields import FIELD

SETTINGS = settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
WORDS = (
    "version include daemon faults attach providers sublayers provider_contexts callouts sets filters name key "
    "description provider layer sublayer weight action absorb reply flags provider_context on_error mode log metrics "
    "when enabled use options type values file hook interfaces families queues balance backend defragment range "
    "callout kind data equal not_equal greater less none_of flags_all_set starts_with ends_with prefix glob text "
    "empty permit block universal inspection ipforward inbound_transport_v4 ale_auth_connect address port tcp "
    "icmp_type echo_request 1 0 -1 0x10 192.0.2.1 192.0.2.0/24 10.0.0.1-10.0.0.9 2001:db8::1 ::/0 ::1/0 80-90 90-80 "
    "$a true false null 500ms 70000 18446744073709551616 is_loopback syn cs1 tcp_reset clear_action_right a b"
).split() + ["", "\x00", "\u20ac", "x" * 200, "a:", ":"]  # fmt: skip
SCALARS = st.sampled_from(WORDS) | st.integers(-5, 70000) | st.booleans() | st.none() | st.text(max_size=8)
KEYS = st.sampled_from(WORDS + list(FIELD))
TREES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=25
)


@SETTINGS
@given(data=st.binary(max_size=200), name=st.sampled_from(["p.yaml", "p.json"]))
def test_any_bytes_end_in_a_policy_or_an_error(tmp_path, data, name):
    outcome(written(tmp_path, data, name))


@SETTINGS
@given(
    text=st.lists(st.sampled_from([*WORDS, *"[]{}:,-&*!|>'\"#%@`\n \t?", ": ", "- ", "\n  "]), max_size=60).map("".join)
)
def test_any_yaml_like_text_ends_in_a_policy_or_an_error(tmp_path, text):
    outcome(written(tmp_path, ("version: 1\n" + text).encode(errors="surrogatepass")))


@SETTINGS
@given(tree=st.dictionaries(KEYS, TREES, max_size=6), name=st.sampled_from(["p.yaml", "p.json"]))
def test_any_tree_ends_in_a_policy_or_an_error(tmp_path, tree, name):
    outcome(written(tmp_path, json.dumps({"version": 1, **tree}).encode(), name))


@SETTINGS
@given(
    when=st.dictionaries(st.sampled_from(list(FIELD)), TREES, max_size=3),
    extra=st.dictionaries(KEYS, TREES, max_size=3),
    layer=st.sampled_from(["ipforward", "inbound_transport", "ale_auth_connect_v6", "datagram_data_v4_discard"]),
)
def test_any_filter_ends_in_a_policy_or_an_error(tmp_path, when, extra, layer):
    body = {"name": "a", "layer": layer, "action": "block", **extra, "when": when}
    text = {"version": 1, "sets": {"a": {"type": "address", "values": ["192.0.2.1"]}}, "filters": [body]}
    outcome(written(tmp_path, json.dumps(text).encode(), "p.json"))


@SETTINGS
@given(
    lines=st.lists(st.binary(max_size=20), max_size=8).map(b"\n".join),
    kind=st.sampled_from(["address", "port", "text"]),
)
def test_any_set_file_ends_in_a_policy_or_an_error(tmp_path, lines, kind):
    written(tmp_path, lines, "set.txt")
    outcome(written(tmp_path, f"version: 1\nsets: {{a: {{type: {kind}, file: set.txt}}}}\n".encode()))

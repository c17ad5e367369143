"""A whole policy: versions, includes, hash, limits, and everything at once."""

import hashlib
import os

import pytest

from wfpd.config import Limits, load_data, load_policy
from wfpd.errors import PolicyError
from wfpd.model.policy import Word

HEAD = "version: 1\n"
FILTER = "filters: [{{name: {}, layer: ipforward_v4, action: block}}]\n"


def test_free_data_is_what_a_policy_has_of_it(policies):
    text = "{seconds: 1, deep: {is: true}, words: [a, '1']}"
    policy = policies.load(f"version: 1\nprovider_contexts: [{{name: c, data: {text}}}]")
    assert (
        load_data(text) == policy.provider_contexts[0].data == {"seconds": 1, "deep": {"is": True}, "words": ["a", "1"]}
    )
    with pytest.raises(PolicyError):
        load_data("{a: ")


def test_the_example_of_the_documentation_loads(policies):
    policies.write("lists/blocklist.txt", "192.0.2.9\n")
    policy = policies.load(
        """\
version: 1
attach:
  - {hook: forward, interfaces: [eth0], queues: 0-1}
sublayers:
  - {name: perimeter, weight: 0x9000}
sets:
  offices:   {type: address, values: [192.0.2.0/24, 2001:db8:1::/48]}
  blocklist: {type: address, file: lists/blocklist.txt}
callouts:
  - {name: watch, use: "wfpd.callouts.fixed:Fixed", options: {answer: continue}}
filters:
  - name: ssh-only-from-offices
    layer: ale_auth_recv_accept
    sublayer: perimeter
    weight: {range: 12}
    action: block
    when:
      ip_protocol: tcp
      ip_local_port: [22, 2222, 8000-8100]
      ip_remote_address: {none_of: [$offices, 198.51.100.7]}
      flags: {flags_none_set: [is_loopback]}
"""
    )
    assert [item.weight >> 60 for item in policy.filters] == [12, 12] and policy.lints == ()


@pytest.mark.parametrize(
    ("version", "words"),
    [("2", "newer"), ("99", "newer"), ("0", "does not exist"), ("1.0", "not an integer"), ("one", "not an")],
)
def test_other_versions_are_refused_by_name(policies, version, words):
    assert words in policies.error(f"version: {version}\n").message


def test_a_missing_version_is_an_error(policies):
    assert "version is missing" in policies.error("filters: []\n").message


def test_a_file_that_is_not_there_is_a_policy_error(tmp_path):
    with pytest.raises(PolicyError) as caught:
        load_policy(tmp_path / "none.yaml")
    assert "cannot be read" in caught.value.problems[0].message


@pytest.mark.parametrize("make", [lambda path: os.mkdir(path), lambda path: os.mkfifo(path)])
def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path, make):
    path = tmp_path / "p.yaml"
    make(path)
    with pytest.raises(PolicyError):
        load_policy(path)


# Includes.


def test_includes_are_read_after_the_file_sorted_by_name(policies):
    policies.write("d/b.yaml", FILTER.format("b"))
    policies.write("d/a.yaml", HEAD + FILTER.format("a"))
    policy = policies.load(HEAD + "include: [d/*.yaml]\n" + FILTER.format("main"))
    assert [item.name for item in policy.filters] == ["main", "a", "b"]
    assert [os.path.basename(path) for path in policy.files] == ["policy.yaml", "a.yaml", "b.yaml"]


def test_an_include_is_relative_to_the_file_that_names_it(policies):
    policies.write("d/e/x.yaml", FILTER.format("x"))
    policies.write("d/a.yaml", "include: [e/x.yaml]\n")
    assert policies.load(HEAD + "include: [d/a.yaml]\n").filters[0].name == "x"


def test_a_pattern_may_match_nothing_and_a_name_may_not(policies):
    assert policies.load(HEAD + "include: ['d/*.yaml']\n").filters == ()
    problem = policies.error(HEAD + "include:\n  - d/a.yaml\n")
    assert "cannot be read" in problem.message and problem.location.line == 3


def test_a_cycle_is_an_error_where_it_closes(policies):
    path = policies.write("a.yaml", "include: [policy.yaml]\n")
    problem = policies.error(HEAD + "include: [a.yaml]\n")
    assert "includes itself" in problem.message and problem.location.file == path


def test_a_file_included_twice_is_an_error(policies):
    policies.write("a.yaml", FILTER.format("a"))
    assert "included twice" in policies.error(HEAD + "include: [a.yaml, a.yaml]\n").message


def test_includes_are_at_most_8_deep(policies):
    def chain(depth):
        for level in range(1, depth + 1):
            policies.write(f"{level}.yaml", f"include: [{level + 1}.yaml]\n" if level < depth else FILTER.format("x"))
        return HEAD + "include: [1.yaml]\n"

    assert policies.load(chain(8)).filters[0].name == "x"
    assert "8 deep" in policies.error(chain(9)).message


def test_errors_of_all_files_are_reported_in_reading_order(policies):
    policies.write("a.yaml", "filters:\n  - {name: a}\n")
    problems = policies.errors(HEAD + "include: [a.yaml]\nfilters:\n  - {name: b}\n")
    assert [(os.path.basename(p.location.file), p.location.line) for p in problems] == [
        ("policy.yaml", 4), ("policy.yaml", 4), ("a.yaml", 2), ("a.yaml", 2),
    ]  # fmt: skip


def test_one_file_of_a_policy_has_the_settings(policies):
    policies.write("a.yaml", "faults: {on_full: block}\n")
    assert policies.load(HEAD + "include: [a.yaml]\n").faults.on_full is Word.BLOCK
    assert "given twice" in policies.error(HEAD + "include: [a.yaml]\nfaults: {}\n").message


def test_references_reach_over_files_in_both_directions(policies):
    policies.write("a.yaml", "sets: {s: {type: port, values: [1]}}\nsublayers: [{name: l, weight: 7}]\n")
    text = policies.filter("{ip_source_port: $s}", extra="    sublayer: l\n", top="include: [a.yaml]\n")
    assert policies.load(text).filters[0].sublayer == "l"


# Hash.


def test_the_hash_is_over_the_bytes_of_all_files_in_reading_order(policies):
    policies.write("a.txt", "1\n")
    policies.write("a.yaml", "sets: {s: {type: port, file: a.txt}}\n")
    text = HEAD + "include: [a.yaml]\n"
    expected = hashlib.sha256((text + "sets: {s: {type: port, file: a.txt}}\n" + "1\n").encode()).hexdigest()
    assert policies.load(text).hash == expected


def test_the_same_bytes_are_the_same_policy(policies):
    text = policies.filter("{ip_protocol: tcp}", "ipforward")
    one, two = policies.load(text), policies.load(text)
    assert one == two
    assert policies.load(text, "other.yaml").hash == one.hash


# Limits.


@pytest.mark.parametrize(
    ("limits", "text", "words"),
    [
        (Limits(file_size=20), HEAD + "# " + "x" * 40 + "\n", "20 bytes"),
        (Limits(total_size=5), HEAD, "5 bytes"),
        (Limits(nodes=3), HEAD + "filters: []\n", "3 values"),
        (Limits(nesting=2), HEAD + "faults: {a: {b: 1}}\n", "2 levels"),
        (Limits(filters=1), HEAD + "filters: [{name: a, layer: ipforward, action: block}]\n", "1 engine"),
        (Limits(objects=1), HEAD + "sublayers: [{name: a}, {name: b}]\n", "more than 1"),
        (Limits(text_length=4), HEAD + "callouts: [{name: a, description: 12345}]\n", "4 bytes"),
        (
            Limits(layers=1),
            HEAD + "filters: [{name: a, action: block, layer: [ipforward_v4, ipforward_v6]}]\n",
            "1 layers",
        ),
    ],
)
def test_limits_are_kept(policies, limits, text, words):
    assert words in policies.error(text, limits=limits).message


def test_the_number_of_values_of_a_condition_is_limited(policies):
    text = policies.filter("{ip_source_port: [1, 2, 3]}")
    assert policies.error(text, limits=Limits(condition_values=2)).code == "FWP_E_OUT_OF_BOUNDS"


def test_the_number_of_included_files_is_limited(policies):
    for name in "abc":
        policies.write(f"{name}.yaml", "filters: []\n")
    assert "2 files" in policies.error(HEAD + "include: ['?.yaml']\n", limits=Limits(files=2)).message


def test_the_number_of_errors_is_limited(policies):
    problems = policies.errors(HEAD + "filters: [{}, {}, {}, {}]\n", limits=Limits(problems=3))
    assert len(problems) == 4 and "not shown" in problems[-1].message


# Everything at once.


def test_nothing_is_half_loaded_and_every_error_is_told(policies):
    problems = policies.errors(
        "version: 3\nattch: []\ndaemon: {workers: many}\nfaults: {on_full: maybe}\nsublayers: [{name: a, weight: x}]\n"
        "sets: {s: {type: port, values: [x]}}\nfilters: [{name: f, layer: nowhere, action: block}]\n"
    )
    assert [problem.location.line for problem in problems] == [1, 2, 3, 4, 5, 6, 7]


def test_five_thousand_filters_are_read(policies):
    rows = "".join(
        f"  - {{name: f{i}, layer: ipforward, action: block, when: {{ip_source_port: {i}}}}}\n" for i in range(5000)
    )
    assert len(policies.load(HEAD + "filters:\n" + rows).filters) == 10_000

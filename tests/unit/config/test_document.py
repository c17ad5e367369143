"""YAML events to a tree: what is refused, where, with which hint."""

import pytest

HEAD = "version: 1\n"


def test_every_scalar_stays_text_until_its_field_reads_it(policies):
    policy = policies.load(HEAD + "sublayers:\n  - {name: on, weight: 0x10}\n  - {name: 12:30, weight: 9}\n")
    assert {(item.name, item.weight) for item in policy.sublayers} >= {("on", 16), ("12:30", 9)}


def test_a_key_given_twice_is_an_error_with_both_lines(policies):
    problem = policies.error(HEAD + "faults:\n  on_full: block\n  on_full: permit\n")
    assert "given twice" in problem.message and "line 3" in problem.message
    assert (problem.location.line, problem.location.column) == (4, 3)


def test_an_unknown_key_gets_the_nearest_known_one(policies):
    problem = policies.error(HEAD + "sublayer:\n  - {name: a, weight: 1}\n")
    assert 'did you mean "sublayers"?' in problem.hint
    assert problem.location.line == 2


@pytest.mark.parametrize(
    ("text", "words", "line"),
    [
        ("faults: &a {on_full: block}\n", "anchors", 2),
        ("faults: {on_full: &a block}\n", "anchors", 2),
        ("sublayers:\n  - &a {name: x, weight: 1}\n", "anchors", 3),
        ("faults: !!map {on_full: block}\n", "tags", 2),
        ("faults: {on_full: !!str block}\n", "tags", 2),
        ("faults: {on_full: ! block}\n", "tags", 2),
        ("faults:\n  <<: {on_full: block}\n", "merge keys", 3),
        ("---\nversion: 1\n", "second document", 2),
        ("faults: {[a]: block}\n", "a key has to be", 2),
    ],
)
def test_constructs_of_yaml_that_hide_meaning_are_refused(policies, text, words, line):
    problem = policies.error(HEAD + text)
    assert words in problem.message
    assert problem.location.line == line


def test_an_alias_is_refused_next_to_its_anchor(policies):
    messages = [problem.message for problem in policies.errors(HEAD + "faults: &a {}\ndaemon: *a\n")]
    assert any("anchors" in message for message in messages) and any("aliases" in message for message in messages)


@pytest.mark.parametrize("entry", ["::1", "2001:db8::", "::/0", "::ffff:192.0.2.1"])
@pytest.mark.parametrize("shape", ["[{}]", "[192.0.2.1, {}]", "{{none_of: [{}, 192.0.2.1]}}", "{{equal: {}}}"])
def test_an_unquoted_entry_with_a_colon_at_its_end_is_told_to_be_quoted(policies, entry, shape):
    text = policies.filter("\n      ip_source_address: " + shape.format(entry), "ipforward_v6")
    problem = policies.error(text)
    assert "quoted" in problem.hint and f'"{entry}"' in problem.hint
    assert problem.location.line == 7


def test_a_quoted_entry_with_colons_is_an_address(policies):
    assert policies.condition("ip_source_address", '["::1", "2001:db8::"]', "ipforward_v6").terms


def test_a_block_list_entry_that_ends_with_a_colon_is_told_to_be_quoted(policies):
    problem = policies.error(policies.filter("\n      ip_source_address:\n        - 2001:db8::\n", "ipforward_v6"))
    assert 'quoted: "2001:db8::"' in problem.hint and problem.location.line == 8


def test_a_tab_is_named(policies):
    problem = policies.error(HEAD + "faults:\n\ton_full: block\n")
    assert "tabs" in problem.hint and problem.location.line == 3


def test_text_that_is_not_utf8_is_refused_with_its_place(policies):
    problem = policies.error(b"version: 1\n# \xff\n")
    assert "UTF-8" in problem.message and (problem.location.line, problem.location.column) == (2, 3)


def test_a_control_character_is_refused(policies):
    problem = policies.error(b"version: 1\n# \x00\n")
    assert "U+0000" in problem.message


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "---\n"])
def test_an_empty_file_is_no_policy(policies, text):
    assert "empty" in policies.error(text).message


@pytest.mark.parametrize("text", ["- 1\n", "word\n", "[]\n"])
def test_a_policy_is_a_mapping(policies, text):
    assert "mapping" in policies.error(text).message


@pytest.mark.parametrize("text", ["[" * 100_000, "a: " + "[" * 100_000, "- " * 100_000, "{a: " * 50_000])
def test_deep_nesting_ends_with_an_error_about_its_depth(policies, text):
    assert any("nested" in p.message or "a key" in p.message for p in policies.errors(text))


def test_a_section_without_a_value_is_an_empty_one(policies):
    assert policies.load("version: 1\nfilters:\nsets:\ninclude:\n").filters == ()


def test_conditions_without_a_value_are_an_error_for_they_would_match_everything(policies):
    assert "when" in policies.error(policies.filter("")).message


def test_a_byte_order_mark_is_passed_over(policies):
    assert policies.load(b"\xef\xbb\xbfversion: 1\n").filters == ()


def test_a_duplicate_in_a_large_mapping_is_found_without_a_search(policies):
    keys = "".join(f"k{number}: 1\n" for number in range(1500))
    problems = policies.errors(HEAD + keys + "k7: 2\n")
    assert any(p.message == 'key "k7" is given twice' and p.location.line == 1502 for p in problems)

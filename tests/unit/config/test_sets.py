"""Named sets, inline and from files."""

import pytest

from wfpd.config import Limits

HEAD = "version: 1\n"


def test_values_are_sorted_merged_and_split_by_family(policies):
    values = '[10.0.0.2, 10.0.0.0/31, 192.0.2.1-192.0.2.3, "2001:db8::1", 192.0.2.2]'
    (found,) = policies.load(HEAD + f"sets: {{a: {{type: address, values: {values}}}}}\n").sets
    assert found.ranges == ((0x0A000000, 0x0A000002), (0xC0000201, 0xC0000203))
    assert found.ranges_v6 == ((0x20010DB8 << 96 | 1,) * 2,)


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("port", "[80, 443, 8000-8002]", ((80, 80), (443, 443), (8000, 8002))),
        ("protocol", "[tcp, 17]", ((6, 6), (17, 17))),
        ("uint8", "[255]", ((255, 255),)),
        ("uint32", "[0xffffffff]", ((0xFFFFFFFF, 0xFFFFFFFF),)),
        ("uint64", "[18446744073709551615]", ((2**64 - 1, 2**64 - 1),)),
        ("number", "[1, 2]", ((1, 2),)),
        ("port", "[]", ()),
    ],
)
def test_sets_of_numbers(policies, kind, values, expected):
    (found,) = policies.load(HEAD + f"sets: {{a: {{type: {kind}, values: {values}}}}}\n").sets
    assert found.ranges == expected and found.type == kind


def test_sets_of_texts_are_sorted_bytes(policies):
    (found,) = policies.load(HEAD + "sets: {a: {type: text, values: [b, a, b, $x]}}\n").sets
    assert found.texts == (b"$x", b"a", b"b")


def test_a_set_file_has_one_value_a_line_and_comments(policies):
    policies.write("lists/a.txt", "# head\n192.0.2.1\n\n  192.0.2.2  # why\n2001:db8::/32\r\n#x\n")
    policy = policies.load(HEAD + "sets: {a: {type: address, file: lists/a.txt}}\n")
    assert policy.sets[0].ranges == ((0xC0000201, 0xC0000202),) and len(policy.sets[0].ranges_v6) == 1
    assert [path.rsplit("/", 1)[1] for path in policy.files] == ["policy.yaml", "a.txt"]


def test_errors_in_a_set_file_carry_its_lines(policies):
    path = policies.write("a.txt", "192.0.2.1\n192.0.2.1/24\nnonsense\n")
    problems = policies.errors(HEAD + "sets: {a: {type: address, file: a.txt}}\n")
    assert [(p.location.file, p.location.line, p.subject) for p in problems] == [
        (path, 2, 'set "a"'),
        (path, 3, 'set "a"'),
    ]
    assert "192.0.2.0/24" in problems[0].hint


def test_a_text_set_file_may_hold_any_bytes(policies):
    policies.write("a.txt", b"/opt/\xff\n/bin/sh\n")
    assert policies.load(HEAD + "sets: {a: {type: text, file: a.txt}}\n").sets[0].texts == (b"/bin/sh", b"/opt/\xff")


def test_bytes_that_are_no_ascii_are_no_address(policies):
    policies.write("a.txt", b"\xff\xfe\n")
    assert policies.error(HEAD + "sets: {a: {type: address, file: a.txt}}\n").location.line == 1


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("{values: [1]}", "type is missing"),
        ("{type: adress, values: []}", "not known"),
        ("{type: port}", "either values or a file"),
        ("{type: port, values: [1], file: x}", "either values or a file"),
        ("{type: port, values: [https]}", "ports have no names"),
        ("{type: port, values: [70000]}", "outside"),
        ("{type: port, values: [$b]}", "another set"),
        ("{type: port, values: [{range: 1-2}]}", "one value"),
        ("{type: port, values: 80}", "a list is needed"),
        ("{type: port, values: [9-1]}", "low end"),
        ("{type: address, file: missing.txt}", "cannot be read"),
        ("{type: text, values: ['']}", "empty"),
        ("[80]", "mapping"),
    ],
)
def test_wrong_sets_are_refused(policies, body, words):
    problem = policies.error(HEAD + f"sets:\n  a: {body}\n")
    assert words in problem.message and problem.location.line == 3


def test_a_filter_that_names_a_broken_set_is_not_reported_again(policies):
    text = policies.filter("{ip_source_port: $a}", top="sets: {a: {type: port, values: [x]}}\n")
    assert "not an integer" in policies.error(text).message


def test_the_number_of_entries_is_limited(policies):
    text = HEAD + "sets: {a: {type: port, values: [1, 2, 3]}}\n"
    assert "more than 2" in policies.error(text, limits=Limits(set_entries=2)).message
    policies.write("a.txt", "1\n2\n3\n")
    problem = policies.error(HEAD + "sets: {a: {type: port, file: a.txt}}\n", limits=Limits(set_entries=2))
    assert problem.location.line == 3


def test_two_hundred_thousand_lines_are_read(policies):
    lines = (f"10.{i >> 16 & 255}.{i >> 8 & 255}.{i & 255}\n" for i in range(0, 400_000, 2))
    policies.write("a.txt", "".join(lines))
    assert len(policies.load(HEAD + "sets: {a: {type: address, file: a.txt}}\n").sets[0].ranges) == 200_000

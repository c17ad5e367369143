"""Files of tests: everything in them, and all that is wrong with them at once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.unit.testing.files import HEAD, case, suite, write
from wfpd.config import Limits
from wfpd.errors import ControlError, PolicyError
from wfpd.testing.reading import read_suites


def wrong(directory: Path, text: str) -> list[str]:
    """The errors of a file, without its directory."""
    path = directory / "x.test.yaml"
    path.write_text(text)
    with pytest.raises(PolicyError) as caught:
        read_suites([str(path)], None)
    return [str(problem).replace(f"{directory}{os.sep}", "") for problem in caught.value.problems]


def test_a_policy_is_beside_the_file_or_given(tmp_path: Path) -> None:
    path = write(tmp_path, "  - {name: it, expect: permit}\n")
    assert read_suites([path], None)[0].policy == str(tmp_path / "policy.yaml")
    assert read_suites([path], "other.yaml")[0].policy == "other.yaml"


def test_a_file_may_be_json(tmp_path: Path) -> None:
    path = tmp_path / "x.test.json"
    path.write_text('{"version": 1, "policy": "p", "cases": [{"name": "a", "hook": "input", "proto": 17, '
                    '"src": "192.0.2.1", "dst": "192.0.2.2:53", "expect": {"veto": false}}]}')  # fmt: skip
    (found,) = read_suites([str(path)], None)
    assert [one.name for one in found.cases] == ["a"]


def test_a_case_may_be_passed_over_and_have_answers(tmp_path: Path) -> None:
    found = case(tmp_path, "skip: not yet, description: a, answers: {watch: permit}, expect: permit")
    assert (found.skip, found.answers, found.run_callouts) == ("not yet", {"watch": "permit"}, False)
    assert case(tmp_path, "callouts: run, expect: permit").run_callouts


def test_a_capture_has_expectations_of_one_packet_some_or_all(tmp_path: Path) -> None:
    one = case(tmp_path, "capture: x.pcap, packet: 3, expect: block").capture
    assert one and one.path == str(tmp_path / "x.pcap") and list(one.by_number) == [3] and one.every is None
    every = case(tmp_path, "capture: x.pcap, expect: block").capture
    assert every and every.every and every.every.members == {"verdict": "block"}
    whole = case(tmp_path, "capture: x.pcap, local: [10.0.0.0/8], checksums: true, expect: {every: permit, "
                           "golden: g.jsonl, packets: {2: {filter: a}}, verdicts: {block: 1}}").capture  # fmt: skip
    assert whole and whole.local and whole.checksums and whole.golden == str(tmp_path / "g.jsonl")
    assert (whole.by_number[2].members, whole.counts) == ({"filter": "a"}, {"block": 1})


def test_a_hook_of_the_case_takes_the_place_of_local_in_the_defaults(tmp_path: Path) -> None:
    head = HEAD.replace("hook: forward", "local: 10.0.0.1").replace("198.51.100.2:80", "'10.0.0.1:80'")
    told = suite(tmp_path, "  - {name: a, expect: permit}\n  - {name: b, hook: forward, expect: permit}\n", head=head)
    assert [found.steps[0].hooks for found in told.cases] == [("input",), ("forward",)]


def test_every_error_is_told_at_once_in_order_of_the_lines(tmp_path: Path) -> None:
    found = wrong(tmp_path, "version: 2\npolcy: x\ndefaults: {hook: forwrd, proto: tcp, src: 192.0.2.1}\ncases:\n"
                            "  - {name: a, dst: '192.0.2.2:1', expect: allow}\n  - {name: a, dst: 1}\n"
                            "  - {dst: '192.0.2.2:1', dst: '192.0.2.2:1', expect: block}\n")  # fmt: skip
    assert [line.split(":")[1] for line in found] == ["1", "1", "2", "3", "5", "6", "6", "6", "7", "7"]
    assert 'did you mean "policy"?' in found[2] and 'case "a": hook: "forwrd"' in found[3]
    assert 'the name "a" is taken in line 5' in "".join(found) and 'key "dst" is given twice' in "".join(found)


@pytest.mark.parametrize(("text", "says"), [
    ("a: [", "did not find"), ("[1]", "a mapping is needed"), ("version: 1\npolicy: x\n", "cases are missing"),
    ("version: 1\npolicy: x\ncases: 1\n", "a list is needed"), ("version: x\npolicy: x\ncases: []\n", "not an integer"),
    ("policy: x\ncases: []\n", "version is missing"), ("version: 1\npolicy: []\ncases: []\n", "one value is needed"),
    ("version: 1\npolicy: x\ndefaults: 1\ncases: []\n", "a mapping is needed"), ("", "is empty"),
    ("version: 1\npolicy: x\ncases: [1]\n", "a mapping is needed"), ("version: 1\npolicy: x\nx: &a 1\n", "anchors"),
    (HEAD + "  - {expect: permit}\n", "case: name is missing"), (HEAD + "  - {name: a}\n", "expect is missing"),
    (HEAD + "  - {name: a, packets: [{}]}\n", "nothing is expected of any"),
    (HEAD + "  - {name: a, each: [{}]}\n", "expect is missing, here and of the case"),
    (HEAD + "  - {name: a, capture: x, expect: {}}\n", "nothing is expected"),
    (HEAD + "  - {name: a, capture: x}\n", "expect is missing"),
    (HEAD + "  - {name: a, capture: x, dst: 1, expect: permit}\n", 'unknown key "dst"'),
    (HEAD + "  - {name: a, capture: x, packet: 0, expect: permit}\n", "outside 1-"),
    (HEAD + "  - {name: a, capture: x, expect: {packets: {x: permit}}}\n", "packet: \"x\" is not an integer"),
    (HEAD + "  - {name: a, capture: x, expect: {verdicts: {allow: 1}}}\n", 'unknown key "allow"'),
    (HEAD + "  - {name: a, capture: x, hook: input, local: 10.0.0.1, expect: permit}\n", "taken from local"),
    (HEAD + "  - {name: a, answers: {c: maybe}, expect: permit}\n", "answers: c"),
    (HEAD + "  - {name: a, callouts: run, answers: {c: permit}, expect: permit}\n", "the callouts are run"),
    (HEAD + "  - {name: a, callouts: perhaps, expect: permit}\n", "is not known"),
    (HEAD + "  - {name: \"a\\nb\", expect: permit}\n", "not printable ASCII"),
    (HEAD + "  - {name: a, src: 192.0.2.1, hook: }\n", "hook"),
    (HEAD.replace("hook: forward, ", "") + "  - {name: a, expect: permit}\n", "hook is missing"),
])  # fmt: skip
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, text: str, says: str) -> None:
    assert says in "\n".join(wrong(tmp_path, text))


def test_errors_end_where_there_are_too_many(tmp_path: Path) -> None:
    path = tmp_path / "x.test.yaml"
    path.write_text(HEAD + "  - {}\n" * 50)
    with pytest.raises(PolicyError, match="more than 10 errors"):
        read_suites([str(path)], None, Limits(problems=10))


def test_what_is_not_there_is_another_error_than_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="cannot open"):
        read_suites([str(tmp_path / "none.test.yaml")], None)
    with pytest.raises(ControlError, match="not a regular file"):
        read_suites([str(tmp_path)], None)
    path = tmp_path / "large.test.yaml"
    path.write_text("x" * 100)
    with pytest.raises(PolicyError, match="larger than the limit"):
        read_suites([str(path)], None, Limits(file_size=50))

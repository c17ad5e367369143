"""What is printed of a run, for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema

from tests.unit.testing.files import POLICY, ran, result
from wfpd.testing import report
from wfpd.testing.running import SuiteResult

SCHEMA = json.loads(Path(report.__file__).with_name("report_schema.json").read_text())
CASES = """\
  - {name: good, expect: permit}
  - {name: bad, dst: '198.51.100.2:23', expect: {verdict: permit, filter: web, callouts: [watch]}}
  - {name: later, skip: not yet, expect: permit}
"""


def test_the_document_is_as_its_schema_says(tmp_path: Path) -> None:
    found, runner = ran(tmp_path, CASES, coverage=True)
    broken, _ = ran(tmp_path, CASES, policy="version: 9\n")
    document = json.loads(json.dumps(report.document([found, broken], 0.5, runner.coverage)))
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    assert [document[name] for name in ("ok", "passed", "failed", "skipped", "broken")] == [False, 1, 1, 1, 1]
    good, bad, later = document["files"][0]["cases"]
    assert (good["outcome"], later["skip"], bad["line"]) == ("passed", "not yet", 6)
    assert bad["failures"][0]["differences"][2] == {"member": "callouts", "expected": ["watch"], "came": []}
    assert document["files"][1]["cases"] == [] and "newer" in document["files"][1]["errors"][0]


def test_nothing_failed_is_ok(tmp_path: Path) -> None:
    found, _ = ran(tmp_path, "  - {name: good, expect: permit}\n")
    assert report.is_passed([found])
    assert report.summary([found], 1).startswith("1 case in 1 file: 1 passed, 0 failed, 0 skipped; 1 packet, 1.000 s")
    left = SuiteResult(found.suite, (), found.problems, 2)
    assert "2 not selected" in report.summary([left], 1)


def test_a_failure_is_told_with_the_text_of_explain(tmp_path: Path) -> None:
    found, _ = ran(tmp_path, CASES)
    texts = [report.render_case("x", item) for item in found.results]
    assert texts[0] == "ok    x:5  good\n" and texts[2] == "skip  x:7  later (not yet)\n"
    lines = texts[1].splitlines()
    assert lines[:5] == [
        "FAIL  x:6  bad", "    verdict: expected permit, came block", "    filter: expected web, came tcp",
        "    callouts: expected [watch], came []",
        "    web at ipforward_v4: ip_destination_port is 23, wants [80, 443]",
    ]  # fmt: skip
    assert "        near    permit   web    ip_destination_port is 23, wants [80, 443]" in lines
    assert lines[-2:] == ["    verdict: block, a filter decided: ipforward_v4 universal tcp", ""]
    assert "\x1b[31;1mFAIL" in report.render_case("x", found.results[1], True)


def test_packets_are_named_where_there_are_several_and_the_rest_is_counted(tmp_path: Path) -> None:
    ports = ", ".join(f"'198.51.100.2:{port}'" for port in range(1, 31))
    found = list(report.details(result(tmp_path, f"dst: [{ports}], expect: permit")))
    assert found[0] == "packet 1: verdict: expected permit, came block" and found[20] == "and 10 more"


def test_an_error_stands_alone(tmp_path: Path) -> None:
    found = result(tmp_path, "answers: {x: block}, expect: permit")
    assert list(report.details(found)) == ["the policy has no callout 'x'"]


def test_names_of_files_are_safe_to_print(tmp_path: Path) -> None:
    assert report.printable("a\udcff\x1b\n\u202eé.yaml") == "a\\udcff\\x1b\\n\\u202eé.yaml"
    found, _ = ran(tmp_path, CASES, policy="version: 9\n")
    lines = report.render_problems(found).splitlines()
    assert lines[0].endswith("a.test.yaml  its policy does not load") and "version 9 is newer" in lines[1]
    assert lines[2].startswith("      hint: ")


def test_values_are_said_in_words() -> None:
    assert [report.say(value) for value in (None, True, ["a", "b"], 3, [{"a": 1}], "x" * 200)] == [
        "none", "true", "[a, b]", "3", "[{'a': 1}]", "x" * 160 + "...",
    ]  # fmt: skip


def test_coverage_is_told_by_layer(tmp_path: Path) -> None:
    _, runner = ran(tmp_path, CASES, coverage=True)
    text = report.render_coverage(runner.coverage)
    assert text.splitlines()[0].endswith("policy.yaml: 2 of 12 filters hit")
    assert "  ipforward_v4: 2 of 4, not asks, noted" in text.splitlines()


def test_a_callout_that_was_run_is_not_said_to_be_taken_for_granted(tmp_path: Path) -> None:
    runs = POLICY.replace('  - {name: broken, use: "no_such_module:Class"}\n', "")
    for told, said in (("callouts: run", False), ("answers: {watch: block}", True)):
        lines = list(report.details(result(tmp_path, f"proto: udp, {told}, expect: permit", runs)))
        assert any("answers block" in line for line in lines)
        assert any("was not called" in line for line in lines) is said

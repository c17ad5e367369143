"""The command: what it finds, what it selects, its exit statuses and its output."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.unit.testing.files import EXAMPLES, write
from wfpd import cli
from wfpd.errors import ControlError, UsageError
from wfpd.testing.command import find, selecting

DOCS = EXAMPLES.parent
GOOD = "  - {name: Web open, expect: permit}\n"
BAD = "  - {name: no telnet, dst: '198.51.100.2:23', expect: permit}\n"


@pytest.mark.parametrize("path", sorted((EXAMPLES / "tests").glob("*.test.yaml")), ids=lambda path: path.name)
def test_the_tests_of_the_examples_pass_with_every_v4_filter_hit(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["test", str(path), "--json", "--coverage"]) == 0
    document = json.loads(capsys.readouterr().out)
    missed = [layer["missed"] for layer in document["coverage"][0]["layers"] if "_v4" in layer["layer"]]
    assert document["passed"] >= 2 and not any(missed)


def test_every_example_has_tests() -> None:
    names = {path.stem for path in EXAMPLES.glob("*.yaml") if not path.name.endswith(".test.yaml")}
    assert names == {path.name.removesuffix(".test.yaml") for path in (EXAMPLES / "tests").glob("*.yaml")}


def test_0_where_all_passed_and_1_where_one_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["test", write(tmp_path, GOOD)]) == 0
    assert capsys.readouterr().out.splitlines()[0].startswith("1 case in 1 file: 1 passed")
    path = write(tmp_path, GOOD + BAD)
    assert cli.main(["test", path, "-v"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        f"ok    {path}:5  Web open",
        f"FAIL  {path}:6  no telnet",
        "    verdict: expected permit, came block",
    ]


def test_1_where_the_policy_or_a_test_file_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["test", write(tmp_path, GOOD, policy="version: 9\n")]) == 1
    assert "its policy does not load\n    " in capsys.readouterr().out
    assert cli.main(["test", write(tmp_path, "  - {name: a}\n  - {name: b}\n")]) == 1
    assert capsys.readouterr().err.count("expect is missing") == 2


def test_2_where_nothing_is_selected_and_3_where_something_cannot_be_opened(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, GOOD)
    assert cli.main(["test", path, "-k", "nothing like it"]) == 2
    (tmp_path / "empty").mkdir()
    assert cli.main(["test", str(tmp_path / "empty")]) == 2
    assert cli.main(["test", str(tmp_path / "none")]) == 3
    assert cli.main(["test", path, "--policy", str(tmp_path / "none")]) == 3
    assert cli.main(["test", path, "--junit", str(tmp_path / "none" / "x.xml")]) == 3
    assert "cannot open" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        cli.main(["test"])
    assert caught.value.code == 2


def test_another_policy_can_be_tested(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, GOOD)
    other = tmp_path / "other.yaml"
    other.write_text("version: 1\nfilters: [{name: shut, layer: ipforward, action: block}]\n")
    assert cli.main(["test", path, "--policy", str(other)]) == 1
    assert "by shut (universal)" in capsys.readouterr().out


def test_results_are_written_as_json_and_as_junit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    junit = tmp_path / "x.xml"
    assert cli.main(["test", write(tmp_path, GOOD + BAD), "--json", "--junit", str(junit), "-k", "TELNET"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["failed"], document["passed"], document["deselected"]) == (1, 0, 1)
    assert ElementTree.fromstring(junit.read_bytes()).get("failures") == "1"


def test_directories_are_searched_and_every_file_is_taken_once(tmp_path: Path) -> None:
    for name in ("b/x.test.yaml", "a/y.test.yml", "a/z.test.json", "a/policy.yaml", ".hidden/x.test.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    os.symlink(tmp_path, tmp_path / "b" / "loop")
    names = ["a/y.test.yml", "a/z.test.json", "b/x.test.yaml"]
    assert find([str(tmp_path), str(tmp_path / names[2])]) == [str(tmp_path / name) for name in names]
    assert find([str(tmp_path / "a/policy.yaml")]) == [str(tmp_path / "a/policy.yaml")]
    with pytest.raises(UsageError, match=r"no \*\.test\.yaml"):
        find([_empty(tmp_path)])
    with pytest.raises(ControlError):
        find([str(tmp_path / "none")])


def _empty(directory: Path) -> str:
    (directory / "empty").mkdir()
    return str(directory / "empty")


def test_patterns_select_by_any_part_of_a_name() -> None:
    assert [name for name in ("Web open", "telnet", "ssh") if selecting(["WEB", "tel"])(name)] == ["Web open", "telnet"]
    assert selecting(None)("anything")


def test_the_example_in_the_docs_is_what_is_printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
                                                    tmp_path: Path) -> None:  # fmt: skip
    blocks = re.findall(r"```(?:yaml)?\n(.*?)```\n", (DOCS / "testing.md").read_text(), re.DOTALL)
    (tmp_path / "gateway.yaml").write_bytes((EXAMPLES / "gateway.yaml").read_bytes())
    (tmp_path / "gateway.test.yaml").write_text(blocks[0])
    monkeypatch.chdir(tmp_path)
    assert cli.main(["test", "gateway.test.yaml"]) == 1
    printed = re.sub(r"[0-9.]+ s\n$", "0.002 s\n", capsys.readouterr().out)
    assert printed == blocks[1]

import json
from pathlib import Path

import pytest

from wfpd import cli


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_project_is_written_and_the_next_step_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["new-callout", "my-callout"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert "my-callout/src/my_callout/__init__.py" in said and Path("my-callout/policy.yaml").exists()
    assert said[-1] == "my_callout:MyCallout is ready: cd my-callout && pytest"


def test_programs_get_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["new-callout", "fast-one", "--native", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {name: found[name] for name in ("directory", "package", "class", "native")} == {
        "directory": "fast-one", "package": "fast_one", "class": "FastOne", "native": True,
    }  # fmt: skip
    assert all(Path("fast-one", name).is_file() for name in found["files"])


@pytest.mark.parametrize(("name", "status", "said"), [("No", 2, "no name"), ("there", 3, "exists already")])
def test_what_cannot_be_is_refused(capsys: pytest.CaptureFixture[str], name: str, status: int, said: str) -> None:
    Path("there").mkdir()
    assert cli.main(["new-callout", name]) == status
    assert said in capsys.readouterr().err

"""Every policy of docs/builtin-callouts.md is accepted, and every callout there is can be made as written."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from wfpd.callouts.registry import load_callouts
from wfpd.config import load_policy
from wfpd.model.layers import LAYER

ROOT = Path(__file__).resolve().parents[4]
TEXT = (ROOT / "docs" / "builtin-callouts.md").read_text()
POLICIES = re.findall(r"^```yaml\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def written(tmp_path: Path, text: str) -> Path:
    """The policy in a file; a layer that is not served yet is replaced by its packets'."""
    if not LAYER["stream"].served:
        text = text.replace("layer: stream\n", "layer: stream_packet\n")
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("number", range(len(POLICIES)))
def test_a_policy_of_the_page_has_no_error_and_no_lint(number: int, tmp_path: Path) -> None:
    path = written(tmp_path, POLICIES[number])
    done = subprocess.run(
        [sys.executable, "-m", "wfpd", "check", "--strict", "--login", "none", "--json", path],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)
    assert None not in load_callouts(load_policy(str(path), trust="warn").callouts)


def test_every_callout_shipped_is_in_the_table_and_in_an_example() -> None:
    folder = ROOT / "wfpd" / "callouts" / "builtin"
    shipped = {f"{path.stem}:{name}" for path in folder.glob("*.py")
               for name in re.findall(r"^class (\w+)[^\n]*:\n(?:(?!^class ).)*?^    def classify\(", path.read_text(),
                                      re.MULTILINE | re.DOTALL)}  # fmt: skip
    assert shipped == set(re.findall(r"^\| `(\w+:\w+)` \|", TEXT, re.MULTILINE))
    assert shipped == set(re.findall(r'use: "wfpd\.callouts\.builtin\.(\w+:\w+)"', TEXT))

"""The worked examples of WFP's arbitration, as policy files, through `wfpd replay --json`."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import pytest

DATA = pathlib.Path(__file__).resolve().parents[1] / "data" / "arbitration"
EXPECTED = json.loads((DATA / "expected.json").read_text())


@pytest.mark.parametrize("number", sorted(EXPECTED))
def test_worked_example_is_decided_as_wfp_decides_it(number: str) -> None:
    want = EXPECTED[number]
    policy = DATA / f"{int(want.get('file', number)):02}.yaml"
    done = subprocess.run(
        [sys.executable, "-m", "wfpd", "replay", "--policy", str(policy), "--hook", want["hook"], "--json",
         str(DATA / "ports.pcap")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    line = json.loads(done.stdout.splitlines()[0 if want["port"] == 80 else 1])
    got = {key: line[key] for key in ("verdict", "reason", "filter", "veto")}
    assert got == {key: want[key] for key in ("verdict", "reason", "filter", "veto")}
    assert [name for row in line["layers"] for name in row["callouts"]] == want["callouts"]

"""Every policy under docs/examples decides its capture as the verdicts beside it say."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from wfpd.capture import read_capture
from wfpd.config.schema import load_policy
from wfpd.replay import parse_local, run

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.yaml"))
LOCAL = "203.0.113.10/32,2001:db8:9::10/128"


def replayed(name: str) -> list[dict[str, object]]:
    """The lines of `wfpd replay --json`; the gateway forwards, the others have addresses of their own."""
    out, err = io.StringIO(), io.StringIO()
    local = None if name == "gateway" else parse_local(LOCAL)
    policy = load_policy(EXAMPLES / f"{name}.yaml", trust="warn")
    assert run(policy, read_capture(EXAMPLES / f"{name}.pcap"), local=local, as_json=True, out=out, err=err) == 0
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_the_four_examples_are_there() -> None:
    assert NAMES == ["audit", "gateway", "hardened", "host"]


@pytest.mark.parametrize("name", NAMES)
def test_an_example_decides_its_capture_as_written_beside_it(name: str) -> None:
    expected = [json.loads(line) for line in (EXAMPLES / f"{name}.jsonl").read_text().splitlines()]
    assert replayed(name) == expected


def test_the_captures_are_what_their_generator_writes(tmp_path: Path) -> None:
    pytest.importorskip("scapy")
    script = Path(__file__).with_name("example_packets.py")
    subprocess.run([sys.executable, script, tmp_path], check=True, capture_output=True)
    for name in NAMES:
        assert (tmp_path / f"{name}.pcap").read_bytes() == (EXAMPLES / f"{name}.pcap").read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_an_example_has_no_lint(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "wfpd", "check", "--strict", "--login", "none", "--json", EXAMPLES / f"{name}.yaml"],
        capture_output=True, text=True, check=False, cwd=EXAMPLES.parents[1],
    )  # fmt: skip
    assert done.returncode == 0, done.stdout

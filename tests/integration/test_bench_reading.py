"""The bench of reading runs and gives every row; never a time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.texts import policy_json, policy_yaml, set_text
from bench.workloads import policy, rules
from wfpd.config import load_policy

ROOT = Path(__file__).resolve().parents[2]


def test_every_row_is_there_and_has_a_time() -> None:
    command = [
        sys.executable,
        "-m",
        "bench.bench_reading",
        "--filters",
        "30",
        "--values",
        "50",
        "--rounds",
        "1",
        "--json",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    (table,) = json.loads(done.stdout)
    assert [row[0] for row in table["rows"]] == [
        "YAML, 30 filters: read and packed", "YAML, 30 filters: published", "yaml.CSafeLoader, 3 of them",
        "JSON, 30 filters: read and packed", "JSON, 30 filters: published", "json.loads",
        "set file, 50 IPv4 addresses: read and packed", "inet_pton of each IPv4 address",
        "set file, 50 IPv6 addresses: read and packed", "inet_pton of each IPv6 address",
    ]  # fmt: skip
    assert all(float(cell) >= 0 for row in table["rows"] for cell in row[1:])


@pytest.mark.usefixtures("needs_root")
def test_the_running_daemon_is_measured() -> None:
    command = [sys.executable, "-m", "bench.daemon_memory", "--filters", "30", "--reloads", "1", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    (table,) = json.loads(done.stdout)
    assert [row[0] for row in table["rows"]] == ["started (gap: no reload)", "reload 1"]
    assert all(float(cell) > 0 for row in table["rows"] for cell in row[1:])


@pytest.mark.parametrize("bits", [32, 128])
def test_the_generated_texts_say_the_rules(tmp_path: Path, bits: int) -> None:
    of = rules("firewall", 200, bits=bits)
    (tmp_path / "p.yaml").write_text(policy_yaml(of, bits))
    (tmp_path / "p.json").write_text(policy_json(of, bits))
    expected = [
        [(condition.field, condition.terms) for condition in item.conditions]
        for item in policy(of, 4 if bits == 32 else 6).filters
    ]
    for name in ("p.yaml", "p.json"):
        found: Any = load_policy(tmp_path / name, trust="warn")
        assert [[(each.field, each.terms) for each in item.conditions] for item in found.filters] == expected


def test_a_generated_set_has_as_many_lines_as_asked() -> None:
    assert len(set_text(7, 128).splitlines()) == 7

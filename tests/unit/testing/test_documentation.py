"""The examples of docs/testing-callouts.md and docs/from-netfilterqueue.md do what stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import IP, TCP, UDP

from tests.proven import why_no_namespaces
from wfpd.callouts.registered import Registered
from wfpd.config import load_policy
from wfpd.testing.callouts import CalloutRun

ROOT = Path(__file__).resolve().parents[3]
TESTING = (ROOT / "docs" / "testing-callouts.md").read_text()
SCRIPTS = (ROOT / "docs" / "from-netfilterqueue.md").read_text()
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: str, kind: str) -> list[str]:
    return [text for found, text in BLOCK.findall(page) if found == kind]


# --- testing-callouts.md


def test_every_test_of_the_page_passes_but_the_one_that_fails_as_shown(tmp_path: Path) -> None:
    path = tmp_path / "test_page.py"
    path.write_text("\n\n".join(blocks(TESTING, "python")))
    command = [sys.executable, "-m", "pytest", "-p", "wfpd.testing.plugin", "-p", "no:cacheprovider", "-c", os.devnull,
               "--rootdir", str(tmp_path), str(path)]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True,
                          text=True, timeout=120, check=False)  # fmt: skip
    live = "5 passed, 1 skipped" if why_no_namespaces() else "6 passed"
    assert f"1 failed, {live}" in done.stdout, done.stdout + done.stderr
    (shown,) = blocks(TESTING, "text")
    assert shown in done.stdout


# --- from-netfilterqueue.md

SENT = [
    IP(src="198.51.100.9", dst="203.0.113.9") / UDP(sport=5000, dport=53) / b"hello",
    IP(src="198.51.100.9", dst="203.0.113.9") / TCP(sport=5001, dport=23, flags="S"),
    IP(src="198.51.100.9", dst="203.0.113.9") / TCP(sport=5002, dport=80, flags="PA") / b"GET / X-Evil: 1",
    IP(src="198.51.100.9", dst="203.0.113.9") / TCP(sport=5002, dport=80, flags="PA") / b"GET / hello",
]


class Packet:
    """What netfilterqueue hands to a callback."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.verdict = ""

    def get_payload(self) -> bytes:
        return self.data

    def set_payload(self, data: bytes) -> None:
        self.data = data

    def accept(self) -> None:
        self.verdict = "permit"

    def drop(self) -> None:
        self.verdict = "block"


@pytest.mark.parametrize("number", [0, 1])
def test_a_script_and_its_callout_decide_and_leave_packets_alike(tmp_path: Path, number: int) -> None:
    before, after = blocks(SCRIPTS, "python")[2 * number : 2 * number + 2]
    script: dict[str, Any] = {"__name__": "script"}
    exec(before, script)
    made: dict[str, Any] = {}
    exec(after, made)
    (tmp_path / "policy.yaml").write_text(blocks(SCRIPTS, "yaml")[number])
    policy = load_policy(str(tmp_path / "policy.yaml"), trust="warn")
    (callout,) = policy.callouts
    run = CalloutRun(policy, [Registered(callout, made[callout.use.partition(":")[2]]())])
    for sent in SENT:
        packet = Packet(bytes(sent))
        script["decide"](packet)
        found = run.packet(sent)
        assert found.verdict == packet.verdict
        assert found.packet == (packet.data if packet.verdict == "permit" else None)
    run.close()
    assert " ".join(one.verdict for one in run.results) == blocks(SCRIPTS, "text")[number].strip()


def test_every_example_is_one_of_a_pair() -> None:
    assert [len(blocks(SCRIPTS, kind)) for kind in ("python", "yaml", "text")] == [4, 2, 2]


def test_what_is_said_about_speed_is_what_was_measured() -> None:
    page = (ROOT / "docs" / "benchmarks.md").read_text()
    rows = dict(re.findall(r"^\| ([^|]+?) \| ([\d,]+) \| [\d.]+ \|$", page, re.MULTILINE))
    ns = {name: int(text.replace(",", "")) for name, text in rows.items()}
    python, empty = ns["wfpd, a Python callout on every packet"], ns["an empty netfilterqueue callback"]
    assert python < empty
    assert "more than 20 times" in SCRIPTS and ns["netfilterqueue and Scapy"] > 20 * python
    assert "less than half an empty callback" in SCRIPTS and 2 * ns["wfpd"] < empty

"""`wfpd bench` as a user starts it; never a time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from wfpd import cli

CAPTURES = Path(__file__).resolve().parents[2] / "data" / "captures"
POLICY = """\
version: 1
attach: [{hook: input}, {hook: forward}]
filters:
  - {name: everything, layer: ipforward, action: block}
"""
NAMES = ["this policy", "the same loop, no filters", "an empty netfilterqueue callback"]


@pytest.fixture
def policy(tmp_path: Path) -> str:
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    return str(path)


def test_every_attached_hook_is_measured_and_what_was_decided_is_said(policy: str, capsys) -> None:
    assert cli.main(["bench", "--policy", policy, "--json", "--packets", "100", "--rounds", "1"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["policy"], result["packets"], result["rounds"]) == (policy, 100, 1)
    hooks = {each["hook"]: each for each in result["hooks"]}
    assert list(hooks) == ["input", "forward"]
    assert hooks["input"]["permitted"] == hooks["forward"]["blocked"] == 100
    assert all(list(each["cpu_ns_per_packet"]) == NAMES == list(each["times_this_policy"]) for each in hooks.values())
    assert all(each["times_this_policy"]["this policy"] == 1 for each in hooks.values())


def test_a_person_reads_what_was_measured(policy: str, capsys) -> None:
    capture = CAPTURES / "zeek" / "tcp.pcap"
    arguments = ["--capture", str(capture), "--hook", "forward", "--packets", "60", "--rounds", "1"]
    assert cli.main(["bench", "--policy", policy, *arguments]) == 0
    said = capsys.readouterr().out
    assert "packets of tcp.pcap" in said and "hook forward: 60 packets queued, 0 permitted, 60 blocked" in said
    assert "hook input" not in said
    assert all(name in said for name in NAMES)


def test_a_capture_without_a_whole_ip_packet_is_1(policy: str, capsys) -> None:
    assert cli.main(["bench", "--policy", policy, "--capture", str(CAPTURES / "zeek" / "empty.pcap")]) == 1
    assert "no whole IP packet" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_leaves_no_namespace(policy: str, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "wfpd", "bench", "--policy", policy, "--rounds", "1000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            end = time.monotonic() + 20
            while not (mine := _namespaces_used_by(process.pid)) and time.monotonic() < end:
                time.sleep(0.05)
            process.send_signal(number)
            assert process.wait(20) == 130
        finally:
            process.terminate()  # Where the first signal did nothing: leaving the block waits for the end.
    assert mine and not mine & set(os.listdir("/run/netns"))


def _namespaces_used_by(pid: int) -> set[str]:
    """Names of bench namespaces in which the process holds a socket or runs a tool, by the ids in /proc."""
    found = set()
    ids = {}
    for entry in os.scandir("/run/netns") if os.path.isdir("/run/netns") else ():
        if entry.name.startswith("wfpd-bench-"):
            ids[entry.stat().st_ino] = entry.name
    for task in Path(f"/proc/{pid}/task").glob("*/ns/net"):
        try:
            inode = task.stat().st_ino
        except OSError:
            continue
        if inode in ids:
            found.add(ids[inode])
    return found

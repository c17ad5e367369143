"""The bench of a callout's project: every contender has a figure; never a time is asserted."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from wfpd.config import load_policy
from wfpd.dataplane import parse_of
from wfpd.testing.timing import datagrams, main, render, replayed

POLICY = """
version: 1
callouts: [{name: c, use: "wfpd.callouts.fixed:Fixed", options: {answer: block}}]
filters: [{name: f, layer: inbound_transport, action: {callout: c}}]
"""


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    return path


def test_packets_are_sound_and_of_several_conversations() -> None:
    views = [parse_of(one) for one in datagrams(b"hello", 53, 100)]
    assert {view["status"] for view in views} == {0} and {view["payload_length"] for view in views} == {5}
    assert {view["destination_port"] for view in views} == {53} and len({view["source_port"] for view in views}) == 64


def test_both_are_measured_in_replay(policy: Path) -> None:
    found = replayed(load_policy(str(policy), trust="warn"), datagrams(b"x", n=10), rounds=1)
    assert list(found) == ["this policy", "no filters"] and all(ns > 0 for ns in found.values())


def test_without_root_the_queue_is_left_out_and_said_so(
    policy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main(policy, argv=["--rounds", "1", "--packets", "10", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["queue"] is None and set(found["replay_ns"]) == {"this policy", "no filters"}
    assert "run it as root" in render(found)


@pytest.mark.parametrize("wrong", [["--rounds", "0"], ["--packets", "0"], ["--packets", "65537"], ["--packets", "x"]])
def test_settings_that_cannot_be_meant_are_usage_errors(policy: Path, wrong: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(policy, argv=wrong)
    assert ended.value.code == 2

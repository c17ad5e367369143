"""What `check` shows is what the daemon would install."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wfpd.checking import check
from wfpd.daemon.life import hooks_with_layers
from wfpd.netfilter import rules
from wfpd.netfilter.commands import Commands
from wfpd.netfilter.marks import Marks
from wfpd.netfilter.ruleset import queue_ranges
from wfpd.replay import make_snapshot

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
UNUSED = """\
version: 1
attach: [{hook: forward}, {hook: input}]
filters:
  - {name: a, layer: ipforward_v4, action: block}
  - {name: b, layer: inbound_transport, action: block, enabled: false}
"""


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    """A machine where only the tool to write rules is found."""
    tool = tmp_path / "iptables-nft-restore"
    tool.write_text("#!/bin/sh\nexit 1\n")
    tool.chmod(0o755)
    return Commands(search_path=str(tmp_path))


def installed(path: Path, commands: Commands) -> str:
    """The text of the rules by the daemon's own way: from the snapshot."""
    policy = check(str(path), commands).policy
    ranges = queue_ranges(policy.attach, policy.daemon.workers or os.cpu_count() or 1)
    needed = hooks_with_layers(make_snapshot(policy))
    return rules.render(
        rules.plan(policy.attach, policy.faults, Marks(policy.daemon.marks_mask), ranges, needed), commands
    )


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_rules_shown_are_those_of_the_daemon(path: Path, commands: Commands) -> None:
    found = check(str(path), commands)
    assert found.rules == installed(path, commands)
    assert found.notes == []


def test_an_attached_hook_without_filters_is_noted_and_has_no_rules(tmp_path: Path, commands: Commands) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(UNUSED)
    found = check(str(path), commands)
    assert found.rules == installed(path, commands)
    assert found.rules is not None and "WFPD_FWD" in found.rules and "WFPD_IN" not in found.rules
    assert found.notes == ["input is attached, but no filter needs it: not queued"]

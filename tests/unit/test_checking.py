"""`check` with tools that are shell scripts: nothing of this machine is looked at."""

from __future__ import annotations

from pathlib import Path

import pytest

from wfpd.checking import Checked, check
from wfpd.errors import PolicyError
from wfpd.netfilter.commands import Commands
from wfpd.netfilter.conflicts import Kind

HEAD = "version: 1\nfilters:\n  - {name: a, layer: ipforward, action: block}\n"
RULE = "-A PREROUTING -j MARK --set-xmark 0x100000/0x100000"
LISTING = f"printf '%s\\n' '*mangle' ':PREROUTING ACCEPT [0:0]' '{RULE}' COMMIT"
RESTORE = {"iptables-nft-restore": "exit 1", "ip6tables-nft-restore": "exit 1"}


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    """Finds only what `tool` put there."""
    (tmp_path / "tools").mkdir()
    return Commands(search_path=str(tmp_path / "tools"))


def tool(commands: Commands, name: str, body: str = "true") -> None:
    program = Path(commands.search_path) / name
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)


def checked(commands: Commands, attach: str = "", head: str = HEAD) -> Checked:
    path = Path(commands.search_path).parent / "policy.yaml"
    path.write_text(head + (f"attach:\n{attach}" if attach else ""))
    path.chmod(0o600)
    return check(str(path), commands)


def test_the_policy_and_the_rules_that_would_be_installed_are_returned(commands: Commands) -> None:
    for name, body in RESTORE.items():
        tool(commands, name, body)
    tool(commands, "iptables-save")
    found = checked(commands, "  - {hook: forward, queues: 7-8}\n")
    assert [filter_.name for filter_ in found.policy.filters] == ["a", "a"]
    assert found.rules is not None
    assert "--queue-balance 7:8" in found.rules
    assert (found.others, found.notes) == ([], [])


def test_a_hook_that_no_filter_needs_is_noted_once_and_has_no_rule(commands: Commands) -> None:
    for name, body in RESTORE.items():
        tool(commands, name, body)
    tool(commands, "iptables-save")
    twice = "  - {hook: input, interfaces: [a0]}\n  - {hook: input, interfaces: [b0]}\n"
    found = checked(commands, "  - {hook: forward}\n" + twice)
    assert found.notes == ["input is attached, but no filter needs it: not queued"]
    assert found.rules is not None
    assert "a0" not in found.rules


def test_without_a_needed_hook_there_are_no_rules_and_nothing_is_run(commands: Commands) -> None:
    found = checked(commands, "  - {hook: input}\n")
    assert (found.rules, found.notes) == ("", ["no filter needs an attached hook: no packet would be queued"])
    assert checked(commands).notes == ["there is no attach: no packet would be queued"]


def test_other_users_of_our_mark_bits_are_found(commands: Commands) -> None:
    tool(commands, "iptables-save", LISTING)
    (other,) = checked(commands, "  - {hook: forward}\n").others
    assert (other.kind, other.text) == (Kind.MARK, RULE)


def test_what_the_machine_lacks_is_a_note_and_no_error(commands: Commands) -> None:
    found = checked(commands, "  - {hook: forward}\n")
    assert found.rules is None
    assert found.notes[0].startswith("the rules cannot be shown here: ")


def test_a_listing_that_fails_is_a_note_with_what_the_tool_said(commands: Commands) -> None:
    tool(commands, "nft", "echo not allowed >&2; exit 1")
    found = checked(commands, "  - {hook: forward}\n")
    assert "other users of the packet path were not all seen: nft: not allowed" in found.notes


def test_a_wrong_policy_is_an_error_with_all_its_problems(commands: Commands) -> None:
    two = "version: 1\nfilters:\n  - {name: a, layer: nowhere, action: block}\n  - {name: b, layer: ipforward}\n"
    with pytest.raises(PolicyError) as raised:
        checked(commands, head=two)
    assert [problem.location.line for problem in raised.value.problems if problem.location] == [3, 4]

import argparse
import subprocess
import sys

import pytest

from wfpd.cli.parser import COMMANDS, Commands, actions, parser


def run(text: str) -> argparse.Namespace:
    top = argparse.ArgumentParser()
    commands = Commands(top.add_subparsers())
    made = commands.add("things", lambda arguments: 0, "know things", as_json=True, socket=True)
    within = actions(made, required=False)
    within.add("list", lambda arguments: 1, "list them", as_json=True, socket=True)
    return top.parse_args(text.split())


@pytest.mark.parametrize(("text", "as_json", "socket"), [
    ("things --json --socket a list", True, "a"), ("things list --json --socket a", True, "a"),
    ("things --socket b list --socket a", False, "a"), ("things list", False, "/run/wfpd/control.sock"),
])  # fmt: skip
def test_json_and_socket_stand_before_or_behind_an_action(text: str, as_json: bool, socket: str) -> None:
    arguments = run(text)
    assert (arguments.json, arguments.socket, arguments.command(arguments)) == (as_json, socket, 1)


def test_every_action_of_every_command_knows_its_socket_whatever_its_command_has() -> None:
    lines = ["layers list", "filters list", "filters add -", "sublayers show x", "flows list", "sets list",
             "sessions list", "callouts delete x", "provider-contexts add --name x"]  # fmt: skip
    for line in lines:
        arguments = parser().parse_args(line.split())
        assert (arguments.socket, arguments.json) == ("/run/wfpd/control.sock", False), line


def test_a_command_with_actions_may_stand_alone() -> None:
    arguments = run("things")
    assert arguments.command(arguments) == 0


def test_help_is_made_without_the_packet_path_or_a_policy_s_reader() -> None:
    say = "import sys; from wfpd.cli.parser import parser; parser().format_help(); print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", say], capture_output=True, text=True, check=True,
                          env={"PYTHONPATH": ":".join(sys.path)})  # fmt: skip
    loaded = set(done.stdout.split())
    assert "wfpd.cli.commands.check" in loaded
    assert not {name for name in loaded if name.startswith(("wfpd.dataplane", "wfpd.config", "wfpd.daemon"))}
    assert not loaded & {"yaml", "prometheus_client", "rich", "shtab", "asyncio"}


def test_every_command_of_the_list_is_there_once() -> None:
    assert len(set(COMMANDS)) == len(COMMANDS)
    usage = parser().format_help()
    assert all(f"\n    {name}" in usage for name in ("run", "check", "replay", "confirm", "events"))

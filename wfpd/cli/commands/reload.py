"""`wfpd reload` and `wfpd confirm`."""

from __future__ import annotations

import argparse

from wfpd.cli.arguments import seconds
from wfpd.cli.asking import ask
from wfpd.cli.parser import Commands
from wfpd.cli.printing import DONE, NO, complain, print_json
from wfpd.errors import first_of


def add(commands: Commands) -> None:
    """Add the parser."""
    reload = commands.add(
        "reload",
        reload_policy,
        "read the policy files again",
        "Waits and reports. Exit 1: refused, the old policy runs.",
        as_json=True,
        socket=True,
    )
    reload.add_argument("--confirm", type=seconds, metavar="TIME",
                        help="go back by itself after TIME (60s, 5m) unless `wfpd confirm` comes first")  # fmt: skip
    commands.add(
        "confirm",
        confirm_policy,
        "keep the policy of a reload with --confirm",
        "Exit 1: nothing waits to be confirmed.",
        as_json=True,
        socket=True,
    )


def reload_policy(arguments: argparse.Namespace) -> int:
    """`wfpd reload`."""
    params = {} if arguments.confirm is None else {"confirm": arguments.confirm}
    result = ask(arguments, "reload", **params)
    if arguments.json:
        print_json(result)
        return DONE if result["successful"] else NO
    for problem in result["problems"]:
        complain(f"error: {problem['text']}")
    for text in first_of(lint["text"] for lint in result["lints"]):
        complain(f"lint: {text}")
    if not result["successful"]:
        complain(f"refused; the old policy runs (generation {result['generation']})")
        return NO
    print(f"generation {result['generation']}, {result['n_filters']} engine filters, hash {result['hash'][:12]}, "
          f"{result['seconds']:.3f} s")  # fmt: skip
    if result["restart_needed"]:
        print(f"restart needed for {', '.join(result['restart_needed'])}")
    if result["confirm_within"] is not None:
        print(f"rolls back in {result['confirm_within']:g} s unless `wfpd confirm` comes first")
    return DONE


def confirm_policy(arguments: argparse.Namespace) -> int:
    """`wfpd confirm`."""
    result = ask(arguments, "confirm")
    if arguments.json:
        print_json(result)
    else:
        print(f"generation {result['generation']} stays")
    return DONE

"""`wfpd purge`: the way back."""

from __future__ import annotations

import argparse

from wfpd.cli.parser import Commands
from wfpd.cli.printing import DONE, print_json


def add(commands: Commands) -> None:
    """Add the parser."""
    commands.add(
        "purge",
        purge_rules,
        "remove every rule of wfpd from the kernel",
        "The only command that removes rules which on_absent: block left in place. Exit 0 also where there were none.",
        as_json=True,
    )


def purge_rules(arguments: argparse.Namespace) -> int:
    """`wfpd purge`."""
    from wfpd.netfilter import rules

    removed = rules.purge(rules.Commands())
    if arguments.json:
        print_json({"removed": removed})
    else:
        print("every rule of wfpd is removed" if removed else "there were no rules of wfpd")
    return DONE

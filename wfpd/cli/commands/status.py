"""`wfpd status`: whether it enforces, and every loss."""

from __future__ import annotations

import argparse
import sys

from wfpd.cli.asking import ask
from wfpd.cli.parser import Commands
from wfpd.cli.printing import DONE, NO, colored, print_json


def add(commands: Commands) -> None:
    """Add the parser."""
    commands.add(
        "status",
        show_status,
        "show whether wfpd is enforcing its policy, and every loss",
        "Exit 1: not enforcing.",
        as_json=True,
        socket=True,
    )


def show_status(arguments: argparse.Namespace) -> int:
    """`wfpd status`."""
    from wfpd.control.status import render_status

    status = ask(arguments, "status")
    if arguments.json:
        print_json(status)
    else:
        sys.stdout.write(render_status(status, colored()))
    return DONE if status["enforcing"] else NO

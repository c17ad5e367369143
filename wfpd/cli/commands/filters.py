"""`wfpd filters`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from wfpd.cli.asking import ask, say_refusal
from wfpd.cli.parser import Commands
from wfpd.cli.printing import DONE, complain, must_open, print_json
from wfpd.control.protocol import RpcError
from wfpd.errors import ControlError

MAX_CHANGE = 30_000
"""Bytes of a change: escaped, it has to fit into one line of the control socket."""


def add(commands: Commands) -> None:
    """Add the parser."""
    filters = commands.add(
        "filters",
        change_filters,
        "add filters to the running policy, or delete some, at once",
        "What is added lies beside the policy file and stays over reloads, until it is deleted or the daemon "
        "ends. Exit 1: refused, nothing has changed.",
        as_json=True,
        socket=True,
    )
    filters.add_argument("step", choices=("add", "delete"), help="what to do")
    filters.add_argument("what", nargs="+", metavar="FILE|KEY",
                         help="add: one file (- is standard input) with `version: 1` and filters, sublayers, sets, as "
                         "in a policy; delete: keys, as add prints them")  # fmt: skip


def change_filters(arguments: argparse.Namespace) -> int:
    """`wfpd filters`."""
    try:
        if arguments.step == "delete":
            result = ask(arguments, "filters.delete", keys=arguments.what)
        else:
            result = ask(arguments, "filters.add", policy=_change_text(arguments.what))
    except RpcError as error:
        return say_refusal(error, arguments.json)
    if arguments.json:
        print_json(result)
        return DONE
    for item in result.get("filters", ()):
        print(f"{item['key']}  {item['layer']}  {item['name']}")
    done = f"{result['deleted']} deleted" if "deleted" in result else f"{len(result['filters'])} engine filters added"
    complain(f"generation {result['generation']}: {done}")
    return DONE


def _change_text(files: Sequence[str]) -> str:
    """The text of the one file, or of standard input."""
    if len(files) > 1:
        raise ControlError("filters add takes one file", hint="what belongs together is one change")
    if files[0] != "-":
        must_open(files[0])
    try:
        text = (sys.stdin.buffer.read(MAX_CHANGE + 1) if files[0] == "-" else Path(files[0]).read_bytes()).decode()
    except (UnicodeDecodeError, OSError) as error:
        raise ControlError(f"{files[0]}: is not UTF-8 text") from error
    if len(text) > MAX_CHANGE:
        raise ControlError(f"{files[0]}: a change is at most {MAX_CHANGE:,} bytes",
                           hint="put many filters into the policy file and reload")  # fmt: skip
    return text

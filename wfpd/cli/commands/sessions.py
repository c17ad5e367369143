"""`wfpd sessions`: who is connected to the daemon and owns objects."""

from __future__ import annotations

import argparse
import time

from wfpd.cli import objects, tables
from wfpd.cli.asking import ask
from wfpd.cli.parser import Commands, actions
from wfpd.cli.printing import DONE, print_json
from wfpd.cli.tables import Column, of

_COLUMNS = (
    Column("id", of("id"), right=True),
    Column("name", of("name")),
    Column("dynamic", of("dynamic")),
    Column("uid", of("uid"), right=True),
    Column("pid", of("pid"), right=True),
    Column("transaction", of("transaction")),
    Column("since", lambda item: tables.ago(item.get("since"), time.time())),
    Column("key", of("key")),
)


def add(commands: Commands) -> None:
    """Add the parser."""
    made = commands.add("sessions", None, "show the sessions of the daemon's control socket", as_json=True, socket=True)
    actions(made).add("list", list_sessions, "show every session and its transaction", as_json=True, socket=True)


def list_sessions(arguments: argparse.Namespace) -> int:
    """`wfpd sessions list`."""
    found = ask(arguments, "sessions.list")
    if arguments.json:
        print_json(found)
    else:
        objects.show_pages(iter([found["sessions"]]), _COLUMNS, False, "session")
    return DONE

"""`wfpd run`: the daemon in the foreground."""

from __future__ import annotations

import argparse

from wfpd.cli.parser import Commands
from wfpd.cli.printing import DEFAULT_POLICY, must_open


def add(commands: Commands) -> None:
    """Add the parser."""
    run = commands.add(
        "run",
        run_daemon,
        "run the daemon in the foreground",
        "systemctl start wfpd does this for you. Exit 1: bad policy, 3: a queue is taken, or no CAP_NET_ADMIN.",
    )
    run.add_argument("--policy", default=DEFAULT_POLICY, metavar="FILE", help="policy file (default: %(default)s)")
    run.add_argument("--audit", action="store_true", help="permit everything; log and count what would be blocked")


def run_daemon(arguments: argparse.Namespace) -> int:
    """`wfpd run`."""
    import logging

    from wfpd.daemon.service import run

    must_open(arguments.policy)
    logging.basicConfig(level=logging.DEBUG if arguments.debug else logging.INFO, format="%(levelname)s: %(message)s")
    return run(arguments.policy, audit=arguments.audit)

"""`wfpd diff`: two policies compared."""

from __future__ import annotations

import argparse
import sys

from wfpd.cli.arguments import up_to
from wfpd.cli.parser import Commands
from wfpd.cli.printing import DONE, NO, must_open, print_json


def add(commands: Commands) -> None:
    """Add the parser."""
    diff = commands.add(
        "diff",
        compare_policies,
        "compare two policies by the traffic whose verdict changes",
        "Exact over the values of the fields. Exit 1: some verdict changes, or it is not decided.",
        as_json=True,
    )
    diff.add_argument("old", metavar="OLD", help="policy file")
    diff.add_argument("new", metavar="NEW", help="policy file")
    diff.add_argument("--most", type=up_to(10000), default=200, metavar="N",
                      help="regions shown of each layer (default: %(default)s)")  # fmt: skip


def compare_policies(arguments: argparse.Namespace) -> int:
    """`wfpd diff`."""
    from wfpd.comparing import compare, render
    from wfpd.config import load_policy

    for path in (arguments.old, arguments.new):
        must_open(path)
    old, new = (load_policy(path, trust="warn") for path in (arguments.old, arguments.new))
    document = compare(old, new, arguments.most)
    if arguments.json:
        print_json(document)
    else:
        sys.stdout.write(render(document))
    return DONE if document["same"] else NO

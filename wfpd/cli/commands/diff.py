"""`wfpd diff`: two policies compared."""

from __future__ import annotations

import argparse
import sys

from wfpd.cli.arguments import up_to
from wfpd.cli.captures import open_capture
from wfpd.cli.parser import Commands
from wfpd.cli.printing import DONE, NO, must_open, print_json
from wfpd.errors import UsageError


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
    diff.add_argument(
        "--capture", metavar="FILE", help="also weigh the change by the packets of this pcap or pcapng file"
    )
    diff.add_argument("--hook", choices=("forward", "input", "output"),
                      help="with --capture, the hook that every packet passes (default: forward)")  # fmt: skip
    diff.add_argument("--local", metavar="PREFIX[,PREFIX...]",
                      help="with --capture, this host's addresses: direction is taken from them instead")  # fmt: skip


def compare_policies(arguments: argparse.Namespace) -> int:
    """`wfpd diff`."""
    from wfpd.comparing import compare, render
    from wfpd.config import load_policy
    from wfpd.replay import parse_local

    for path in (arguments.old, arguments.new):
        must_open(path)
    if arguments.capture is None and (arguments.hook or arguments.local):
        raise UsageError("--hook and --local speak of a capture", hint="--capture FILE")
    try:
        local = None if arguments.local is None else parse_local(arguments.local)
    except ValueError as error:
        raise UsageError(f"--local: {error}") from error
    packets = None if arguments.capture is None else open_capture(arguments.capture)
    old, new = (load_policy(path, trust="warn") for path in (arguments.old, arguments.new))
    document = compare(old, new, arguments.most, packets=packets, hook=arguments.hook or "forward", local=local)
    if arguments.json:
        print_json(document)
    else:
        sys.stdout.write(render(document))
    return DONE if document["same"] else NO

"""`wfpd bench`: what a decision costs here."""

from __future__ import annotations

import argparse

from wfpd.cli.arguments import up_to
from wfpd.cli.parser import Commands
from wfpd.cli.printing import DEFAULT_POLICY, DONE, must_open, print_json


def add(commands: Commands) -> None:
    """Add the parser."""
    bench = commands.add(
        "bench",
        run_bench,
        "measure what deciding a packet by a policy costs on this machine",
        "Fills queues in network namespaces of its own and drains them: with the policy, with no filters, and "
        "with an empty netfilterqueue callback. Takes some seconds, needs root, touches no traffic of this "
        "machine, and removes what it made.",
        as_json=True,
    )
    bench.add_argument("--policy", default=DEFAULT_POLICY, metavar="FILE", help="policy file (default: %(default)s)")
    bench.add_argument("--capture", metavar="FILE", help="take the packets of this pcap or pcapng file, over and over "
                       "(default: made-up UDP packets)")  # fmt: skip
    bench.add_argument("--hook", action="append", choices=("input", "forward", "output"),
                       help="measure here; may be repeated (default: the hooks of the policy's attach)")  # fmt: skip
    bench.add_argument("--packets", type=up_to(65536), default=4096, metavar="N",
                       help="packets a round, up to 65536 (default: %(default)s)")  # fmt: skip
    bench.add_argument("--rounds", type=up_to(1000), default=9, metavar="N", help="rounds (default: %(default)s)")


def run_bench(arguments: argparse.Namespace) -> int:
    """`wfpd bench`."""
    import signal

    from wfpd.bench import measure
    from wfpd.config import load_policy

    for path in (arguments.policy, *filter(None, [arguments.capture])):
        must_open(path)
    policy = load_policy(arguments.policy, trust="warn")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # Namespaces are removed as after Ctrl-C.
    hooks = tuple(dict.fromkeys(arguments.hook or ()))
    result = measure.measure(policy, measure.Settings(hooks, arguments.capture or "", arguments.packets,
                                                      arguments.rounds))  # fmt: skip
    if arguments.json:
        print_json({"policy": arguments.policy, **result})
    else:
        print(f"{arguments.policy}: {measure.render(result)}")
    return DONE

"""One TCP stream through the queue, segments merged (GSO), every packet inspected; what the receiver got.

python -m bench.bench_stream [--seconds 2] [--rounds 5] [--json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from bench import peers
from bench.line import RECEIVER, Line
from bench.report import Table, against, main, settings
from wfpd.bench.drain import wait_for
from wfpd.errors import KernelError
from wfpd.netfilter.commands import Commands
from wfpd.netfilter.namespace import call_in

CONTENDERS = (peers.NO_QUEUE, peers.EXAMPLE, peers.WFPD, peers.EMPTY)
BAR = 0.95
PORT = 5201


def listening() -> bool:
    """Whether somebody listens on PORT in the calling thread's namespace."""
    text = "".join(Path(f"/proc/thread-self/net/{name}").read_text() for name in ("tcp", "tcp6"))
    return any(words[1].endswith(f":{PORT:04X}") and words[3] == "0A" for words in map(str.split, text.splitlines()))


def stream(line: Line, seconds: int) -> float:
    """Megabits a second that arrived."""
    server = ["iperf3", "-s", "-1", "-p", str(PORT)]
    with peers.running(line.receiver.netns, server, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        wait_for(lambda: call_in(line.receiver.netns, listening), "starting iperf3")
        said = Commands(line.sender.netns, timeout=seconds + 20).run(
            ["iperf3", "-c", RECEIVER, "-p", str(PORT), "-t", f"{seconds}", "-J"]
        )
    found = json.loads(said)
    if "error" in found:
        raise KernelError(f"iperf3: {found['error']}")
    return float(found["end"]["sum_received"]["bits_per_second"]) / 1e6


def bench(given: argparse.Namespace) -> list[Table]:
    """Every contender in turn, round by round."""
    rates: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    table = Table(
        "One TCP stream",
        f"iperf3 for {given.seconds} s through a router that queues every packet of the connection, whole, segments "
        f"merged by GSO where the program asks for it; wfpd has {given.filters:,} filters; medians of {given.rounds} "
        "paired rounds, what the receiver got.",
        ["contender", "Mbit/s", "of nf-queue.c's", "bar"],
    )
    with tempfile.TemporaryDirectory(prefix="wfpd-bench-") as directory:
        program = peers.build_nf_queue(Path(directory))
        with Line(bridged=False) as line:
            for _ in range(given.rounds):
                for contender in CONTENDERS:
                    with peers.serving(line, contender, program, given.filters):
                        if contender != peers.NO_QUEUE:
                            line.queue_tcp()
                        rates[contender].append(stream(line, given.seconds))
                        line.queue_nothing()
    for contender, found in rates.items():
        share = statistics.median(a / b for a, b in zip(found, rates[peers.EXAMPLE], strict=True))
        table.add(contender, statistics.median(found), share, against(share, BAR) if contender == "wfpd" else "")
    return [table]


def arguments() -> argparse.ArgumentParser:
    """The settings."""
    parser = settings("bench_stream", __doc__, filters=10000, rounds=5)
    parser.add_argument("--seconds", type=int, choices=range(1, 61), metavar="1-60", default=2)
    return parser


if __name__ == "__main__":
    sys.exit(main(arguments(), bench))

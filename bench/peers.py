"""The programs that a packet path of today is written with: netfilterqueue, Scapy, and netfilter's own example."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.line import QUEUE, Line
from wfpd.bench.drain import wait_for
from wfpd.errors import KernelError
from wfpd.netfilter.namespace import call_in

ROOT = Path(__file__).resolve().parents[1]
NF_QUEUE = Path("/usr/share/doc/libnetfilter-queue-dev/examples/nf-queue.c")
"""Comes with Debian's libnetfilter-queue-dev; compiled as it is."""


def build_nf_queue(directory: Path) -> Path:
    """Compile netfilter's example."""
    if not NF_QUEUE.exists():
        raise KernelError(
            f"{NF_QUEUE} is missing", hint=".ci/packages run test; Debian packs it with libnetfilter-queue-dev"
        )
    program = directory / "nf-queue"
    subprocess.run(["cc", "-O2", "-o", program, NF_QUEUE, "-lnetfilter_queue", "-lmnl"], check=True)
    return program


def scapy_callback() -> Any:
    """A callback as scripts have it: Scapy reads the packet, a field is looked at, the packet is accepted."""
    from scapy.layers.inet import IP, UDP

    def decide(packet: Any) -> None:
        found = IP(packet.get_payload())
        if UDP in found and found[UDP].dport == 0 and found.src == found.dst:
            packet.drop()
        else:
            packet.accept()

    return decide


@contextlib.contextmanager
def running(netns: Path | None, argv: list[str], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """A process in a namespace, ended at the end."""
    process: subprocess.Popen[Any] = call_in(netns, lambda: subprocess.Popen(argv, **options))
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)
            process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


WFPD, NO_QUEUE, EXAMPLE = "wfpd", "no queue", "nf-queue.c"
EMPTY, SCAPY = "an empty netfilterqueue callback", "netfilterqueue and Scapy"
CONSUMERS = {WFPD: ("wfpd", "--whole"), EMPTY: ("library",), SCAPY: ("scapy",)}


@contextlib.contextmanager
def serving(line: Line, contender: str, program: Path, filters: int) -> Iterator[int]:
    """A process that serves the line's queue; its number, 0 for NO_QUEUE."""
    if contender == NO_QUEUE:
        yield 0
        return
    argv = [str(program), str(QUEUE)]
    if contender != EXAMPLE:
        kind, *options = CONSUMERS[contender]
        argv = [sys.executable, "-m", "bench.consumer", kind, str(QUEUE), "--filters", str(filters), *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    # The example says a line about each packet.
    stdout = subprocess.DEVNULL if contender == EXAMPLE else subprocess.PIPE
    with running(line.middle.netns, argv, stdout=stdout, cwd=ROOT, env=environment) as process:
        if contender == EXAMPLE:
            wait_for(line.queue, "binding the queue by nf-queue")
        elif process.stdout is None or process.stdout.readline() != b"ready\n":
            raise KernelError(f"{contender} does not serve the queue")
        yield process.pid

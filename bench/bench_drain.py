"""CPU a packet of draining a pre-filled queue: the packet loop against the limit loop, in paired rounds.

    python bench/bench_drain.py [--rounds 9] [--packets 4096] [--filters 1] [--batch 64] [--blocked] [--callout]

Forwarded 64-byte UDP frames fill a queue while nobody reads it; then one thread drains it, and its
own CPU time, by the scheduler's account, is divided by the packets.  Both loops take turns in one run
(machines are shared and noisy: only the ratio means something).  Prints one line a round and the
median of the ratios limit / wfpd: 1.00 is as cheap as doing nothing.  --blocked blocks every tenth packet
(the limit accepts all), --callout asks a Python callout about every packet; an empty callback of
netfilterqueue is measured beside them.
"""

from __future__ import annotations

import argparse
import ctypes
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.integration.live import bind, queue_rule, snapshot_of
from tests.integration.netns import SERVER4, Network
from wfpd.dataplane import Engine, Snapshot, configure_queue

PAYLOAD = 22
"""UDP payload of a 64-byte frame: 64 - 14 - 20 - 8."""
LIMIT_QUEUE, WFPD_QUEUE = 3, 4
PORT = {LIMIT_QUEUE: 5003, WFPD_QUEUE: 5004}


def build_limit(directory: Path) -> ctypes.CDLL:
    """Compile limit_loop.c."""
    library = directory / "limit_loop.so"
    source = Path(__file__).with_name("limit_loop.c")
    subprocess.run(["cc", "-O3", "-shared", "-fPIC", "-o", library, source], check=True)
    loaded = ctypes.CDLL(str(library))
    loaded.limit_loop.restype = ctypes.c_int64
    loaded.limit_loop.argtypes = [ctypes.c_int, ctypes.c_uint16, ctypes.c_uint64, ctypes.c_uint]
    return loaded


def filters(n: int, *, blocked: bool, callout: bool) -> str:
    """`n` seeded filters on address pairs, ports and protocols that the traffic does not match, and what it does."""
    draw = random.Random(1)
    lines = []
    if blocked:
        lines.append(f"  - {{name: tenth, layer: ipforward_v4, action: block, when: {{ip_length: {PAYLOAD + 29}}}}}")
    if callout:
        lines.append("  - {name: asked, layer: ipforward_v4, action: {callout: watch, kind: inspection}}")
    for i in range(n):
        source, target = (f"{draw.randrange(11, 223)}.{draw.randrange(256)}.{draw.randrange(256)}.0/24" for _ in "ab")
        lines.append(
            f"  - {{name: f{i}, layer: ipforward_v4, action: block, when: {{ip_source_address: {source}, "
            f"ip_destination_address: {target}, ip_destination_port: {draw.randrange(1, 65536)}, "
            f"ip_protocol: {draw.choice(('tcp', 'udp'))}}}}}"
        )
    return "\n".join(lines)


@contextmanager
def filled(net: Network, queue: int, packets: int, callback: Callable[[Any], None] | None = None) -> Iterator[Any]:
    """A bound, configured and full queue."""
    bound = bind(net.router, queue, callback, length=packets + 8)
    try:
        configure_queue(bound.get_fd(), queue, length=packets + 8, copy_bytes=65531, fail_open=False, error_verdict=0)
        fill(net, packets, PORT[queue])
        yield bound
    finally:
        bound.unbind()


def fill(net: Network, packets: int, port: int) -> None:
    """Send; every tenth datagram is one byte longer."""
    with net.client.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, 32, 16 << 20)  # SO_SNDBUFFORCE
        for number in range(packets):
            sock.sendto(b"x" * (PAYLOAD + (number % 10 == 9)), (SERVER4, port))


def drain_limit(net: Network, limit: ctypes.CDLL, packets: int, batch: int) -> float:
    """Nanoseconds a packet of the limit loop."""
    with filled(net, LIMIT_QUEUE, packets) as bound:
        spent = limit.limit_loop(bound.get_fd(), LIMIT_QUEUE, packets, batch)
    if spent < 0:
        raise RuntimeError("the limit loop did not get every packet")
    return float(spent) / packets


def drain_wfpd(net: Network, snapshot: Snapshot, packets: int, batch: int) -> float:
    """Nanoseconds a packet of the packet loop."""
    engine = Engine(1, batch=batch)
    engine.swap(snapshot)
    spent: list[int] = []

    def work() -> None:
        start = time.thread_time_ns()
        engine.run_worker(0)
        spent.append(time.thread_time_ns() - start)

    with filled(net, WFPD_QUEUE, packets) as bound:
        engine.add_queue(WFPD_QUEUE, 0, bound.get_fd(), "forward")
        engine.stop()  # The worker ends when the queue is empty.
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    counters = engine.counters()["queues"][WFPD_QUEUE]
    if sum(counters["packets"].values()) != packets:
        raise RuntimeError(f"the packet loop decided {counters['packets']} instead of {packets}")
    return spent[0] / packets


def drain_library(net: Network, packets: int) -> float:
    """Nanoseconds a packet of netfilterqueue with a callback that only accepts."""
    with filled(net, LIMIT_QUEUE, packets, lambda packet: packet.accept()) as bound:
        start = time.thread_time_ns()
        bound.run(block=False)
        return (time.thread_time_ns() - start) / packets


def watch(c: Any) -> None:
    """The callout of --callout."""
    c.continue_()


def main() -> None:
    """Print the rounds and the median ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--packets", type=int, default=4096)
    parser.add_argument("--filters", type=int, default=1)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--blocked", action="store_true")
    parser.add_argument("--callout", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, Network() as net:
        limit = build_limit(Path(directory))
        text = filters(given.filters, blocked=given.blocked, callout=given.callout)
        snapshot = snapshot_of(Path(directory), text, callouts={"watch": watch} if given.callout else {})
        net.server.run(["iptables", "-t", "raw", "-A", "PREROUTING", "-p", "udp", "-j", "DROP"])
        for queue, port in PORT.items():
            queue_rule(net.router, queue, "-p", "udp", "--dport", str(port))
        ratios, library = [], []
        for number in range(given.rounds):
            a = drain_limit(net, limit, given.packets, given.batch)
            b = drain_wfpd(net, snapshot, given.packets, given.batch)
            c = drain_library(net, given.packets)
            ratios.append(a / b)
            library.append(c / b)
            print(f"round {number + 1}: limit {a:7.0f} ns  wfpd {b:7.0f} ns  ratio {a / b:.3f}  library {c:7.0f} ns")
        print(
            f"median limit / wfpd {statistics.median(ratios):.3f}, library / wfpd {statistics.median(library):.2f}"
            f"  ({given.filters} filters, batch {given.batch})"
        )


if __name__ == "__main__":
    sys.exit(main())

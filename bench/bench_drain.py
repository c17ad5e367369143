"""CPU a packet of draining a pre-filled queue: the packet loop against the limit loop, in paired rounds.

    python bench/bench_drain.py [--rounds 9] [--packets 4096] [--filters 1] [--hook forward]

Forwarded 64-byte UDP frames fill a queue while nobody reads it; then one thread drains it, and its
own CPU time, by the scheduler's account, is divided by the packets.  Both loops take turns in one run
(machines are shared and noisy: only the ratio means something).  Prints one line a round and the
median of the ratios limit / wfpd: 1.00 is as cheap as doing nothing.
"""

from __future__ import annotations

import argparse
import ctypes
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.integration.live import bind, queue_rule, snapshot_of
from tests.integration.netns import Network
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


def filters(n: int) -> str:
    """`n` seeded filters on address pairs, ports and protocols that the traffic does not match."""
    draw = random.Random(1)
    lines = []
    for i in range(n):
        source, target = (f"{draw.randrange(11, 223)}.{draw.randrange(256)}.{draw.randrange(256)}.0/24" for _ in "ab")
        lines.append(
            f"  - {{name: f{i}, layer: ipforward_v4, action: block, when: {{ip_source_address: {source}, "
            f"ip_destination_address: {target}, ip_destination_port: {draw.randrange(1, 65536)}, "
            f"ip_protocol: {draw.choice(('tcp', 'udp'))}}}}}"
        )
    return "\n".join(lines)


@contextmanager
def filled(net: Network, queue: int, packets: int) -> Iterator[int]:
    """A bound, configured and full queue; yields its socket."""
    bound = bind(net.router, queue, length=packets + 8)
    try:
        configure_queue(bound.get_fd(), queue, length=packets + 8, copy_bytes=65531, fail_open=False, error_verdict=0)
        net.send_udp(net.client, packets, PAYLOAD, PORT[queue])
        yield bound.get_fd()
    finally:
        bound.unbind()


def drain_limit(net: Network, limit: ctypes.CDLL, packets: int, batch: int) -> float:
    """Nanoseconds a packet of the limit loop."""
    with filled(net, LIMIT_QUEUE, packets) as fd:
        spent = limit.limit_loop(fd, LIMIT_QUEUE, packets, batch)
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

    with filled(net, WFPD_QUEUE, packets) as fd:
        engine.add_queue(WFPD_QUEUE, 0, fd, "forward")
        engine.stop()  # The worker ends when the queue is empty.
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    counters = engine.counters()["queues"][WFPD_QUEUE]
    if counters["packets"]["permit"] != packets:
        raise RuntimeError(f"the packet loop decided {counters['packets']} instead of {packets}")
    return spent[0] / packets


def main() -> None:
    """Print the rounds and the median ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--packets", type=int, default=4096)
    parser.add_argument("--filters", type=int, default=1)
    parser.add_argument("--batch", type=int, default=64)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, Network() as net:
        limit = build_limit(Path(directory))
        snapshot = snapshot_of(Path(directory), filters(given.filters))
        net.server.run(["iptables", "-t", "raw", "-A", "PREROUTING", "-p", "udp", "-j", "DROP"])
        for queue, port in PORT.items():
            queue_rule(net.router, queue, "-p", "udp", "--dport", str(port))
        ratios = []
        for number in range(given.rounds):
            a = drain_limit(net, limit, given.packets, given.batch)
            b = drain_wfpd(net, snapshot, given.packets, given.batch)
            ratios.append(a / b)
            print(f"round {number + 1}: limit {a:7.0f} ns  wfpd {b:7.0f} ns  ratio {a / b:.3f}")
        print(f"median ratio {statistics.median(ratios):.3f}  ({given.filters} filters, batch {given.batch})")


if __name__ == "__main__":
    sys.exit(main())

"""One program that serves a queue, as a process of its own: `python -m bench.consumer KIND QUEUE [--filters N]`.

Kinds: wfpd (the packet loop with that many filters), library (an empty netfilterqueue callback), scapy
((netfilterqueue and a Scapy parse).  Prints "ready" when it serves; ends at SIGTERM.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from netfilterqueue import NetfilterQueue

from bench import peers, workloads
from bench.policies import snapshot
from wfpd.bench.drain import HEADERS, empty_callback
from wfpd.dataplane import Engine, configure_queue

LENGTH = 8192
"""Packets the queue holds, for every kind."""
WHOLE = 65531


def serve_engine(number: int, filters: int, copy_bytes: int) -> None:
    """wfpd's packet loop."""
    queue = NetfilterQueue()
    queue.bind(number, empty_callback, max_len=LENGTH)
    configure_queue(queue.get_fd(), number, length=LENGTH, copy_bytes=copy_bytes, fail_open=False, error_verdict=1)
    engine = Engine(1)
    engine.swap(snapshot(workloads.policy(workloads.rules("access", filters)), []))
    engine.add_queue(number, 0, queue.get_fd(), "forward")
    thread = threading.Thread(target=engine.run_worker, args=(0,))
    thread.start()
    print("ready", flush=True)
    signal.sigwait({signal.SIGTERM})
    engine.stop()
    thread.join()
    queue.unbind()


def serve_library(number: int, callback: Callable[[Any], None]) -> None:
    """netfilterqueue as its users have it, with room for a burst."""
    queue = NetfilterQueue()
    queue.bind(number, callback, max_len=LENGTH, sock_len=LENGTH * 4096)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    print("ready", flush=True)
    queue.run()


def main() -> int:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=("wfpd", "library", "scapy"))
    parser.add_argument("queue", type=int)
    parser.add_argument("--filters", type=int, default=10000)
    parser.add_argument("--whole", action="store_true", help="have whole packets copied, not their headers alone")
    given = parser.parse_args()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    if given.kind == "wfpd":
        serve_engine(given.queue, given.filters, WHOLE if given.whole else HEADERS)
    else:
        serve_library(given.queue, empty_callback if given.kind == "library" else peers.scapy_callback())
    return 0


if __name__ == "__main__":
    sys.exit(main())

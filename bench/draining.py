"""What the benches of a full queue share: their packets' shape, the limit, and contenders on one ring."""

from __future__ import annotations

import contextlib
import ctypes
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from netfilterqueue import NetfilterQueue

from wfpd.bench.drain import Consumer, Drain, Report, Rounds, Work, Works, consumers, rounds
from wfpd.bench.network import Ring

BATCH = 64
SHAPE = "access"
FLOWS = 256
"""Conversations among the packets of a round."""
SLOW = 8
"""Scapy gets this part of the packets."""
LIMIT = "limit"


def build_limit(directory: Path) -> ctypes.CDLL:
    """Compile limit_loop.c."""
    library = directory / "limit_loop.so"
    source = Path(__file__).with_name("limit_loop.c")
    subprocess.run(["cc", "-O3", "-shared", "-fPIC", "-o", library, source], check=True)
    loaded = ctypes.CDLL(str(library))
    loaded.limit_loop.restype = None
    loaded.limit_loop.argtypes = [ctypes.c_int, ctypes.c_uint16, ctypes.c_uint64, ctypes.c_uint]
    return loaded


def limit_work(limit: ctypes.CDLL, number: int) -> Work:
    """The limit loop serves the queue."""

    def work(queue: NetfilterQueue) -> tuple[Callable[[], object], Report]:
        return lambda: limit.limit_loop(queue.get_fd(), number, 1 << 62, BATCH), dict

    return work


@contextlib.contextmanager
def serving(
    works: Works, packets: Sequence[bytes], hook: str = "forward"
) -> Iterator[tuple[Drain, dict[str, Consumer]]]:
    """A ring of whose queues each has a contender; what fills them with the packets, and the contenders."""
    with Ring(hook) as ring, ring.sender() as sender, consumers(ring, works) as served:
        yield Drain(ring, sender, packets), served


def paired(works: Works, packets: Sequence[bytes], count: int) -> Rounds:
    """`count` rounds at forward, all contenders in each."""
    with serving(works, packets) as (drain, served):
        return rounds(drain.turns(served), count)

"""The kernel's own accounts of queues and netlink sockets.

Of the calling thread's network namespace: a thread that has entered another one reads there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wfpd.errors import KernelError

NET = Path("/proc/thread-self/net")
"""Not /proc/self/net, which is the main thread's namespace."""
NETLINK_NETFILTER = 12
"""linux/netlink.h."""
COPY_MODES = ("none", "meta", "packet")


@dataclass(frozen=True, slots=True)
class QueueStatus:
    """One line of nfnetlink_queue (net/netfilter/nfnetlink_queue.c, seq_show)."""

    queue: int
    portid: int
    """Netlink port of the socket that is bound."""
    waiting: int
    """Packets queued and undecided."""
    copy_mode: str
    copy_range: int
    """Bytes of a packet copied at most."""
    queue_dropped: int
    """Packets lost to a full queue (0 with fail-open)."""
    user_dropped: int
    """Packets lost to a full socket (0 with fail-open)."""
    sequence: int
    """Id given last; a failed delivery uses one up too."""


def parse_queues(text: str) -> dict[int, QueueStatus]:
    """Queues by number."""
    found = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) < 8:
            continue
        queue, portid, waiting, mode, length, dropped, user, sequence = (int(word) for word in words[:8])
        name = COPY_MODES[mode] if mode < len(COPY_MODES) else str(mode)
        found[queue] = QueueStatus(queue, portid, waiting, name, length, dropped, user, sequence)
    return found


def parse_netlink_drops(text: str, protocol: int = NETLINK_NETFILTER) -> dict[int, int]:
    """Messages lost at each socket of a netlink protocol, by port."""
    lines = text.splitlines()
    if not lines:
        return {}
    columns = lines[0].split()
    at_protocol, at_port, at_drops = (columns.index(name) for name in ("Eth", "Pid", "Drops"))
    found = {}
    for line in lines[1:]:
        words = line.split()
        if len(words) > at_drops and int(words[at_protocol]) == protocol:
            found[int(words[at_port])] = int(words[at_drops])
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise KernelError(
            f"{path}: {error.strerror}", hint="the kernel lacks nfnetlink_queue, or /proc is mounted with subset=pid"
        ) from error


def queues() -> dict[int, QueueStatus]:
    """Every bound queue of the calling thread's namespace, by number."""
    return parse_queues(_read(NET / "netfilter/nfnetlink_queue"))


def netlink_drops() -> dict[int, int]:
    """Messages lost at each netfilter netlink socket of the calling thread's namespace, by port."""
    return parse_netlink_drops(_read(NET / "netlink"))

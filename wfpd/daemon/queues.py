"""A queue's life: opened, bound and closed by netfilterqueue; its packets are read by the packet loop.

netfilterqueue reads packets of its own while it binds; its callback decides those by
`on_error`.  After bind() nobody calls the library until the queue has been drained.
"""

from __future__ import annotations

import os
import pathlib

from netfilterqueue import COPY_PACKET, NetfilterQueue

from wfpd.dataplane import configure_queue
from wfpd.errors import KernelError

NFNETLINK_QUEUE = pathlib.Path("/proc/thread-self/net/netfilter/nfnetlink_queue")
DEFAULT_LENGTH = 8192
"""Packets a queue holds."""
WHOLE_PACKET = 0xFFFF
HEADERS = 2048
"""Bytes copied where no filter reads payload: a whole packet of an ordinary link, so that a long
chain of IPv6 extension headers cannot hide the ports behind the cut."""
NF_DROP, NF_ACCEPT = 0, 1


class BoundQueue:
    """One NFQUEUE queue, bound and configured."""

    def __init__(
        self, number: int, *, fail_open: bool, error_permits: bool, copy_bytes: int, length: int = DEFAULT_LENGTH
    ) -> None:
        if length < 1:
            raise KernelError(f"queue {number}: a length of 0 drops every packet", hint="lengths start at 1")
        self.number = number
        self.early = 0
        """Packets that the library read while binding; they were decided by `on_error`."""
        self._error_permits = error_permits
        self._library = NetfilterQueue()
        try:
            self._library.bind(number, self._decide_early, max_len=length, mode=COPY_PACKET)
        except OSError as error:
            raise _bind_error(number, error) from error
        self.fd: int = self._library.get_fd()
        os.set_inheritable(self.fd, False)
        try:
            self.flags = configure_queue(
                self.fd, number, length=length, copy_bytes=copy_bytes, fail_open=fail_open,
                error_verdict=NF_ACCEPT if error_permits else NF_DROP,
            )  # fmt: skip
        except BaseException:
            self._library.unbind()
            raise

    def _decide_early(self, packet: object) -> None:
        self.early += 1
        if self._error_permits:
            packet.accept()  # type: ignore[attr-defined]
        else:
            packet.drop()  # type: ignore[attr-defined]

    def close(self) -> None:
        """Unbind; only after the worker has ended, or what the library reads meanwhile is undecided."""
        self._library.unbind()


def _bind_error(number: int, error: OSError) -> KernelError:
    """What a refused bind means here and now."""
    if not NFNETLINK_QUEUE.exists():
        return KernelError("this kernel has no NFQUEUE", hint="it needs CONFIG_NETFILTER_NETLINK_QUEUE")
    held = [line.split()[0] for line in NFNETLINK_QUEUE.read_text().splitlines() if line.strip()]
    if str(number) in held:
        return KernelError(
            f"queue {number} is taken by another program",
            hint="stop that program, or choose other numbers with attach: queues",
        )
    return KernelError(f"queue {number} cannot be bound: {error}", hint="NFQUEUE needs CAP_NET_ADMIN (run as root)")

"""A queue's life: opened, bound and closed by netfilterqueue; its packets are read by the packet loop.

netfilterqueue reads packets of its own while it binds; its callback decides those by
`on_error`.  After bind() nobody calls the library until the queue has been drained.
"""

from __future__ import annotations

import logging
import os
import pathlib
import time
from collections.abc import Callable, Iterable

from netfilterqueue import COPY_PACKET, NetfilterQueue

from wfpd.dataplane import Engine, configure_queue, size_receive_buffer
from wfpd.errors import KernelError
from wfpd.model.policy import DaemonSettings, Faults, Word
from wfpd.netfilter import proc

logger = logging.getLogger("wfpd")

NFNETLINK_QUEUE = pathlib.Path("/proc/thread-self/net/netfilter/nfnetlink_queue")
DEFAULT_LENGTH = 8192
"""Packets a queue holds."""
WHOLE_PACKET = 0xFFFF
HEADERS = 2048
"""Bytes copied where no filter reads payload: a whole packet of an ordinary link, so that a long
chain of IPv6 extension headers cannot hide the ports behind the cut."""
PARKED_BYTES = HEADERS
"""Bytes copied of a parked packet, to find it again; all of it was copied before.  A whole packet of an ordinary link:
two that wait may begin alike."""
NF_DROP, NF_ACCEPT = 0, 1


class BoundQueue:
    """One NFQUEUE queue, bound and configured."""

    def __init__(
        self, number: int, *, fail_open: bool, error_permits: bool, copy_bytes: int, length: int = DEFAULT_LENGTH
    ) -> None:
        if length < 1:
            raise KernelError(f"queue {number}: a length of 0 drops every packet", hint="lengths start at 1")
        self.number = number
        self.length = length
        self.early = 0
        """Packets that the library read while binding; they were decided by `on_error`."""
        self._error_permits = error_permits
        try:
            self._library = NetfilterQueue()
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
        refused = [name for name, on in self.flags["flags"].items() if not on and (name != "fail_open" or fail_open)]
        if refused:
            logger.warning("queue %d: this kernel refuses %s", number, ", ".join(refused))

    def _decide_early(self, packet: object) -> None:
        self.early += 1
        if self._error_permits:
            packet.accept()  # type: ignore[attr-defined]
        else:
            packet.drop()  # type: ignore[attr-defined]

    def make_room(self, copy_bytes: int) -> None:
        """Size the socket for packets of `copy_bytes`, so that the queue is full before its socket is."""
        size_receive_buffer(self.fd, length=self.length, copy_bytes=copy_bytes)

    def close(self) -> None:
        """Unbind; only after the worker has ended, or what the library reads meanwhile is undecided."""
        self._library.unbind()


class QueueSet:
    """The queues that a policy attaches, the parking queue, and how a reload changes them under the loop."""

    def __init__(self, engine: Engine, numbers: Iterable[int]) -> None:
        self.numbers = tuple(numbers)
        self._engine = engine
        self._queues: list[BoundQueue] = []
        self._parking: BoundQueue | None = None
        self._fail_open = True
        self._whole = False
        """Packets are handed over whole, not their headers alone."""

    @property
    def bound(self) -> bool:
        """The queues are bound and served."""
        return bool(self._queues)

    @property
    def parks(self) -> bool:
        """There is a parking queue."""
        return self._parking is not None

    @property
    def all_numbers(self) -> tuple[int, ...]:
        """With that of the parking queue, if there is one."""
        return self.numbers if self._parking is None else (*self.numbers, self._parking.number)

    def bind(self, faults: Faults, *, whole: bool) -> None:
        """Bind and configure every queue and spread them over the engine's workers."""
        self._fail_open, self._whole = faults.on_full is Word.PERMIT, whole
        for index, number in enumerate(self.numbers):
            queue = BoundQueue(
                number,
                fail_open=self._fail_open,
                error_permits=faults.on_error is Word.PERMIT,
                copy_bytes=WHOLE_PACKET if whole else HEADERS,
            )
            self._queues.append(queue)
            self._engine.add_queue(number, index % self._engine.n_workers, queue.fd)

    def open_parking(self, faults: Faults, settings: DaemonSettings) -> None:
        """Bind the parking queue, the first free number above the others, or of all, if it is not there already."""
        if self.parks or not self.bound:
            return
        taken = {*self.numbers, *proc.queues()}
        parking = BoundQueue(
            next(number for number in (*range(max(self.numbers) + 1, 1 << 16), *range(1 << 16)) if number not in taken),
            fail_open=self._fail_open,
            error_permits=faults.on_error is Word.PERMIT,
            copy_bytes=PARKED_BYTES,
            length=settings.pended_max,
        )
        try:
            self._engine.add_parking(
                parking.number, parking.fd, capacity=settings.pended_max, memory=settings.pended_memory
            )
        except BaseException:  # Nobody would ever read it.
            parking.close()
            raise
        self._parking = parking

    def close(self) -> None:
        """Unbind all; only after the workers and the parking queue's thread have ended."""
        for queue in (*self._queues, *([] if self._parking is None else [self._parking])):
            queue.close()
        self._queues, self._parking = [], None

    def widen(self, timeout: float) -> None:
        """Hand over whole packets; returns when what was copied before has its verdict.

        KernelError when that takes longer than `timeout` seconds: the packets wait for a callout.
        """
        if self._whole or not self.bound:
            return
        for queue in self._queues:
            queue.make_room(WHOLE_PACKET)
            self._engine.set_copy_bytes(queue.number, WHOLE_PACKET)
        self._whole = True
        time.sleep(0.001)  # The kernel may be building a shorter copy that gets its id only now.
        marks = {number: status.sequence for number, status in proc.queues().items()}
        end = time.monotonic() + timeout
        for number in self.numbers:
            if not settled(self._engine.decided_through, number, marks.get(number, 0), end):
                self.narrow()
                raise KernelError(
                    f"queue {number}: packets still wait for their verdict after {timeout:g} s",
                    hint="a callout holds them; try again",
                )

    def narrow(self) -> None:
        """Hand over headers only."""
        if not self._whole or not self.bound:
            return
        self._whole = False
        for queue in self._queues:
            self._engine.set_copy_bytes(queue.number, HEADERS)

    def set_on_full(self, word: Word) -> None:
        """Change the fail-open flag of every queue, or of none and raise KernelError."""
        fail_open = word is Word.PERMIT
        if fail_open is self._fail_open or not self.bound:
            return
        done = []
        try:
            for number in self.all_numbers:
                self._engine.set_fail_open(number, fail_open)
                done.append(number)
        except KernelError:
            for number in done:
                self._engine.set_fail_open(number, self._fail_open)
            raise
        self._fail_open = fail_open


def settled(decided_through: Callable[[int], int], number: int, mark: int, end: float) -> bool:
    """Wait until every packet of a queue with an id up to `mark` has its verdict; False after `end`.

    Ids wrap, so they are compared signed, as the kernel does.  Ids given last may have been lost on
    the way: an empty queue has nothing undecided either.  `end` is a time of time.monotonic().
    """
    while (mark - decided_through(number)) & 0xFFFFFFFF in range(1, 1 << 31):
        status = proc.queues().get(number)
        if status is None or not status.waiting:
            return True
        if time.monotonic() > end:
            return False
        time.sleep(0.001)
    return True


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

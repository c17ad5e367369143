"""Injection handles: which callout has injected a packet that is seen again (FWPS_PACKET_INJECTION_STATE).

The mark of an injected packet holds the number of the handle that injected it last.  What cannot be in it, the
handles before that one and how often the packet was injected, is in a bounded history, by what of the packet stays the
same on its way.

Threads: the lock is taken again by a thread that has it where a collection of garbage within ends an object of a
callout's that injects.  So what is done under it holds at each step.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from wfpd.errors import ActionRefused
from wfpd.injection.wire import Order, whole_length
from wfpd.netfilter.marks import HANDLES, Marks, Way

NOT_INJECTED = "not_injected"
BY_SELF = "injected_by_self"
BY_OTHER = "injected_by_other"
PREVIOUSLY = "previously_injected_by_self"
HISTORY = 8192
"""Packets remembered."""
HISTORY_SECONDS = 5.0
WAYS = {"outbound": Way.OUTBOUND, "inbound": Way.INBOUND, "forward": Way.FORWARD}
AT_MOST = 8
"""Times that one packet is injected, where a callout's class does not say `injects_at_most`."""


@dataclass(frozen=True, slots=True)
class Past:
    """What is known of an injected packet."""

    handles: frozenset[int] = frozenset()
    """Numbers of those that have injected it or what it was before."""
    times: int = 0


NOTHING = Past()


def identity(packet: bytes | memoryview) -> Hashable | None:
    """What of an IP packet is the same when it is seen again: hop count, DSCP, identification and the IP header's
    checksum are not.  None of a packet that is not there as a whole."""
    packet = bytes(packet)
    length = whole_length(packet) if len(packet) >= 20 else -1
    if not 0 < length <= len(packet):
        return None
    if packet[0] >> 4 == 4:
        return packet[9:10] + packet[12:20] + packet[(packet[0] & 15) * 4 : length]
    return packet[6:7] + packet[8:length]


def _is_for_many(packet: bytes) -> bool:
    """Whether the destination is multicast, or IPv4's broadcast."""
    return packet[16] >= 224 if packet[0] >> 4 == 4 else packet[24] == 255


class History:
    """The packets injected last."""

    def __init__(self, most: int = HISTORY, seconds: float = HISTORY_SECONDS,
                 clock: Callable[[], float] = time.monotonic) -> None:  # fmt: skip
        self._most, self._seconds, self._clock = most, seconds, clock
        self._known: OrderedDict[int, tuple[float, Past]] = OrderedDict()

    def remember(self, packet: bytes, past: Past) -> None:
        """The newest of equal packets counts."""
        key = hash(identity(packet))
        self._known.pop(key, None)
        self._known[key] = (self._clock() + self._seconds, past)
        while self._known:
            key, oldest = self._known.popitem(last=False)
            if len(self._known) < self._most and oldest[0] > self._clock():
                self._known[key] = oldest
                self._known.move_to_end(key, last=False)
                break

    def of(self, packet: bytes | memoryview) -> Past:
        """NOTHING where it is not known (any more)."""
        name = identity(packet)
        until, past = self._known.get(hash(name), (0.0, NOTHING)) if name is not None else (0.0, NOTHING)
        return past if until > self._clock() else NOTHING

    def __len__(self) -> int:
        return len(self._known)


class Injections:
    """All handles of a process, and the way to the helper."""

    def __init__(self, send: Callable[[Order], None], marks: Marks | None = None,
                 count: Callable[[str], None] = lambda result: None) -> None:  # fmt: skip
        """`send` hands an order over or raises ActionRefused; `count` is told of those that do not get so far."""
        self._send, self._count = send, count
        self.marks = marks or Marks()
        self.armed = True
        """The rules know marks of injected packets."""
        self._lock = threading.RLock()
        self._numbers: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()
        self._owners: dict[int, weakref.ref[Any]] = {}
        self._last = 0
        self._history = History()

    def number(self, callout: Any) -> int:
        """The number of a callout's handle, from 1 on; ActionRefused if there are no more."""
        with self._lock:
            found = self._numbers.get(callout)
            return self._give(callout) if found is None else found

    def _give(self, callout: Any) -> int:
        mine = weakref.ref(callout)
        for step in range(HANDLES):
            number = (self._last + step) % HANDLES + 1  # One that was given back is used again as late as can be.
            taken = self._owners.get(number)
            if taken is not None and taken() is None:
                del self._owners[number]
            if self._owners.setdefault(number, mine) is mine:
                self._last = self._numbers[callout] = number
                return number
        raise ActionRefused(f"there are {HANDLES} injection handles", hint="fewer callouts that inject")

    def handle(self, callout: Any, complete: Callable[[bytes], bytes], past: Past = NOTHING, *, interface: int = 0,
               silent: bool = False) -> InjectionHandle:  # fmt: skip
        """What a callout may keep for clones of a packet with this past, or for new packets.

        `complete` sets lengths and checksums of a packet, or raises ActionRefused; `silent`: nothing is sent.
        """
        self.number(callout)
        return InjectionHandle(self, callout, complete, past, interface, silent)

    def past_of(self, mark: int, packet: bytes | memoryview) -> Past:
        """That of a packet which has arrived with `mark`."""
        by = self.marks.injected_by(mark)
        if not by:
            return NOTHING
        with self._lock:
            known = self._history.of(packet)
        return Past(known.handles | {by}, max(known.times, 1))

    def state(self, callout: Any, mark: int, packet: bytes | memoryview) -> str:
        """That of a packet which has arrived with `mark`, as this callout's handle sees it."""
        by = self.marks.injected_by(mark)
        if not by:
            return NOT_INJECTED
        with self._lock:
            number = self._numbers.get(callout, 0)  # 0: it has injected nothing.
        if by == number:
            return BY_SELF
        return PREVIOUSLY if number in self.past_of(mark, packet).handles else BY_OTHER

    def passes(self, callout: Any, mark: int, packet: bytes | memoryview) -> bool:
        """Whether the callout is not asked, as it has injected the packet itself."""
        if getattr(callout, "sees_injected", False) or not getattr(callout, "injects", False):
            return False
        return self.state(callout, mark, packet) in (BY_SELF, PREVIOUSLY)

    def inject(self, callout: Any, packet: bytes, direction: str, *, past: Past = NOTHING, clone: bool = False,
               interface: int = 0) -> bool:  # fmt: skip
        """Send a completed packet because of one with this past; `clone`: it takes its place.

        False, and counted, if that one was injected as often as the callout allows.
        """
        if direction == "inbound" and _is_for_many(packet):
            raise ActionRefused("a packet to many cannot be received by injection", hint="use modify()")
        if not self.armed:
            self._count("no_helper")
            raise ActionRefused("the rules for injected packets do not stand yet", hint="try it with the next packet")
        number, way = self.number(callout), WAYS[direction]
        if past.times >= getattr(callout, "injects_at_most", AT_MOST):
            self._count("loop")
            return False
        before = past.handles if clone else frozenset[int]()
        with self._lock:
            self._history.remember(packet, Past(before | {number}, past.times + 1))
        self._send(Order(packet, self.marks.injected(number, way), interface, way is Way.INBOUND))
        return True


class InjectionHandle:
    """A callout's own: may be kept, and used by any thread after the call has ended."""

    def __init__(self, injections: Injections, callout: Any, complete: Callable[[bytes], bytes], past: Past,
                 interface: int, silent: bool) -> None:  # fmt: skip
        self._injections, self._complete, self._past = injections, complete, past
        self._interface, self._silent = interface, silent
        self._callout = weakref.ref(callout)

    def inject(self, packet: bytes, *, direction: str, clone: bool = True) -> bool:
        """As `c.reinject` without the drop; `direction` is outbound, inbound or forward.

        Without `clone` it is a new packet, as by `c.inject`.  Raises ActionRefused after the callout's end, too.
        """
        if direction not in WAYS:
            raise ValueError(f"direction={direction!r}: one of {', '.join(WAYS)}")
        callout = self._callout()
        if callout is None:
            raise ActionRefused("the callout is gone, and its injection handle is closed", hint="end with close()")
        whole = self._complete(packet)
        if self._silent:
            return True
        return self._injections.inject(
            callout, whole, direction, past=self._past, clone=clone, interface=self._interface
        )

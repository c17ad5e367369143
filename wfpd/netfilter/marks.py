"""The 12 bits of the packet and connection mark that are wfpd's, under `marks.mask`.

    11 10 | 9 8      | 7 ... 0
    plane | decision | generation

A *flow mark* has the plane of its hook and the generation of the snapshot that decided; it is
what offload saves in the connection mark, so each hook trusts only its own plane (a loopback
packet has one conntrack entry on output and input).  Generation 0 is never used in one.

A *reply mark* has plane 0 and speaks of one packet: it goes with an ACCEPT verdict, and the act
rules at the head of `filter` answer the packet and drop it.  Nothing ever saves it.

The mark of an *injected* packet has plane 0 and no decision; the low bits hold its way and the number of the handle:

    7 6 | 5 ... 0
    way | handle, never 0

All numbers are host integers.  A verdict's mark replaces the packet's whole mark: send
`merge(arrived, ours)`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from wfpd.errors import PolicyError, Problem
from wfpd.model.policy import Reply

BITS = 12
DEFAULT_MASK = 0xFFF00000
PLANE_SHIFT, DECISION_SHIFT = 10, 8
GENERATIONS = 255
"""Numbers a generation can have: 1 to 255."""
WAY_SHIFT = 6
HANDLES = 63
"""Numbers an injection handle can have: 1 to 63."""


class Plane(enum.IntEnum):
    """The hook that a flow's decision was made at."""

    REPLY = 0
    INPUT = 1
    FORWARD = 2
    OUTPUT = 3


class Way(enum.IntEnum):
    """Where an injected packet goes."""

    OUTBOUND = 0
    INBOUND = 1
    FORWARD = 2


class Decided(enum.IntEnum):
    """The decision bits of a flow mark."""

    NONE = 0
    PERMIT = 1
    DROP = 2
    RESET = 3


# The decision bits of a reply mark; DROP and RESET mean what they mean in a flow mark.
_REPLY_CODE = {Reply.ICMP_UNREACHABLE: 1, Reply.NONE: 2, Reply.TCP_RESET: 3}

HOOK_PLANE = {"input": Plane.INPUT, "forward": Plane.FORWARD, "output": Plane.OUTPUT}
"""prerouting and postrouting decide no flows."""


@dataclass(frozen=True, slots=True)
class Marks:
    """Our bits; `mask` has BITS contiguous bits set."""

    mask: int = DEFAULT_MASK

    def __post_init__(self) -> None:
        low = self.mask & -self.mask if self.mask > 0 else 0
        if not low or self.mask > 0xFFFFFFFF or self.mask != ((1 << BITS) - 1) * low:
            raise PolicyError([
                Problem(
                    f"marks.mask {self.mask:#x} is not {BITS} contiguous bits of 32",
                    subject="daemon",
                    hint=f"the default is {DEFAULT_MASK:#x}; 0xfff0 and 0xfff are others",
                )
            ])  # fmt: skip

    @property
    def shift(self) -> int:
        """Position of the lowest of our bits."""
        return (self.mask & -self.mask).bit_length() - 1

    def merge(self, arrived: int, ours: int) -> int:
        """The whole mark to send: foreign bits as they arrived, our bits as given."""
        return (arrived & ~self.mask & 0xFFFFFFFF) | (ours & self.mask)

    def flow(self, plane: Plane, decided: Decided, generation: int) -> int:
        """A flow mark; `generation` is 1 to 255."""
        if plane is Plane.REPLY or not 1 <= generation <= GENERATIONS:
            raise ValueError("a flow mark has a hook's plane and a generation from 1 to 255")
        return (plane << PLANE_SHIFT | decided << DECISION_SHIFT | generation) << self.shift

    def reply(self, reply: Reply) -> int:
        """The bits for an ACCEPT verdict on a packet that is to be answered and dropped."""
        return (_REPLY_CODE[reply] << DECISION_SHIFT) << self.shift

    def injected(self, handle: int, way: Way) -> int:
        """The mark of a packet that the handle of this number injects."""
        if not 1 <= handle <= HANDLES:
            raise ValueError("a handle's number is 1 to 63")
        return (way << WAY_SHIFT | handle) << self.shift

    def injected_by(self, mark: int) -> int:
        """The number of the handle that has injected a packet with this mark; 0: it was not injected."""
        ours = (mark & self.mask) >> self.shift
        return ours & HANDLES if ours <= 0xFF else 0

    def without(self, bits: int) -> int:
        """Our mask but for its lowest `bits` bits."""
        return self.mask & ~(((1 << bits) - 1) << self.shift)

    def split(self, mark: int) -> tuple[int, int, int]:
        """Plane, decision and generation of a mark."""
        ours = (mark & self.mask) >> self.shift
        return ours >> PLANE_SHIFT, ours >> DECISION_SHIFT & 3, ours & 0xFF

    def generation_of(self, snapshot: int) -> int:
        """The mark's generation of a snapshot's number (from 1 up): 1 to 255, then 1 again."""
        return (snapshot - 1) % GENERATIONS + 1


def can_reply(hook: str) -> bool:
    """Whether a block at `hook` can be answered: after postrouting there is no filter hook left."""
    return hook != "postrouting"

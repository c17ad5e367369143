"""What a test is told of one packet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from wfpd.observe import explain_text
from wfpd.replay import describe


class Call(NamedTuple):
    """A callout that was asked about a packet."""

    callout: str
    layer: str
    """With its family."""


@dataclass(frozen=True, slots=True)
class PacketResult:
    """What was decided of one packet."""

    number: int
    """From 1, over all packets of the run."""
    verdict: str
    """permit or block; parked: a callout has taken it out of its queue, and due() tells what becomes of it."""
    reason: str
    """As `wfpd replay` has it: no_match, filter, callout, flow, error ..."""
    reply: str | None
    """tcp_reset, icmp_unreachable, or None."""
    layer: str | None
    """Where it was decided, with the family; None: no layer decided."""
    filter: str | None
    """Which decided."""
    given: bytes
    """The IP packet as it came."""
    packet: bytes | None
    """As it left, with what callouts have made of it; None: it was blocked, or waits."""
    calls: tuple[Call, ...]
    """In order."""
    errors: tuple[BaseException, ...]
    """What callouts raised."""
    line: Mapping[str, Any] = field(repr=False)
    """What `wfpd replay --json` prints of it."""
    explanation: Mapping[str, Any] | None = field(default=None, repr=False)
    """What `wfpd explain --json` prints of it; None for packets of a capture."""
    injected: tuple[bytes, ...] = ()
    """The IP packets that callouts have injected because of it, in order; they are not decided in turn."""

    @property
    def explain(self) -> str:
        """Why, for a person."""
        return f"{self}\n" if self.explanation is None else explain_text.render(self.explanation)

    def __str__(self) -> str:
        reply = f", reply {self.reply}" if self.reply else ""
        asked = ", ".join(call.layer for call in self.calls)
        return f"{describe(dict(self.line))}{reply}" + (f" (asked at {asked})" if asked else "")


@dataclass(frozen=True, slots=True)
class CaptureResult:
    """What was decided of a capture."""

    results: tuple[PacketResult, ...]

    @property
    def counts(self) -> dict[str, int]:
        """Packets by verdict."""
        found = {"permit": 0, "block": 0}
        for one in self.results:
            found[one.verdict] += 1
        return found

    @property
    def blocked(self) -> list[int]:
        """Numbers of blocked packets, from 1 as in the capture."""
        return [at for at, one in enumerate(self.results, 1) if one.verdict == "block"]

    @property
    def calls(self) -> int:
        """How often callouts were asked."""
        return sum(len(one.calls) for one in self.results)

    @property
    def explain(self) -> str:
        """A line for each packet."""
        return "".join(f"{one}\n" for one in self.results)

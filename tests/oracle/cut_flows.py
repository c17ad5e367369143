"""Cut flows by the words of docs/actions.md: a dictionary, looked through packet by packet."""

from __future__ import annotations

from dataclasses import dataclass, field

SECOND = 1_000_000_000
End = tuple[str, int]


@dataclass
class Cut:
    """One cut flow."""

    last_ns: int
    told: set[End] = field(default_factory=set)

    def is_over(self, now_ns: int) -> bool:
        """Forgotten: 10 s after both ends were told, else a minute after the last packet."""
        return now_ns - self.last_ns > (10 if len(self.told) == 2 else 60) * SECOND


class CutFlows:
    """Says what becomes of each packet where a callout resets whatever has the word, in both directions."""

    def __init__(self) -> None:
        self.cuts: dict[frozenset[End], Cut] = {}
        self.known: dict[frozenset[End], bool] = {}
        """Flows in a table; true: closed, so that a SYN begins another."""
        self.asked = 0

    def decide(
        self, source: End, destination: End, flags: str, has_word: bool, now_ns: int, *, tracked: bool = False,
        outbound: bool = False,
    ) -> tuple[str, str]:  # fmt: skip
        """(verdict, reason); `tracked`: a flow is known from its first packet that was permitted, no outbound RST."""
        flow = frozenset((source, destination))
        cut = self.cuts.get(flow)
        if cut is not None and not tracked and cut.is_over(now_ns):
            cut = self.cuts.pop(flow) and None
        if cut is not None and flags == "S" and len(cut.told) == 2:
            del self.cuts[flow]
            self.known.pop(flow, None)
            cut = None
        if cut is not None:
            if "R" in flags:
                return "permit", "flow"
            cut.told.add(source)
            cut.last_ns = now_ns
            return "block", "flow"
        self.asked += 1
        if flags == "S" and self.known.get(flow):
            del self.known[flow]
        if not has_word:
            if tracked and (flow in self.known or "R" not in flags or not outbound):
                self.known[flow] = self.known.get(flow, False) or "R" in flags
            return "permit", "callout"
        if flags != "S" and ("R" not in flags or flow in self.known):
            self.cuts[flow] = Cut(now_ns, {source})
        return "block", "callout"

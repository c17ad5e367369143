"""TCP reassembly of one direction, slow and obvious: a dictionary of bytes by offset (RFC 9293, section 3.4)."""

from __future__ import annotations

MAX_RANGES = 16


class Reassembly:
    """The first copy of a byte stays; every byte that is in order is decided at once."""

    def __init__(self, initial: int, *, history: int, window: int) -> None:
        self.initial, self.history, self.window = initial, history, window
        self.known: dict[int, int] = {}
        self.origin = 0
        """Bytes before it are known to nobody."""
        self.next = 0
        self.fin: int | None = None

    def offset(self, sequence: int) -> int:
        """The offset nearest to the byte awaited that has this sequence number."""
        distance = (sequence - self.initial - self.next) % 2**32
        return self.next + (distance if distance < 2**31 else distance - 2**32)

    def runs(self) -> list[tuple[int, int]]:
        """Known bytes beyond the first gap, as runs."""
        found: list[tuple[int, int]] = []
        for at in sorted(at for at in self.known if at >= self.next):
            if found and found[-1][1] == at:
                found[-1] = (found[-1][0], at + 1)
            else:
                found.append((at, at + 1))
        return found

    def segment(
        self, sequence: int, data: bytes, *, syn: bool = False, fin: bool = False, take: bool = False
    ) -> tuple[set[str], bytes]:
        """As Reassembler.segment()."""
        start = self.offset((sequence + syn) % 2**32)
        end = start + len(data)
        if syn and start:
            return {"new_syn"}, b""
        facts: set[str] = set()
        if fin and (
            end != self.fin if self.fin is not None else any(at >= end for at in self.known) or end < self.next
        ):
            facts.add("inconsistent")
            fin = False
        bytes_at = {start + i: byte for i, byte in enumerate(data)}
        if self.fin is not None and end > self.fin:
            facts.add("after_fin")
            bytes_at = {at: byte for at, byte in bytes_at.items() if at < self.fin}
        kept = max(self.origin, self.next - self.history)
        if start < kept and data:
            facts.add("old")
        bytes_at = {at: byte for at, byte in bytes_at.items() if at >= kept}
        if any(self.known.get(at, byte) != byte for at, byte in bytes_at.items()):
            facts.add("inconsistent")
        if "inconsistent" not in facts or take:
            facts |= self._take({at: byte for at, byte in bytes_at.items() if at not in self.known})
        if fin and self.fin is None and not facts & {"limit", "inconsistent"}:
            if end - self.next > self.window:
                return facts | {"limit"}, b""
            self.fin = end
            facts.add("new")
        return facts, self._drain()

    def _take(self, fresh: dict[int, int]) -> set[str]:
        if not fresh:
            return set()
        before = dict(self.known)
        self.known |= fresh
        runs = self.runs()
        if max(fresh) + 1 - self.next > self.window or len([run for run in runs if run[0] != self.next]) > MAX_RANGES:
            self.known = before
            return {"limit"}
        return {"new"}

    def _drain(self) -> bytes:
        found = bytearray()
        while self.next in self.known:
            found.append(self.known[self.next])
            self.next += 1
        return bytes(found)

    def skip(self, sequence: int) -> tuple[int, bytes]:
        """As Reassembler.skip()."""
        to = self.offset(sequence)
        if self.fin is not None:
            to = min(to, self.fin)
        if to <= self.next:
            return 0, b""
        passed = to - self.next
        self.origin = self.next = to
        self.known = {at: byte for at, byte in self.known.items() if at >= to}
        return passed, self._drain()

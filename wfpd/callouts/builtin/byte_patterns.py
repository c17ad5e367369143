"""Decides packets and connections by what their data contain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ahocorasick_rs import BytesAhoCorasick

from wfpd.callouts._packet import tcp_segment, udp_data
from wfpd.callouts.builtin.answers import ANSWERS, REFUSALS, STREAM, answer
from wfpd.callouts.builtin.options import flag, lines, texts, word

LONGEST = 65_535
"""Bytes of a pattern."""


class Patterns:
    """A set of byte patterns, found in one pass whatever their number (Aho-Corasick)."""

    def __init__(self, patterns: Sequence[bytes]) -> None:
        """Each of 1 byte at least."""
        self._automaton = BytesAhoCorasick(patterns)
        self.reach = max(map(len, patterns)) - 1
        """Bytes before a place that a pattern found from there on may begin in."""

    def are_in(self, data: bytes | memoryview) -> bool:
        """Whether one of them is in `data`."""
        return bool(self._automaton.find_matches_as_indexes(data))

    def tail(self, data: bytes) -> bytes:
        """What has to be put before the bytes that follow `data`, so that no pattern is missed."""
        return data[-self.reach :] if self.reach else b""


class BytePatterns:
    """Searches data for byte patterns: payloads of UDP and TCP packets, or at the layer stream each direction's data.

    `patterns`: texts, searched for as UTF-8.  `hexadecimal`: patterns as hexadecimal digits, blanks between bytes
    allowed.  `file`: an absolute path of a file with a hexadecimal pattern a line and comments behind #.
    `any_case` (false): ASCII letters match in either case.
    `found` (block): the answer where a pattern is found: continue, permit, block, absorb, reset, tcp_reset,
    icmp_unreachable; at stream a refusal drops the connection.  Where none is found the answer is continue.

    At stream a pattern is found across any border of segments, but what of it came before its last bytes has passed.
    In packets it is found within one packet only.
    """

    def __init__(
        self, patterns: str | Sequence[str] | None = None, hexadecimal: str | Sequence[str] | None = None,
        file: str | None = None, any_case: bool = False, found: str = "block",
    ) -> None:  # fmt: skip
        wanted = [text.encode() for text in ([] if patterns is None else texts("patterns", patterns))]
        digits = [] if hexadecimal is None else texts("hexadecimal", hexadecimal)
        wanted += [_bytes("hexadecimal", text) for text in digits]
        wanted += [_bytes("file", text) for text in ([] if file is None else lines("file", file))]
        if not wanted:
            raise ValueError("patterns, hexadecimal, file: none has a pattern")
        if not all(0 < len(one) <= LONGEST for one in wanted):
            raise ValueError(f"patterns, hexadecimal, file: a pattern has 1 to {LONGEST} bytes")
        self.any_case = flag("any_case", any_case)
        self.answer = word("found", found, ANSWERS)
        self.patterns = Patterns([one.lower() for one in wanted] if self.any_case else wanted)

    def classify(self, c: Any) -> None:
        """Search."""
        if c.layer in STREAM:
            self._classify_stream(c)
            return
        packet = c.packet
        data = udp_data(packet) or tcp_segment(packet)
        answer(c, self.answer if data is not None and self._found(packet[data[-2] : data[-1]]) else "continue")

    def flow_delete(self, f: Any) -> None:
        """The last bytes of its directions go with the flow."""

    def _found(self, data: memoryview) -> bool:
        return self.patterns.are_in(bytes(data).lower() if self.any_case else data)

    def _classify_stream(self, c: Any) -> None:
        tails = c.flow_context
        if tails is None:
            tails = {}
            c.set_flow_context(c.layer, tails)
        data = bytes(c.stream)
        data = tails.get(c.stream_direction, b"") + (data.lower() if self.any_case else data)
        tails[c.stream_direction] = self.patterns.tail(data)
        if self.answer in REFUSALS and self.patterns.are_in(data):
            c.drop_connection()
        else:
            c.permit()


def _bytes(option: str, text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise ValueError(f"{option}: {text[:80]!a} is no hexadecimal pattern") from None

"""Decides TLS connections by the server name that the client asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wfpd.callouts._client_hello import read_client_hello
from wfpd.callouts._packet import tcp_segment
from wfpd.callouts.builtin.answers import ANSWERS, STREAM, answer, answer_stream, is_last
from wfpd.callouts.builtin.beginnings import ACK, SYN, Beginning, Beginnings, other_way
from wfpd.callouts.builtin.name_policy import NamePolicy
from wfpd.callouts.builtin.options import whole, word


class TlsNames:
    """Reads the ClientHello and answers by a list of server names.

    `names`, `file`: the list, with entries `example.org`, `.example.org` (and what is below), `*.example.org` (only
    what is below); a file has one a line.
    `listed` (reset), `unlisted` (continue): the answer to a name.
    `no_name` (continue): to a ClientHello without one.
    `other` (continue): to what is no TLS, and to TLS that is met in its middle.
    `malformed` (block): to a ClientHello that RFC 8446 or 6066 forbids, or of more than `most` bytes; at
        stream also to one that breaks off.
    `ech` (outer): outer: an Encrypted ClientHello is answered by its outer name; else the answer to every such one.
    `most` (16384): bytes of a ClientHello, 512 to 131072.
    `entries` (65536): connections kept in mind at layers of packets.
    Answers: continue, permit, block, absorb, reset, tcp_reset, icmp_unreachable; at the layer stream a connection is
    allowed or dropped.

    At stream nothing of a ClientHello passes before it is decided.  At layers of packets (ipforward, stream_packet)
    the segments before the one that completes it have passed, and every later packet of the connection gets its answer
    too; a client that wants to mislead it can (see beginnings.py).  QUIC, whose ClientHello is encrypted, is not read.
    """

    def __init__(
        self, names: str | Sequence[str] | None = None, file: str | None = None, listed: str = "reset",
        unlisted: str = "continue", no_name: str = "continue", other: str = "continue", malformed: str = "block",
        ech: str = "outer", most: int = 16_384, entries: int = 65_536,
    ) -> None:  # fmt: skip
        answers = {"listed": listed, "unlisted": unlisted, "no_name": no_name, "other": other, "malformed": malformed}
        self.policy = NamePolicy(names, file, answers)
        self.ech = word("ech", ech, ("outer", *ANSWERS))
        self.most = whole("most", most, 512, 131_072)
        self.beginnings = Beginnings(whole("entries", entries, 1, 1 << 24), 2 * most)

    def classify(self, c: Any) -> None:
        """Answer by the name."""
        if c.layer in STREAM:
            self._classify_stream(c)
        else:
            self._classify_packet(c)

    def decided(self, stream: bytes | bytearray | memoryview) -> tuple[str | None, int]:
        """The answer to a stream that begins so, or None and how many bytes more are needed at least."""
        found, name, encrypted, needed = read_client_hello(stream, self.most)
        if found == "more":
            return None, needed
        if encrypted and self.ech != "outer":
            return self.ech, 0
        if name is not None:
            return self.policy.of_name(name), 0
        return self.policy.answers["malformed" if found == "too_long" else found], 0

    def _classify_stream(self, c: Any) -> None:
        stream = c.stream
        if not len(stream):  # The end of a direction that has said nothing.
            c.permit()
            return
        how, needed = self.decided(stream)
        if how is None and is_last(c):
            answer_stream(c, self.policy.answers["malformed"])
        elif how is None:
            c.need_more(needed)
        else:
            answer_stream(c, how)

    def _classify_packet(self, c: Any) -> None:
        packet = c.packet
        segment = tcp_segment(packet)
        if segment is None:
            c.continue_()
            return
        key, flags, sequence, start, end = segment
        known = self.beginnings.flows.get(key)
        if flags & SYN:
            if flags & ACK:  # The answering side's.
                c.continue_()
                return
            known = self.beginnings.begin(key, sequence + 1 & 0xFFFFFFFF)
            sequence += 1
        if isinstance(known, str):
            answer(c, known)
        elif start == end or (known is None and other_way(key) in self.beginnings.flows):
            c.continue_()
        else:
            answer(c, self._add(key, known, sequence, packet[start:end]))

    def _add(self, key: bytes, known: Beginning | None, sequence: int, data: memoryview) -> str:
        """The answer to a segment with data of a connection that is not decided."""
        how, _ = self.decided(data) if known is None else (None, 0)
        if how is None:
            if known is None:
                known = self.beginnings.begin(key, sequence)
            self.beginnings.add(key, known, sequence, data)
            how, _ = self.decided(known.data)
            if how is None and len(known.data) >= self.beginnings.most:
                how = self.policy.answers["malformed"]
        if how is None:
            return "continue"
        self.beginnings.decide(key, how)
        return how

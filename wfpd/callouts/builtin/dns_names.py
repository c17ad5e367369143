"""Decides DNS queries by the name that is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wfpd.callouts._packet import udp_data
from wfpd.callouts._question import read_question
from wfpd.callouts.builtin.answers import REFUSALS, STREAM, answer, is_last
from wfpd.callouts.builtin.name_policy import NamePolicy

PREFIX = 2
"""Bytes of a message's length before it, with TCP (RFC 1035 4.2.2)."""


class DnsNames:
    """Reads the questions of DNS messages and answers by a list of names.

    `names`, `file`: the list, with entries `example.org`, `.example.org` (and what is below), `*.example.org` (only
    what is below); a file has one a line.
    `listed` (reset), `unlisted` (continue): the answer to a name; with several questions a refused one decides.
    `no_name` (continue): to a query without a question.  `other` (continue): to a DNS answer.
    `malformed` (block): to what is no DNS message, or asks more than 16 questions; at stream also to one
        that breaks off.
    Answers: continue, permit, block, absorb, reset, tcp_reset, icmp_unreachable; at the layer stream a message passes
    or the connection is dropped.

    UDP is read at datagram_data, ipforward and other layers of packets; TCP at stream only.  What is not UDP at a layer
    of packets, and a fragment without the UDP header, is answered by continue; the filter's conditions say which ports.
    DNS in TLS or HTTPS is not read.
    """

    def __init__(
        self, names: str | Sequence[str] | None = None, file: str | None = None, listed: str = "reset",
        unlisted: str = "continue", no_name: str = "continue", other: str = "continue", malformed: str = "block",
    ) -> None:  # fmt: skip
        answers = {"listed": listed, "unlisted": unlisted, "none": no_name, "other": other, "malformed": malformed}
        self.policy = NamePolicy(names, file, answers)

    def decided(self, message: bytes | memoryview) -> str:
        """The answer to one message."""
        found, names = read_question(message)
        return self.policy.of_names(names) if names else self.policy.answers[found]

    def classify(self, c: Any) -> None:
        """Answer by the names."""
        if c.layer in STREAM:
            self._classify_stream(c)
            return
        packet = c.packet
        data = udp_data(packet)
        answer(c, "continue" if data is None else self.decided(packet[data[2] : data[3]]))

    def _classify_stream(self, c: Any) -> None:
        """Decide all whole messages; the rest is indicated again, with more behind it."""
        stream, done = c.stream, 0
        while True:
            end = done + PREFIX
            if end <= len(stream):
                end += stream[done] << 8 | stream[done + 1]
            if end > len(stream):
                break
            if self.decided(stream[done + PREFIX : end]) in REFUSALS:
                c.drop_connection()
                return
            done = end
        if done < len(stream) and is_last(c) and self.policy.answers["malformed"] in REFUSALS:
            c.drop_connection()
            return
        if done == 0 and len(stream) and not is_last(c):
            c.need_more(end - len(stream))
            return
        c.permit()
        if done < len(stream) and not is_last(c):
            c.enforce(done)

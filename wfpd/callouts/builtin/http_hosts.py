"""Decides HTTP/1 connections by the hosts that their requests name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wfpd.callouts.builtin.answers import REFUSALS, answer_stream, is_last
from wfpd.callouts.builtin.http_requests import Found, Requests
from wfpd.callouts.builtin.name_policy import NamePolicy
from wfpd.callouts.builtin.options import whole


class HttpHosts:
    """Reads every request of a connection and answers by a list of hosts.  At the layer stream.

    `names`, `file`: the list, with entries `example.org`, `.example.org` (and what is below), `*.example.org` (only
    what is below); a file has one a line.
    `listed` (reset), `unlisted` (continue): the answer to a host.  Where a request names two, in its target and in its
    Host field, a refused one decides.
    `no_name` (continue): to a request without a host.  `other` (continue): to what is no HTTP/1.
    `malformed` (block): to a request that RFC 9112 forbids or leaves open, or whose head has more than `most` bytes
        or breaks off.
    `most` (16384): 256 to 1048576.
    Answers: continue and permit let the request pass; block, absorb, reset, tcp_reset and icmp_unreachable drop the
    connection.

    Of each request nothing passes before its head is whole and decided.  Whoever sends first is the client.  What
    CONNECT or an upgrade leads to is not read, nor is HTTP/2.
    """

    layers = ("stream",)

    def __init__(
        self, names: str | Sequence[str] | None = None, file: str | None = None, listed: str = "reset",
        unlisted: str = "continue", no_name: str = "continue", other: str = "continue", malformed: str = "block",
        most: int = 16_384,
    ) -> None:  # fmt: skip
        answers = {"listed": listed, "unlisted": unlisted, "no_name": no_name, "other": other, "malformed": malformed}
        self.policy = NamePolicy(names, file, answers)
        self.most = whole("most", most, 256, 1 << 20)

    def decided(self, found: Found) -> str:
        """The answer to one thing found."""
        word, names = found
        return self.policy.of_names(names) if names else self.policy.answers[word]

    def classify(self, c: Any) -> None:
        """Decide the requests that are whole; the rest is indicated again, with more behind it."""
        stream = c.stream
        known = c.flow_context
        if known is None and len(stream):
            known = c.stream_direction, Requests(self.most)
            c.set_flow_context(c.layer, known)
        if known is None or known[0] != c.stream_direction:
            c.permit()
            return
        done, found = known[1].scan(bytes(stream))
        if any(self.decided(one) in REFUSALS for one in found):
            c.drop_connection()
        elif known[1].opaque:
            c.allow_connection()
        elif done == len(stream):
            c.permit()
        elif is_last(c):
            answer_stream(c, self.policy.answers["malformed"])
        elif done:
            c.permit()
            c.enforce(done)
        else:
            c.need_more(1)

    def flow_delete(self, f: Any) -> None:
        """What is known of its requests goes with the flow."""

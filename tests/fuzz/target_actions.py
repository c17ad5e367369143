"""What callouts do to packets, through the real context."""

from __future__ import annotations

from typing import Any

from scapy.utils import checksum

from tests.builders import a_filter, a_policy, callout, slot, snapshot
from wfpd.dataplane import Replayer
from wfpd.dataplane._parse import VERIFY_CHECKSUMS, parse_of
from wfpd.errors import ActionRefused
from wfpd.model.policy import Action

Attempt = tuple[int | None, bytes]
"""Bytes for an offset (c.write), or for the whole packet (c.modify)."""
SUMMED = (1, 6, 17, 58)
"""Protocols whose checksum is looked at."""
KNOWN_BY = ("family", "source_hi", "source_lo", "destination_hi", "destination_lo", "protocol", "source_port",
            "destination_port", "icmp_type", "icmp_code", "icmp_id", "fragment")  # fmt: skip


class Attempts:
    """The callout: it makes the attempts, and looks at the packet after each."""

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []
        self.done = 0
        self.failure: BaseException | None = None

    def classify(self, c: Any) -> None:
        """An assertion that fails is kept: the packet path takes every exception."""
        try:
            for offset, data in self.attempts:
                self._attempt(c, offset, data)
        except BaseException as error:
            self.failure = error
        c.permit()

    def _attempt(self, c: Any, offset: int | None, data: bytes) -> None:
        before = bytes(c.packet)
        try:
            if offset is None:
                c.modify(data)
            else:
                c.write(offset, data)
        except ActionRefused:
            assert bytes(c.packet) == before
            return
        self.done += 1
        check(before, bytes(c.packet))


def _made() -> tuple[Attempts, Replayer]:
    """A policy that asks the callout about every forwarded packet."""
    asked = Attempts()
    filters = [
        a_filter(f"f{family}", Action.CALLOUT_UNKNOWN, at=slot("ipforward", family), callout="c") for family in (4, 6)
    ]
    return asked, Replayer(snapshot(a_policy(filters, callouts=[callout("c")]), [asked.classify]))


ASKED, REPLAYER = _made()  # With the module: builds that keep accounts ask each test for what it has taken.


def check(before: bytes, after: bytes) -> None:
    """What a packet is when an attempt was taken."""
    was, now = parse_of(before), parse_of(after, -1, VERIFY_CHECKSUMS)
    assert now["status"] == 0 and now["length"] == len(after)
    assert [was[name] for name in KNOWN_BY] == [now[name] for name in KNOWN_BY]
    if now["family"] == 4:
        assert checksum(after[: (after[0] & 15) * 4]) == 0
    at, protocol = now["transport_offset"], now["protocol"]
    if now["fragment"] or protocol not in SUMMED or not at or (protocol in (1, 58) and not now["has_icmp"]):
        return  # The other family's ICMP is nobody's.
    body = after[at:]
    ends = after[12:20] if now["family"] == 4 else after[8:40]
    pseudo = ends + len(body).to_bytes(4, "big") + protocol.to_bytes(4, "big")
    assert checksum((b"" if protocol == 1 else pseudo) + body) == 0
    assert protocol != 17 or body[6:8] != b"\0\0"


def attempt(packet: bytes, attempts: list[Attempt]) -> int:
    """Put a packet before the callout; how many attempts were taken."""
    ASKED.attempts, ASKED.done, ASKED.failure = attempts, 0, None
    found = REPLAYER.visit(packet, "forward", 1)
    if ASKED.failure is not None:
        raise ASKED.failure
    assert (found["modified"] is not None) is (ASKED.done > 0)
    return ASKED.done


def actions_any(data: bytes) -> None:
    """Any packet and any writes: refused and untouched, or of the same flow with lengths and checksums all right."""
    attempts: list[Attempt] = []
    for _ in range(data[0] & 3 if data else 0):
        kind, length = data[1] if len(data) > 1 else 0, data[4] if len(data) > 4 else 0
        offset = int.from_bytes(data[2:4], "big")
        attempts.append((None if kind & 3 == 3 else offset if kind & 3 == 2 else offset & 127, data[5 : 5 + length]))
        data = data[4 + length :]
    packet = data[1:]
    changed = [(offset, data or packet[::-1]) for offset, data in attempts]
    attempt(packet, changed)


TARGETS = {"actions": actions_any}

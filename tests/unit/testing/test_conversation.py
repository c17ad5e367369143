"""Two ends of a TCP conversation: what they send, send again, receive, and when they stop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from wfpd.dataplane import parse_of
from wfpd.dataplane._parse import VERIFY_CHECKSUMS
from wfpd.testing.conversation import Conversation, tcp_data
from wfpd.testing.results import PacketResult

ENDS = {4: ("198.51.100.9", "192.0.2.1"), 6: ("2001:db8:1::9", "2001:db8::1")}
Judge = Callable[[dict[str, Any], bytes], str]


class Path:
    """Between the ends: permits, drops ("held", "blocked") or resets ("reset") as it is told, and keeps what it saw."""

    def __init__(self, judge: Judge = lambda view, data: "permit") -> None:
        self.judge = judge
        self.seen: list[dict[str, Any]] = []
        self.change = bytes

    def __call__(self, packet: bytes) -> PacketResult:
        view = parse_of(packet, -1, VERIFY_CHECKSUMS)
        assert view["status"] == 0
        self.seen.append(view)
        said = self.judge(view, tcp_data(packet))
        verdict = "permit" if said == "permit" else "block"
        reply = "tcp_reset" if said == "reset" else None
        line = {"packet": len(self.seen), "verdict": verdict, "reason": said, "layer": None, "sublayer": None,
                "filter": None, "layers": []}  # fmt: skip
        left = self.change(packet) if verdict == "permit" else None
        return PacketResult(len(self.seen), verdict, said, reply, None, "f" if said == "blocked" else None, packet,
                            left, (), (), line)  # fmt: skip


def talk(path: Path, family: int = 4) -> Conversation:
    client, server = ENDS[family]
    return Conversation(path, (client, 40000), (server, 80))


@pytest.mark.parametrize("family", [4, 6])
def test_all_arrives_and_every_number_is_right(family: int) -> None:
    path = Path()
    found = talk(path, family)
    assert found.open()
    found.client(b"GET ")
    found.client(b"/")
    found.server(b"ok")
    found.close()
    assert (found.server_received, found.client_received, found.verdict) == (b"GET /", b"ok", "permit")
    numbers = [(view["tcp_sequence"], view["tcp_acknowledgment"]) for view in path.seen]
    assert numbers == [(1000, 0), (9000, 1001), (1001, 9001), (1001, 9001), (1005, 9001), (9001, 1006),
                       (1006, 9003), (9003, 1006)]  # fmt: skip


def test_what_is_dropped_is_sent_again_when_more_is_known() -> None:
    """The first segment passes once the second was seen, and the second after it."""
    known: set[bytes] = set()

    def judge(view: dict[str, Any], data: bytes) -> str:
        known.add(data)
        return "held" if data and (b"b" not in known or (data == b"b" and len(found.server_received) < 1)) else "permit"

    path = Path(judge)
    found = talk(path)
    found.open()
    found.client(b"a")
    assert (found.verdict, found.server_received) == ("held", b"")
    found.client(b"b")
    assert (found.verdict, found.server_received) == ("permit", b"ab")
    assert "held" in found.explain


def test_a_reset_ends_it_for_both() -> None:
    path = Path(lambda view, data: "reset" if data == b"bad" else "permit")
    found = talk(path)
    found.open()
    found.client(b"good")
    found.client(b"bad")
    assert (found.reset, found.verdict, found.server_received) == (True, "block", b"good")
    with pytest.raises(ConnectionResetError, match="reset"):
        found.server(b"x")
    n = len(path.seen)
    found.close()
    assert len(path.seen) == n


def test_a_refused_handshake_is_a_block_without_a_conversation() -> None:
    found = talk(Path(lambda view, data: "blocked"))
    assert not found.open() and found.over and found.verdict == "block"
    with pytest.raises(ConnectionResetError, match="refused"):
        found.client(b"x")


def test_data_that_a_filter_drops_in_silence_are_blocked() -> None:
    found = talk(Path(lambda view, data: "blocked" if data else "permit"))
    found.open()
    found.client(b"x")
    assert (found.verdict, found.reset, found.server_received) == ("block", False, b"")


def test_segments_come_in_any_order_and_overlap() -> None:
    found = talk(Path())
    found.open()
    found.client(b"cde", at=2)
    assert found.server_received == b""
    found.client(b"abc", at=0)
    assert found.server_received == b"abcde"
    found.client(b"f")
    assert found.server_received == b"abcdef"


def test_an_end_receives_what_left_the_path() -> None:
    path = Path()
    path.change = lambda packet: packet.replace(b"secret", b"xxxxxx")
    found = talk(path)
    found.open()
    found.client(b"my secret")
    assert found.server_received == b"my xxxxxx"

"""What a test is told: lines for a person, counts of a capture."""

from __future__ import annotations

from typing import Any

from wfpd.testing.results import Call, CaptureResult, PacketResult


def a_result(verdict: str = "permit", reply: str | None = None, calls: tuple[Call, ...] = ()) -> PacketResult:
    line: dict[str, Any] = {"packet": 7, "verdict": verdict, "reason": "callout", "layer": "stream_v4",
                            "sublayer": "universal", "filter": "ask", "layers": []}  # fmt: skip
    return PacketResult(7, verdict, "callout", reply, "stream_v4", "ask", b"", None, calls, (), line)


def test_a_line_has_the_verdict_who_decided_the_reply_and_who_was_asked() -> None:
    text = str(a_result("block", "tcp_reset", (Call("c", "stream_v4"),)))
    assert text.split() == "7 block callout stream_v4 universal ask, reply tcp_reset (asked at stream_v4)".split()
    assert a_result().explain == f"{a_result()}\n"


def test_a_capture_is_counted_by_verdict_with_the_places_of_blocks_and_calls() -> None:
    call = Call("c", "stream_v4")
    found = CaptureResult((a_result(), a_result("block", calls=(call, call)), a_result("block", calls=(call,))))
    assert found.counts == {"permit": 1, "block": 2}
    assert (found.blocked, found.calls) == ([2, 3], 3)
    assert found.explain.count("\n") == 3

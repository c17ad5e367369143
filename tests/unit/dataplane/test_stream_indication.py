"""What a callout reads and answers at the layer `stream`."""

from __future__ import annotations

from typing import Any

import pytest

from tests.streams import HELD, PASSED, RESET, Conversation, Recorder, a_snapshot
from wfpd.dataplane._streams import Streams
from wfpd.model.policy import Action


def test_need_more_is_called_again_with_old_and_new_bytes_when_there_are_enough():
    seen = Recorder(lambda c: c.need_more(4) if len(c.stream) < 5 else c.permit())
    talk = Conversation(a_snapshot(seen))
    talk.open()
    assert talk.send(0, b"a") == HELD
    assert talk.send(1, b"bc") == HELD
    assert talk.send(3, b"de") == PASSED
    assert talk.send(0, b"abc") == PASSED
    assert [data for _, _, data, _ in seen.seen] == [b"a", b"abcde"]


def test_at_the_end_need_more_is_refused_and_a_decision_is_due():
    seen = Recorder(lambda c: c.need_more())
    talk = Conversation(a_snapshot(seen))
    talk.open()
    assert talk.send(0, b"abc") == HELD
    found = talk.visit(talk.packet(3, b"", "FA", ack=0))
    assert (found["verdict"], found["reply"], found["reason"]) == ("block", "tcp_reset", "error")
    assert "NO_MORE_DATA" in seen.seen[-1][3] and seen.seen[-1][2] == b"abc"


def test_the_buffer_has_a_limit_at_which_a_decision_is_due():
    seen = Recorder(lambda c: c.permit() if "BUFFER_LIMIT_REACHED" in c.stream_flags else c.need_more())
    talk = Conversation(a_snapshot(seen), streams=Streams(64, pending=3000))
    talk.open()
    assert talk.send(0, b"x" * 1400) == HELD
    assert talk.send(1400, b"x" * 1400) == HELD
    assert talk.send(2800, b"x" * 1400) == PASSED
    assert len(seen.seen[-1][2]) == 4200


def test_enforce_decides_the_leading_bytes_and_the_rest_is_indicated_at_once():
    def by_three(c: Any) -> None:
        c.permit()
        c.enforce(min(3, len(c.stream)))

    seen = Recorder(by_three)
    talk = Conversation(a_snapshot(seen))
    talk.open()
    assert talk.send(0, b"abcdefgh") == PASSED
    assert [(offset, data) for _, offset, data, _ in seen.seen] == [(0, b"abcdefgh"), (3, b"defgh"), (6, b"gh")]


@pytest.mark.parametrize(
    ("kind", "verdict"),
    [(Action.CALLOUT_UNKNOWN, RESET), (Action.CALLOUT_INSPECTION, PASSED)],
)
def test_drop_connection_is_honoured_for_the_kind_unknown(kind, verdict):
    talk = Conversation(a_snapshot((lambda c: c.drop_connection(), kind)))
    talk.open()
    assert talk.send(0, b"abc") == verdict


def test_allow_connection_ends_the_calls_in_both_directions():
    seen = Recorder(lambda c: c.allow_connection())
    talk = Conversation(a_snapshot(seen))
    talk.open()
    for at in range(3):
        assert talk.send(at, b"a") == PASSED
        assert talk.send(at, b"b", server=True) == PASSED
    assert len(seen.seen) == 1


def test_defer_lets_nothing_pass_until_it_is_resumed():
    handles: list[Any] = []

    def once(c: Any) -> None:
        if handles:
            c.permit()
        else:
            handles.append(c.defer())

    talk = Conversation(a_snapshot(once))
    talk.open()
    assert talk.send(0, b"abc") == HELD
    assert talk.send(0, b"abc") == HELD
    assert talk.send(0, b"reply", server=True) == PASSED
    assert handles[0].resume() and not handles[0].resume()
    assert talk.send(0, b"abc") == PASSED


def test_what_is_resumed_before_the_answer_is_asked_again_at_once() -> None:
    told: list[bool] = []

    def at_once(c: Any) -> None:
        if told:
            c.permit()
        else:
            told.append(c.defer().resume())

    talk = Conversation(a_snapshot(at_once))
    talk.open()
    assert talk.send(0, b"abc") == HELD
    assert talk.send(0, b"abc") == PASSED and told == [True]


def test_what_cannot_be_honoured_is_refused_with_the_reason():
    told: list[str] = []

    def tries(c: Any) -> None:
        for attempt in (c.defer, c.pend, lambda: c.enforce(99), lambda: c.enforce(-1), lambda: c.enforce(1 << 40),
                        lambda: c.need_more(0), lambda: c.need_more(-1), lambda: c.need_more(1 << 32)):  # fmt: skip
            try:
                attempt()
            except (RuntimeError, ValueError) as error:
                told.append(str(error))
        c.permit()

    talk = Conversation(a_snapshot(tries, mode="pass"))
    talk.open()
    assert talk.send(0, b"abc", server=True) == PASSED
    assert talk.send(0, b"abc") == PASSED
    assert [text.split(":")[0] for text in told] == [
        "defer()",
        "pend()",
        *["enforce(n)"] * 3,
        *["need_more(n)"] * 3,
    ] * 2
    assert "received" in told[0] and "passes" in told[8]


def test_bytes_kept_by_a_callout_stay_as_they_were():
    kept: list[memoryview] = []

    def keeps(c: Any) -> None:
        kept.append(c.stream[1:])
        c.permit()

    talk = Conversation(a_snapshot(keeps))
    talk.open()
    for at in range(0, 3000, 10):
        assert talk.send(at, b"%010d" % at) == PASSED
    assert [bytes(view) for view in kept] == [b"%09d" % at for at in range(0, 3000, 10)]
    before = talk.counters()["memory"]
    kept.clear()
    assert talk.counters()["memory"] == before - 300 * 4096

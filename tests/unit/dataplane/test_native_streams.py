"""A compiled callout at the layer stream: what it is shown, and what its answers become."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from tests.builders import a_filter, a_policy, callout, slot, snapshot
from tests.streams import Conversation
from tests.unit.dataplane.native import PACKETS, tables, talk, visit
from wfpd.callouts._told import Told
from wfpd.model.policy import Action, Word

NO_MORE, DISCONNECT = 8, 2


def test_it_is_shown_a_streams_bytes_in_order_and_its_end() -> None:
    told = Told(kind=1)
    conversation = talk(told)
    conversation.open()
    conversation.send(0, b"hello")
    assert {name: told.call()[name] for name in ("stream", "stream_offset", "stream_direction", "stream_flags")} == {
        "stream": b"hello", "stream_offset": 0, "stream_direction": 0, "stream_flags": 0,
    }  # fmt: skip
    conversation.send(5, b" there")
    assert (told.call()["stream"], told.call()["stream_offset"]) == (b" there", 5)
    conversation.send(11, b"", "FA")
    assert (told.call()["stream"], told.call()["stream_flags"]) == (b"", NO_MORE | DISCONNECT)


def test_it_asks_for_more_and_decides_then(tmp_path: Path) -> None:
    told = Told(kind=4, required=4)
    conversation = talk(told)
    conversation.open()
    assert conversation.send(0, b"abc")[0] == "block"
    conversation.send(3, b"d")
    assert told.calls == 1
    told.say(kind=1)
    conversation.send(4, b"efg")
    assert (told.calls, told.call()["stream"]) == (2, b"abcdefg")
    assert conversation.send(0, b"abc")[0] == "permit"


def test_it_decides_leading_bytes_and_is_shown_the_rest(tmp_path: Path) -> None:
    told = Told(kind=1, enforced=1)
    conversation = talk(told)
    conversation.open()
    assert conversation.send(0, b"abc")[0] == "permit"
    assert (told.calls, told.call()["stream"]) == (3, b"c")


def test_it_drops_and_allows_connections(tmp_path: Path) -> None:
    told = Told(kind=6)
    conversation = talk(told)
    conversation.open()
    conversation.send(0, b"abc")
    assert conversation.send(3, b"def")[0] == "permit" and told.calls == 1
    told = Told(kind=5)
    conversation = talk(told)
    conversation.open()
    assert conversation.send(0, b"abc") == ("block", "tcp_reset")
    assert conversation.send(3, b"def")[0] == "block" and told.calls == 1


@pytest.mark.parametrize(
    "answer",
    [
        {"kind": 1, "enforced": 4},
        {"kind": 10},
        {"kind": 7, "reply": 1},
        {"kind": 4, "reply": 1},
        {"kind": 6, "absorb": 1},
        {"kind": 5, "enforced": 1},
    ],
)
def test_a_stream_answer_that_cannot_be_given_is_decided_by_on_error(answer: dict[str, int]) -> None:
    told = Told(**answer)
    conversation = talk(told)
    conversation.open()
    found = conversation.visit(conversation.packet(0, b"abc", "PA", ack=0))
    assert (found["verdict"], found["reason"], told.calls) == ("block", "error", 1)


def test_asking_for_more_at_the_end_is_decided_by_on_error() -> None:
    told = Told(kind=4)
    conversation = talk(told)
    conversation.open()
    conversation.send(0, b"abc")
    found = conversation.visit(conversation.packet(3, b"", "FA", ack=0))
    assert (found["reason"], told.call()["stream_flags"]) == ("error", NO_MORE)


DEFER = 7


def test_it_defers_what_it_receives_until_a_thread_resumes_it() -> None:
    told = Told(kind=DEFER)
    conversation = talk(told)
    conversation.open()
    assert conversation.send(0, b"abc") == ("block", None)
    assert conversation.send(0, b"abc") == ("block", None) and told.calls == 1
    told.say(kind=1)
    assert conversation.send(0, b"reply", server=True)[0] == "permit" and told.calls == 2
    assert told.resume() and not told.resume()
    assert conversation.send(0, b"abc")[0] == "permit"
    assert (told.calls, told.call()["stream"]) == (3, b"abc")


def test_it_may_be_resumed_before_it_has_answered_and_is_asked_again() -> None:
    told = Told(kind=DEFER, steps=[("resume", 0, 0)])
    conversation = talk(told)
    conversation.open()
    assert conversation.send(0, b"abc") == ("block", None)
    assert told.statuses == [1] and not told.resume()
    told.say(kind=1)
    assert conversation.send(0, b"abc")[0] == "permit" and told.calls == 2


def test_what_is_resumed_when_all_is_gone_is_in_vain() -> None:
    told = Told(kind=DEFER)
    conversation = talk(told)
    conversation.open()
    conversation.send(0, b"abc")
    other = Told(kind=DEFER)
    second = talk(other)
    second.open()
    second.send(0, b"abc")
    del conversation
    gc.collect()
    assert not told.resume() and other.resume()


@pytest.mark.parametrize("on_error", [Word.BLOCK, Word.PERMIT])
def test_defer_is_refused_where_python_refuses_it(on_error: Word) -> None:
    for refused in ("sent", "at the end", "passes", "inspects"):
        told = Told(kind=DEFER)

        class Owner:
            native = told.native
            stream_mode = "pass" if refused == "passes" else "hold"

        kind = Action.CALLOUT_INSPECTION if refused == "inspects" else Action.CALLOUT_UNKNOWN
        policy = a_policy([a_filter("f", kind, at=slot("stream"), callout="c")], callouts=[callout("c")])
        made = snapshot(policy, [Owner()], on_error=on_error)
        conversation = Conversation(made)
        conversation.open()
        server = refused == "sent"
        flags = "FPA" if refused == "at the end" else "PA"
        found = conversation.visit(conversation.packet(0, b"abc", flags, server=server, ack=0), server=server)
        blocks = on_error is Word.BLOCK and refused != "inspects"
        assert (found["verdict"] == "block") == blocks, refused
        assert made.root.watches()["c"]["failed"] == told.calls > 0, refused


@pytest.mark.parametrize("kind", [4, 5, 6, 7])
def test_a_stream_answer_elsewhere_is_decided_by_on_error(tmp_path: Path, kind: int) -> None:
    result = visit(tables(tmp_path, "ipforward", Told(kind=kind)), PACKETS["UDP"], "forward")
    assert (result["verdict"], result["reason"]) == ("block", "error")

import contextlib
import json

import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from tests.unit.client.fake import line_of
from wfpd.client._core import MAX_KEPT, Answer, Core, Inbox, Notification, given
from wfpd.client.errors import Refused
from wfpd.control.protocol import MAX_LINE
from wfpd.errors import ControlError, UsageError


def test_calls_have_their_own_numbers_and_one_line_each() -> None:
    core = Core()
    (one, line), (two, _) = core.request("a", {"x": "\n"}), core.request("b", {})
    assert one != two and line.count(b"\n") == 1
    assert json.loads(line) == {"jsonrpc": "2.0", "id": one, "method": "a", "params": {"x": "\n"}}


@pytest.mark.parametrize("value", [object(), "x" * MAX_LINE, {1, 2}])
def test_what_cannot_be_sent_is_said_before_it_is(value: object) -> None:
    with pytest.raises(UsageError, match="filters"):
        Core().request("filters.add", {"filter": value})


@drawn(st.lists(st.integers(1, 7), min_size=1))
def test_answers_come_whole_however_their_bytes_come(sizes: list[int]) -> None:
    stream = line_of({"id": 1, "result": [1]}) + line_of({"method": "event", "params": {"a": 1}}) + line_of(
        {"id": 2, "error": {"code": -32010, "message": "no"}}
    )  # fmt: skip
    core, found, at = Core(), [], 0
    for size in sizes * len(stream):
        found += core.feed(stream[at : at + size])
        at += size
    assert found == [Answer(1, [1]), Notification("event", {"a": 1}), Answer(2, None, (-32010, "no", None))]
    assert isinstance(found[2].failure("x"), Refused) and found[0].failure("x") is None


GARBAGE = [b"HTTP/1.1 400 Bad Request", b"[]", b"1", b"{}", b'{"jsonrpc":"2.0"}', b'{"jsonrpc":"2.0","id":1}', b"\xff",
           b'{"jsonrpc":"2.0","id":1,"result":1,"error":{}}', b'{"jsonrpc":"2.0","id":"x","result":1}', b"[" * 100_000,
           b'{"jsonrpc":"2.0","id":true,"result":1}', b'{"jsonrpc":"2.0","id":1,"error":3}', b"",
           b'{"jsonrpc":"2.0","method":3}', b'{"jsonrpc":"2.0","method":"a","params":[]}',
           b'{"jsonrpc":"2.0","id":1,"error":{"code":"x"}}']  # fmt: skip


@pytest.mark.parametrize("line", GARBAGE)
def test_what_wfpd_would_not_say_is_a_control_error(line: bytes) -> None:
    with pytest.raises(ControlError, match="is not wfpd"):
        Core().feed(line + b"\n")


@drawn(st.binary())
def test_any_bytes_are_messages_or_a_control_error(data: bytes) -> None:
    with contextlib.suppress(ControlError):
        assert all(isinstance(one, Answer | Notification) for one in Core().feed(data))


def test_an_answer_over_the_limit_is_refused_before_all_of_it_came() -> None:
    core = Core(max_answer=1000)
    assert core.feed(line_of({"id": 1, "result": "x" * 900})) != []
    for end in (b"", b'"}\n'):
        core = Core(max_answer=1000)
        with pytest.raises(ControlError, match="longer than 1000"):
            core.feed(b'{"jsonrpc":"2.0","id":1,"result":"' + b"x" * 1000 + end)


def test_notifications_go_to_who_asked_and_those_before_the_answer_are_kept_for_it() -> None:
    inbox = Inbox()
    inbox.put(Notification("change", {"subscription": 1, "n": 0}))  # Nobody has asked.
    inbox.begin()
    for subscription in (1, 2):
        inbox.put(Notification("change", {"subscription": subscription, "n": 1}))
    kept = inbox.end(("change", 1))
    inbox.put(Notification("change", {"subscription": 1, "n": 2}))
    inbox.put(Notification("event", {"n": 3}))
    assert [one["n"] for one in kept.waiting] == [1, 2]
    inbox.close(("change", 1))
    inbox.put(Notification("change", {"subscription": 1, "n": 4}))
    assert len(kept.waiting) == 2
    inbox.begin()
    assert not inbox.end(None).waiting


def test_what_nobody_takes_is_bounded_and_counted() -> None:
    inbox = Inbox()
    inbox.begin()
    for n in range(1000):
        inbox.put(Notification("change", {"subscription": n}))
    assert len(inbox._early) == 64
    kept = inbox.end(("event", None))
    for n in range(MAX_KEPT + 3):
        inbox.put(Notification("event", {"n": n}))
    assert (len(kept.waiting), kept.lost, kept.waiting[0]["n"]) == (MAX_KEPT, 3, 3)


def test_left_out_parameters_are_not_sent() -> None:
    assert given(a=None, b=0, for_=3) == {"b": 0, "for": 3}

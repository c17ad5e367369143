"""Whose turn it is to write."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from wfpd.bfe.turn import MOST_WAITING, Turn
from wfpd.errors import FwpError


def started(target: Callable[..., object], *arguments: object) -> threading.Thread:
    thread = threading.Thread(target=target, args=arguments, daemon=True)
    thread.start()
    return thread


def test_a_second_writer_waits_until_the_first_gives_its_turn() -> None:
    turn, order = Turn(), []
    turn.take("a", 1)

    def second() -> None:
        turn.take("b", 10)
        order.append("b")

    thread = started(second)
    order.append("a")
    turn.give("b")  # It has none.
    assert turn.holder == "a"
    turn.give("a")
    thread.join(10)
    assert order == ["a", "b"]
    assert turn.holder == "b"


def test_those_who_wait_come_in_the_order_in_which_they_asked() -> None:
    turn, order = Turn(), []
    turn.take("first", 1)
    threads = []

    def take(number: int) -> None:
        turn.take(number, 10)
        order.append(number)
        turn.give(number)

    for number in range(8):
        threads.append(started(take, number))
        while len(turn._waiting) <= number:
            pass
    turn.give("first")
    for thread in threads:
        thread.join(10)
    assert order == list(range(8))


def test_a_wait_that_is_over_names_who_has_the_turn() -> None:
    turn = Turn()
    turn.take("session x", 1)
    with pytest.raises(FwpError) as caught:
        turn.take("b", 0.01)
    assert caught.value.code == "FWP_E_TIMEOUT"
    assert "session x" in caught.value.hint
    assert turn.holder == "session x"
    turn.give("session x")
    turn.take("b", 0)


def test_a_session_that_ends_while_it_waits_waits_no_longer() -> None:
    turn, over, said = Turn(), threading.Event(), []
    turn.take("a", 1)

    def wait() -> None:
        try:
            turn.take("b", 60, over.is_set)
        except FwpError as error:
            said.append(error.code)

    thread = started(wait)
    over.set()
    turn.wake()
    thread.join(10)
    assert said == ["FWP_E_SESSION_ABORTED"]


def test_more_than_a_bounded_number_do_not_wait() -> None:
    turn = Turn()
    turn.take("holder", 1)

    def wait(number: int) -> None:
        turn.take(number, 10)
        turn.give(number)

    threads = [started(wait, number) for number in range(MOST_WAITING)]
    while len(turn._waiting) < MOST_WAITING:
        pass
    with pytest.raises(FwpError, match="sessions wait"):
        turn.take("one more", 60)
    turn.give("holder")
    for thread in threads:
        thread.join(10)
    assert turn.holder is None

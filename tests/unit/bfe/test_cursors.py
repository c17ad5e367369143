"""Enumerations that are read in pages."""

from __future__ import annotations

from typing import Any

import pytest

from wfpd.bfe.cursors import IDLE_SECONDS, MOST, Cursors
from wfpd.errors import FwpError


def show(place: int) -> dict[str, Any]:
    return {"place": place}


def test_pages_together_are_everything_in_order() -> None:
    cursors, session = Cursors(), object()
    page = cursors.first(session, range(10), show, 4)
    found = [one["place"] for one in page.objects]
    while page.cursor is not None:
        assert page.total == 10
        page = cursors.next(session, page.cursor, 4)
        found += [one["place"] for one in page.objects]
    assert found == list(range(10))


def test_a_page_is_shown_when_it_is_read() -> None:
    shown: list[int] = []
    cursors, session = Cursors(), object()

    def note(place: int) -> dict[str, Any]:
        shown.append(place)
        return {}

    page = cursors.first(session, range(6), note, 2)
    assert shown == [0, 1]
    assert page.cursor is not None
    cursors.next(session, page.cursor, 2)
    assert shown == [0, 1, 2, 3]


def test_a_cursor_is_its_sessions_and_ends_with_its_last_page_or_when_it_is_closed() -> None:
    cursors, session, other = Cursors(), object(), object()
    name = cursors.first(session, range(4), show, 2).cursor
    assert name is not None
    with pytest.raises(FwpError, match="NOT_FOUND"):
        cursors.next(other, name)
    assert not cursors.close(other, name)
    assert cursors.next(session, name, 2).cursor is None
    with pytest.raises(FwpError, match="NOT_FOUND"):
        cursors.next(session, name)
    second = cursors.first(session, range(4), show, 2).cursor
    assert cursors.close(session, second)
    assert not cursors.close(session)


def test_the_cursor_used_longest_ago_makes_room() -> None:
    cursors, session = Cursors(), object()
    names = [cursors.first(session, range(4), show, 1).cursor for _ in range(MOST)]
    assert names[0] is not None
    cursors.next(session, names[0], 1)
    cursors.first(session, range(4), show, 1)
    cursors.next(session, names[0], 1)
    with pytest.raises(FwpError, match="NOT_FOUND"):
        cursors.next(session, str(names[1]), 1)


def test_a_cursor_that_nobody_uses_goes() -> None:
    now = [0.0]
    cursors, session = Cursors(lambda: now[0]), object()
    name = cursors.first(session, range(4), show, 1).cursor
    now[0] += IDLE_SECONDS + 1
    cursors.forget_idle()
    assert not cursors.close(session, name)

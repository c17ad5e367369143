"""Who is told of objects that come and go."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import pytest

from wfpd.bfe.objects import Change, Event, Kind
from wfpd.bfe.subscriptions import MOST, Subscriptions


def change(event: Event = Event.ADD, kind: Kind = Kind.FILTER, name: str = "a", provider: str = "p") -> Change:
    return Change(event, kind, uuid.UUID(int=7), 7, name, provider)


class Inbox:
    """Takes a bounded number of notifications."""

    def __init__(self, room: int = 1000) -> None:
        self.room = room
        self.taken: list[Mapping[str, Any]] = []

    def __call__(self, notice: Mapping[str, Any]) -> bool:
        if not self.room:
            return False
        self.room -= 1
        self.taken.append(notice)
        return True


def test_a_subscriber_is_told_what_it_asked_for_and_never_of_its_own_changes() -> None:
    all_of_them, inbox, mine = Subscriptions(), Inbox(), object()
    number = all_of_them.add(mine, inbox, [Kind.FILTER], [Event.ADD], "p", None)
    all_of_them.tell([change()], mine, 5)
    all_of_them.tell([change(Event.DELETE), change(kind=Kind.CALLOUT), change(provider="q")], object(), 5)
    assert not inbox.taken
    all_of_them.tell([change(name="b")], object(), 6)
    assert inbox.taken == [
        {"subscription": number, "change": "add", "type": "filters", "key": str(uuid.UUID(int=7)), "id": 7, "name": "b",
         "provider": "p", "generation": 6}
    ]  # fmt: skip


def test_what_finds_no_room_is_counted_and_said_once_there_is_room() -> None:
    all_of_them, inbox = Subscriptions(), Inbox(room=1)
    number = all_of_them.add(object(), inbox, Kind, Event, None, None)
    all_of_them.tell([change(name=str(n)) for n in range(4)], None, 1)
    all_of_them.settle()
    assert len(inbox.taken) == 1
    inbox.room = 2
    all_of_them.tell([change(name="later")], None, 2)
    assert inbox.taken[1] == {"subscription": number, "error": "FWP_E_NOTIFICATION_DROPPED", "dropped": 3}
    assert inbox.taken[2]["name"] == "later"


def test_settle_says_what_was_dropped_without_a_further_change() -> None:
    all_of_them, inbox = Subscriptions(), Inbox(room=0)
    all_of_them.add(object(), inbox, Kind, Event, None, None)
    all_of_them.tell([change()], None, 1)
    inbox.room = 5
    all_of_them.settle()
    all_of_them.settle()
    assert [notice.get("dropped") for notice in inbox.taken] == [1]


def test_a_subscription_ends_alone_or_with_its_session_and_their_number_is_bounded() -> None:
    all_of_them, mine = Subscriptions(), object()
    numbers = [all_of_them.add(mine, Inbox(), [Kind.CALLOUT], Event, None, None) for _ in range(MOST)]
    with pytest.raises(OverflowError):
        all_of_them.add(mine, Inbox(), Kind, Event, None, None)
    assert not all_of_them.interested_in(Kind.FILTER)
    assert all_of_them.interested_in(Kind.CALLOUT)
    assert not all_of_them.remove(object(), numbers[0])
    assert all_of_them.remove(mine, numbers[0])
    assert not all_of_them.remove(mine, numbers[0])
    assert all_of_them.remove(mine)
    assert not all_of_them.interested_in(Kind.CALLOUT)

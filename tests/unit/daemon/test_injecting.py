"""A helper is there while, and only while, what runs has a callout that injects."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from wfpd.daemon.injecting import Injecting
from wfpd.errors import ActionRefused
from wfpd.netfilter.marks import Marks


class Sender:
    """Says what it is told."""

    deaths = 2

    def __init__(self) -> None:
        self.said: list[str] = []
        self.sent: list[Any] = []

    def start(self, wait: float) -> None:
        self.said.append("start")

    def stop(self) -> None:
        self.said.append("stop")

    def send(self, order: Any) -> None:
        self.sent.append(order)

    def count(self, result: str) -> None:
        self.said.append(result)

    def counts(self) -> dict[str, int]:
        return {"sent": len(self.sent)}


class Engine:
    injections: Any = None

    def set_injections(self, injections: Any) -> None:
        self.injections = injections


def running(*callouts: object) -> Any:
    return SimpleNamespace(callouts=callouts)


PACKET = bytes([0x45, 0, 0, 20]) + bytes(16)


def test_it_starts_for_a_callout_that_injects_and_stops_when_its_rules_are_gone() -> None:
    sender, engine = Sender(), Engine()
    one = Injecting(engine, Marks(0xFFF), sender)  # type: ignore[arg-type]
    one.follow(running(None, lambda c: None))
    assert (one.wanted, sender.said, engine.injections) == (False, [], None)
    one.follow(running(None, SimpleNamespace(injects=True)))
    assert (one.wanted, sender.said) == (True, ["start"])
    one.armed(True)
    one.follow(running())
    assert not one.wanted and sender.said == ["start"]  # Batches may still have the policy before.
    one.armed(False)
    assert sender.said == ["start", "stop"]
    assert one.counts() == ({"sent": 0}, 2)


def test_nothing_is_sent_before_the_rules_know_the_marks() -> None:
    class Callout:
        injects = True

    sender, engine, callout = Sender(), Engine(), Callout()
    one = Injecting(engine, Marks(0xFFF), sender)  # type: ignore[arg-type]
    one.follow(running(callout))
    with pytest.raises(ActionRefused):
        engine.injections.inject(callout, PACKET, "outbound")
    one.armed(True)
    assert engine.injections.inject(callout, PACKET, "outbound")
    assert [order.mark for order in sender.sent] == [1]

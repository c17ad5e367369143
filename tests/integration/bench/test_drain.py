"""Contenders, and filling and draining their queues; never a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wfpd.bench.drain import Consumer, Drain, Drained, consumers, empty_callback, engine, library, median, ratio, rounds
from wfpd.bench.network import Ring
from wfpd.bench.traffic import SIZE, made_up
from wfpd.config import load_policy
from wfpd.errors import KernelError
from wfpd.replay import make_snapshot


@pytest.fixture
def drain() -> Iterator[Drain]:
    with Ring("forward") as ring, ring.sender() as sender:
        yield Drain(ring, sender, made_up(300, 20))


def test_the_packet_loop_decides_all_that_was_queued_turn_after_turn(drain: Drain, tmp_path: Path) -> None:
    policy = tmp_path / "p.yaml"
    policy.write_text(
        f"version: 1\nfilters:\n  - {{name: all, layer: ipforward, action: block, when: {{ip_length: {SIZE}}}}}\n"
    )
    work = engine(make_snapshot(load_policy(policy)), 0, "forward")
    with consumers(drain.ring, {"wfpd": (work, None)}) as found:
        for _ in range(2):
            done = drain.turn(0, found["wfpd"].pid)
            assert done.packets == 300 and done.nanoseconds > 0
        assert found["wfpd"].counters() == {"permit": 0, "block": 600}
    assert drain.ring.waiting(0) == 0


def test_the_library_is_called_for_every_packet_also_a_few_at_a_time(drain: Drain, tmp_path: Path) -> None:
    seen = tmp_path / "seen"

    def note(packet: Any) -> None:
        with seen.open("ab") as file:
            file.write(b".")
        packet.accept()

    with consumers(drain.ring, {"library": (library, note)}) as found:
        assert drain.turn(0, found["library"].pid, n=200, at_once=64).packets == 200
    assert seen.stat().st_size == 200


def test_a_queue_that_is_taken_is_said_so(drain: Drain) -> None:
    with consumers(drain.ring, {"first": (library, None)}), pytest.raises(KernelError, match="queue 0 is not served"):
        Consumer(drain.ring, 0, library)


def test_a_closed_consumer_is_gone(drain: Drain) -> None:
    consumer = Consumer(drain.ring, 0, library, callback=empty_callback)
    consumer.close()
    assert not os.path.exists(f"/proc/{consumer.pid}")


def test_contenders_take_turns_in_beginning_and_ratios_are_of_one_round() -> None:
    order = []

    def contender(name: str, *costs: int) -> Any:
        left = iter(costs)

        def turn() -> Drained:
            order.append(name)
            return Drained(next(left), 10)

        return turn

    found = rounds({"a": contender("a", 7, 100, 200, 900), "b": contender("b", 7, 50, 100, 90)}, 3)
    assert order == ["a", "b", "b", "a", "a", "b", "b", "a"]
    assert [list(each) for each in found] == [["a", "b"]] * 3
    assert median(found, "a") == 20.0
    assert ratio(found, "a", "b") == 2.0

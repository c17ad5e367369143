"""Filling and draining; never a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from wfpd.bench.drain import Drain, Drained, empty_callback, median, ratio, rounds
from wfpd.bench.network import Ring
from wfpd.bench.traffic import SIZE, made_up
from wfpd.config import load_policy
from wfpd.errors import KernelError
from wfpd.replay import make_snapshot


@pytest.fixture
def drain() -> Iterator[Drain]:
    with Ring("forward") as ring, ring.sender() as sender:
        yield Drain(ring, sender, made_up(300, 20))


def test_the_packet_loop_decides_all_that_was_queued(drain: Drain, tmp_path) -> None:
    policy = tmp_path / "p.yaml"
    policy.write_text("version: 1\nfilters:\n"
                      f"  - {{name: all, layer: ipforward, action: block, when: {{ip_length: {SIZE}}}}}\n")  # fmt: skip
    done = drain.engine(make_snapshot(load_policy(policy)))
    assert (done.packets, done.blocked) == (300, 300) and done.nanoseconds > 0
    assert drain.ring.waiting() == 0 and not drain.ring.bound()


def test_the_library_is_called_for_every_packet(drain: Drain) -> None:
    seen = []

    def look(packet: Any) -> None:
        seen.append(packet.get_payload())
        packet.accept()

    assert drain.library(look).packets == 300
    assert [packet[12:] for packet in seen] == [packet[12:] for packet in drain.packets]  # TTL and checksum change.


def test_a_failing_contender_raises_and_leaves_no_bound_queue(drain: Drain) -> None:
    def fail(packet: Any) -> None:
        raise KernelError("on purpose")

    with pytest.raises(KernelError, match="on purpose"):
        drain.library(fail)
    assert not drain.ring.bound()
    assert drain.library(empty_callback).packets == 300


def test_contenders_take_turns_in_beginning_and_ratios_are_of_one_round() -> None:
    order = []

    def contender(name: str, *costs: int) -> Any:
        left = iter(costs)

        def turn() -> Drained:
            order.append(name)
            return Drained(next(left), 10)

        return turn

    found = rounds({"a": contender("a", 100, 200, 900), "b": contender("b", 50, 100, 90)}, 3)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert median(found, "a") == 20.0
    assert ratio(found, "a", "b") == 2.0

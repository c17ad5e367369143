"""The ring of two namespaces."""

from __future__ import annotations

import pytest

from wfpd.bench.drain import Consumer, Drain, library, wait_for
from wfpd.bench.network import CHAINS, Ring
from wfpd.bench.traffic import made_up
from wfpd.errors import KernelError
from wfpd.netfilter.namespace import namespace_id

UDP6 = bytes.fromhex(
    "6000000000081140 20010db8000000000000000000000001 20010db8000100000000000000000002 0400003500080000"
)


def drained(hook: str, packets: list[bytes]) -> int:
    """How many of the packets came to the queue and were drained."""
    with Ring(hook) as ring, ring.sender() as sender:
        assert not ring.bound(5) and ring.waiting(5) == 0
        consumer = Consumer(ring, 5, library)
        try:
            assert ring.bound(5)
            return Drain(ring, sender, packets).turn(5, consumer.pid).packets
        finally:
            consumer.close()
            wait_for(lambda: not ring.bound(5), "the end of the consumer")


@pytest.mark.parametrize("hook", sorted(CHAINS))
def test_every_packet_comes_to_the_queue_at_each_hook(hook: str) -> None:
    assert drained(hook, made_up(50, 50)) >= 50


@pytest.mark.parametrize("hook", sorted(CHAINS))
def test_ipv6_comes_there_too(hook: str) -> None:
    assert drained(hook, [UDP6]) >= 1


def test_packets_that_are_not_routed_are_said_to_be_none() -> None:
    loopback = made_up(1, 1)[0][:12] + b"\x7f\0\0\1\x7f\0\0\1" + bytes(30)
    with pytest.raises(KernelError, match="no packet came to the forward hook"):
        drained("forward", [loopback])


def test_packets_go_to_the_queue_that_was_named_last() -> None:
    with Ring("forward") as ring, ring.sender() as sender:
        first, second = (Consumer(ring, queue, library) for queue in (1, 2))
        try:
            drain = Drain(ring, sender, made_up(10, 10))
            assert [drain.turn(one.queue, one.pid).packets for one in (first, second, first)] == [10, 10, 10]
        finally:
            first.close()
            second.close()


def test_the_namespaces_are_its_own_and_gone_after_a_failure() -> None:
    ring = Ring("forward")
    paths = [commands.netns for commands in (ring.peer, ring.gate)]

    def fail_inside() -> None:
        with ring:
            assert all(path is not None and namespace_id(path) != namespace_id() for path in paths)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_inside()
    assert not any(path is not None and path.exists() for path in paths)


def test_nothing_is_left_when_making_it_fails(monkeypatch) -> None:
    ring = Ring("forward")
    monkeypatch.setattr(ring, "_rules", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        ring.__enter__()
    assert not any(c.netns is not None and c.netns.exists() for c in (ring.peer, ring.gate))

"""The ring of two namespaces."""

from __future__ import annotations

import pytest

from wfpd.bench.drain import Drain
from wfpd.bench.network import CHAINS, Ring
from wfpd.bench.traffic import made_up
from wfpd.errors import KernelError
from wfpd.netfilter.namespace import namespace_id


@pytest.mark.parametrize("hook", sorted(CHAINS))
def test_every_packet_comes_to_the_queue_at_each_hook(hook: str) -> None:
    packets = made_up(50, 50)
    with Ring(hook) as ring, ring.sender() as sender:
        assert not ring.bound() and ring.waiting() == 0
        with Drain(ring, sender, packets).filled() as (_, n):
            assert ring.bound()
            assert n >= 50


def test_ipv6_is_forwarded_too() -> None:
    packet = bytes.fromhex("6000000000081140 20010db8000000000000000000000001 20010db8000100000000000000000002")
    with Ring("forward") as ring, ring.sender() as sender:
        assert 6 in ring.families
        with Drain(ring, sender, [packet + bytes.fromhex("0400003500080000")]).filled() as (_, n):
            assert n == 1


def test_packets_that_are_not_routed_are_said_to_be_none() -> None:
    loopback = made_up(1, 1)[0][:12] + b"\x7f\0\0\1\x7f\0\0\1" + bytes(30)
    with (
        Ring("forward") as ring,
        ring.sender() as sender,
        pytest.raises(KernelError, match="no packet came"),
        Drain(ring, sender, [loopback]).filled(),
    ):
        pass


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


def test_nothing_is_left_when_making_it_fails() -> None:
    ring = Ring("no such hook")
    with pytest.raises(KeyError):
        ring.__enter__()
    assert not any(c.netns is not None and c.netns.exists() for c in (ring.peer, ring.gate))

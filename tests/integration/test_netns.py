"""The namespace harness itself: what every other integration test stands on."""

from __future__ import annotations

import contextlib

import pytest

from tests.integration import netns
from tests.integration.netns import Network

pytestmark = pytest.mark.root


def test_datagrams_cross_the_router_in_both_families(net: Network) -> None:
    for family in (4, 6):
        with net.udp_receiver(net.server, 9000, family) as receiver:
            net.send_udp(net.client, 20, 100, 9000, to=netns.SERVER[family])
            assert receiver.wait_for(20)
            assert receiver.payloads[19][:4] == (19).to_bytes(4, "big")


def test_tcp_echoes_and_ping_answers(net: Network) -> None:
    with net.tcp_echo(net.server, 7000), net.tcp_echo(net.server, 7000 + 1, 6):
        assert net.tcp_round_trip(net.client, 7000, b"x" * 300_000) == b"x" * 300_000
        assert net.tcp_round_trip(net.client, 7001, to=netns.SERVER6) == b"ping"
    assert net.ping(net.client, netns.SERVER4, 2) == 2
    assert net.ping(net.client, netns.SERVER6, 2) == 2


def test_namespaces_and_processes_go_also_after_a_failure(needs_root: None) -> None:
    network = Network()
    with contextlib.suppress(ZeroDivisionError), network:
        sleeper = network.popen(network.router, ["sleep", "60"])
        assert network.router.path.exists()
        raise ZeroDivisionError
    assert sleeper.poll() is not None
    assert not network.router.path.exists()
    assert not network.client.path.exists()


def test_a_call_inside_a_namespace_leaves_the_caller_where_it_was(net: Network) -> None:
    from wfpd.netfilter.namespace import namespace_id

    before = namespace_id()
    inside = net.router.call(namespace_id)
    assert inside != before
    assert namespace_id() == before
    assert inside == namespace_id(net.router.path)

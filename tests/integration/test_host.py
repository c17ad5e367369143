"""Addresses, notices and queue accounts of a namespace that is not ours."""

from __future__ import annotations

import ipaddress
import select

import pytest

from tests.integration import netns
from tests.integration.netns import Network
from tests.integration.test_rules import consumer
from wfpd.netfilter import host, proc

pytestmark = pytest.mark.root


def address(text: str) -> int:
    return int(ipaddress.ip_address(text))


def test_a_namespaces_addresses_are_those_the_kernel_would_deliver_to(net: Network) -> None:
    info = net.router.call(host.read_host)
    assert [interface.name for interface in info.interfaces if not interface.is_loopback] == ["c0", "s0"]
    for text in (netns.ROUTER_CLIENT4, netns.ROUTER_SERVER4, "127.0.0.9"):
        assert info.is_local(4, address(text))
    for text in (netns.ROUTER_CLIENT6, netns.ROUTER_SERVER6, "::1"):
        assert info.is_local(6, address(text))
    assert not info.is_local(4, address(netns.CLIENT4))
    assert (address("10.201.1.255"),) * 2 in info.broadcast4
    # A forwarding router answers to its subnets' router anycast addresses (RFC 4291, 2.6.1).
    assert any(low <= address("fd77:1::") <= high for low, high in info.anycast6)


def test_a_new_address_wakes_the_watcher_and_is_seen(net: Network) -> None:
    watcher = net.client.call(host.HostWatcher)
    try:
        watcher.drain()
        assert not select.select([watcher], [], [], 0)[0]
        net.ip("-n", net.client.name, "addr", "add", "10.201.9.9/32", "dev", "eth0")
        assert select.select([watcher], [], [], 3)[0]
        assert watcher.drain()
        assert not watcher.drain()
    finally:
        watcher.close()
    assert net.client.call(host.read_host).is_local(4, address("10.201.9.9"))


def test_queue_accounts_are_read_in_the_callers_namespace(net: Network) -> None:
    assert net.router.call(proc.queues) == {}
    with consumer(net.router, 5):
        (status,) = net.router.call(proc.queues).values()
        assert (status.queue, status.copy_mode, status.waiting, status.queue_dropped) == (5, "packet", 0, 0)
        assert net.router.call(proc.netlink_drops)[status.portid] == 0
        assert net.client.call(proc.queues) == {}

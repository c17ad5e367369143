"""Fields that only a live packet has, each seen through a filter that names it, and flows of real sockets."""

from __future__ import annotations

import socket

import pytest

from tests.integration.netns import ROUTER_CLIENT4, Network, wait_until
from tests.integration.running import Wfpd

ATTACH = "  - {hook: input, queues: 0-0}\n  - {hook: output, queues: 1-1}\n  - {hook: forward, queues: 2-2}"


def index_of(net: Network, name: str) -> int:
    return net.router.call(socket.if_nametoindex, name)


def hits_of(wfpd: Wfpd, name: str) -> float:
    return wfpd.metric("wfpd_filter_hits_total", filter=name)


def test_interfaces_types_and_marks_are_known_at_every_hook(wfpd: Wfpd, net: Network) -> None:
    near, far = index_of(net, "c0"), index_of(net, "s0")
    fields = {
        ("inbound_transport", "interface_index"): near,
        ("inbound_transport", "ip_local_interface"): near,
        ("inbound_transport", "interface_type"): "ethernet",
        ("inbound_transport", "tunnel_type"): "none",
        ("inbound_transport", "interface_name"): "c0",
        ("inbound_transport", "ip_local_address_type"): "unicast",
        ("inbound_transport", "compartment_id"): "{greater: 0}",
        ("ale_auth_recv_accept", "ip_arrival_interface"): near,
        ("ale_auth_recv_accept", "arrival_interface_index"): near,
        ("ale_auth_recv_accept", "arrival_interface_type"): "ethernet",
        ("ale_auth_recv_accept", "ip_nexthop_interface"): "{equal: empty}",
        ("outbound_transport", "interface_index"): near,
        ("outbound_transport", "nexthop_interface_name"): "c0",
        ("outbound_transport", "ip_destination_address_type"): "unicast",
        ("ipforward", "ip_local_interface"): near,
        ("ipforward", "ip_forward_interface"): far,
        ("ipforward", "source_interface_index"): near,
        ("ipforward", "destination_interface_index"): far,
        ("ipforward", "interface_name"): "c0",
        ("ipforward", "nexthop_interface_name"): "s0",
        ("ipforward", "ip_physical_arrival_interface"): near,
    }
    names = {key: f"f-{key[0]}-{key[1]}" for key in fields}
    head = "sublayers:\n" + "\n".join(f"  - {{name: {name}}}" for name in names.values())
    filters = "\n".join(
        f"  - {{name: {names[key]}, layer: {key[0]}_v4, sublayer: {names[key]}, action: permit, metrics: true, "
        f"when: {{{key[1]}: {value}}}}}"
        for key, value in fields.items()
    )
    wfpd.write(filters, attach=ATTACH, head=head)
    wfpd.start()
    assert net.ping(net.client, ROUTER_CLIENT4) == 1
    assert net.ping(net.client) == 1
    assert wait_until(lambda: all(hits_of(wfpd, name) for name in names.values())), [
        name for name in names.values() if not hits_of(wfpd, name)
    ]


def test_a_loopback_connection_is_authorized_at_both_ends(wfpd: Wfpd, net: Network) -> None:
    filters = "\n".join(
        f"  - {{name: {name}, layer: {layer}_v4, action: permit, metrics: true, "
        f"when: {{ip_protocol: tcp, {port}: 7000, flags: {{flags_all_set: [is_loopback]}}}}}}"
        for name, layer, port in (
            ("connect", "ale_auth_connect", "ip_remote_port"),
            ("accept", "ale_auth_recv_accept", "ip_local_port"),
        )
    )
    established = (
        "  - {name: both, layer: ale_flow_established_v4, action: permit, metrics: true, "
        "when: {ip_protocol: tcp, ip_local_port: 7000}}\n"
        "  - {name: both2, layer: ale_flow_established_v4, action: permit, metrics: true, "
        "when: {ip_protocol: tcp, ip_remote_port: 7000}}"
    )
    wfpd.write(f"{filters}\n{established}", attach=ATTACH)
    wfpd.start()
    with net.tcp_echo(net.router, 7000):
        assert net.tcp_round_trip(net.router, 7000, to="127.0.0.1") == b"ping"
    assert wait_until(lambda: hits_of(wfpd, "connect") == hits_of(wfpd, "accept") == 1)
    assert wait_until(lambda: hits_of(wfpd, "both") == hits_of(wfpd, "both2") == 1)


def test_a_blocked_accept_holds_while_connect_is_permitted(wfpd: Wfpd, net: Network) -> None:
    wfpd.write(
        "  - {name: out, layer: ale_auth_connect, action: permit}\n"
        "  - {name: in, layer: ale_auth_recv_accept, action: block, reply: tcp_reset, when: {ip_local_port: 7000}}",
        attach=ATTACH,
    )
    wfpd.start()
    with net.tcp_echo(net.router, 7000), pytest.raises(ConnectionRefusedError):
        net.tcp_connect(net.router, 7000, to="127.0.0.1")
    with net.tcp_echo(net.router, 7000), pytest.raises(ConnectionRefusedError):
        net.tcp_connect(net.client, 7000, to=ROUTER_CLIENT4)


def test_a_connection_older_than_wfpd_is_picked_up_with_its_true_direction(wfpd: Wfpd, net: Network) -> None:
    wfpd.write(
        "  - {name: accept, layer: ale_auth_recv_accept_v4, action: permit, metrics: true, "
        "when: {ip_local_port: 7000}}\n"
        "  - {name: connect, layer: ale_auth_connect_v4, action: permit, metrics: true, "
        "when: {ip_local_port: 7000}}",
        attach=ATTACH,
    )
    with net.tcp_echo(net.router, 7000), net.tcp_connect(net.client, 7000, to=ROUTER_CLIENT4) as sock:
        sock.sendall(b"before")
        assert sock.recv(100) == b"before"
        wfpd.start()
        sock.sendall(b"after")
        assert sock.recv(100) == b"after"
        assert wait_until(lambda: hits_of(wfpd, "accept") == 1)
        assert hits_of(wfpd, "connect") == 0


def test_a_policy_change_reauthorizes_a_living_flow_by_its_next_packet(wfpd: Wfpd, net: Network) -> None:
    permit = "  - {name: accept, layer: ale_auth_recv_accept, action: permit}"
    block = "  - {name: accept, layer: ale_auth_recv_accept, action: block, when: {ip_protocol: udp}}"
    wfpd.write(permit, attach=ATTACH)
    wfpd.start()
    with net.udp_receiver(net.router, 5000) as receiver, net.client.socket() as sock:
        for _ in range(3):
            sock.sendto(b"x", (ROUTER_CLIENT4, 5000))
        assert receiver.wait_for(3)
        wfpd.write(block, attach=ATTACH)
        assert wfpd.call("reload")["successful"]
        for _ in range(3):
            sock.sendto(b"x", (ROUTER_CLIENT4, 5000))
        assert wait_until(lambda: wfpd.metric("wfpd_drops_total", layer="ale_auth_recv_accept_v4") == 3)
        assert receiver.count == 3

"""Flows of real sockets: their ends, their reauthorization by a packet of either direction, groups, audit, times."""

from __future__ import annotations

import json
import pathlib
import signal
import socket
import time
from datetime import datetime
from typing import Any

import jsonschema
import pytest

import wfpd.observe
from tests.integration.netns import CLIENT4, ROUTER_CLIENT4, Network, wait_until
from tests.integration.running import Wfpd

ATTACH = "  - {hook: input, queues: 0-0}\n  - {hook: output, queues: 1-1}"
SCHEMA = json.loads((pathlib.Path(wfpd.observe.__file__).parent / "event_schema.json").read_text())
SO_TIMESTAMP = 29  # asm-generic/socket.h; the socket module does not name it.
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
PERMIT = """  - {name: accept, layer: ale_auth_recv_accept, action: permit, log: true, when: {ip_protocol: WHAT}}
  - {name: connect, layer: ale_auth_connect, action: permit, log: true, when: {ip_protocol: WHAT}}"""
TCP, UDP = PERMIT.replace("WHAT", "tcp"), PERMIT.replace("WHAT", "udp")


def events(wfpd: Wfpd, kind: str, **five: Any) -> list[dict[str, Any]]:
    """Events of a type written so far, all of them checked against the schema."""
    lines = wfpd.eve.read_text().splitlines() if wfpd.eve.exists() else []
    found = [json.loads(line) for line in lines]
    for event in found:
        VALIDATOR.validate(event)
    return [event for event in found if event["event_type"] == kind
            and all(event.get(key) == value for key, value in five.items())]  # fmt: skip


def test_a_closed_connection_ends_after_ten_seconds_with_what_its_sockets_sent(wfpd: Wfpd, net: Network) -> None:
    wfpd.write(TCP, attach=ATTACH)
    wfpd.start()
    with net.tcp_echo(net.router, 7000):
        before = time.time()
        assert net.tcp_round_trip(net.client, 7000, to=ROUTER_CLIENT4) == b"ping"
        assert wait_until(lambda: bool(events(wfpd, "flow", dest_port=7000)), 15.0, 0.1)
    (event,) = events(wfpd, "flow", dest_port=7000)
    assert (event["src_ip"], event["dest_ip"], event["in_iface"]) == (CLIENT4, ROUTER_CLIENT4, "c0")
    flow = event["flow"]
    assert (flow["state"], flow["reason"], event["wfp"]["end"]) == ("closed", "timeout", "timeout")
    assert flow["pkts_toserver"] >= 4 and flow["pkts_toclient"] >= 3
    assert flow["bytes_toserver"] > flow["pkts_toserver"] * 40 and flow["bytes_toclient"] > flow["pkts_toclient"] * 40
    assert time.time() - before >= 10
    (wfp,) = events(wfpd, "wfp", dest_port=7000)
    assert (wfp["flow_id"], wfp["community_id"]) == (event["flow_id"], event["community_id"])
    assert (event["wfp"]["layer"], event["wfp"]["filter"]) == ("ale_auth_recv_accept_v4", "accept")
    assert wfpd.metric("wfpd_flow_evictions_total", reason="timeout") >= 1


def test_the_flows_that_are_left_end_with_the_daemon(wfpd: Wfpd, net: Network) -> None:
    wfpd.write(TCP, attach=ATTACH)
    wfpd.start()
    with net.tcp_echo(net.router, 7000), net.tcp_connect(net.client, 7000, to=ROUTER_CLIENT4) as sock:
        sock.sendall(b"x")
        assert sock.recv(9) == b"x"
        assert wfpd.end() == 0
    (event,) = events(wfpd, "flow", dest_port=7000)
    assert (event["flow"]["state"], event["flow"]["reason"]) == ("established", "shutdown")
    assert event["wfp"]["generation"] == 1


@pytest.mark.parametrize(
    ("server", "blocked", "layer"),
    [("router", "accept", "ale_auth_recv_accept_v4"), ("client", "connect", "ale_auth_connect_v4")],
)
def test_a_flow_is_reauthorized_by_a_packet_against_its_direction(
    wfpd: Wfpd, net: Network, server: str, blocked: str, layer: str
) -> None:
    """The end that was called speaks first after the change: outbound at recv_accept, inbound at connect."""
    wfpd.write(UDP, attach=ATTACH)
    wfpd.start()
    called, calling = (net.router, net.client) if server == "router" else (net.client, net.router)
    address = ROUTER_CLIENT4 if server == "router" else CLIENT4
    with called.socket() as one, calling.socket() as other:
        one.bind((address, 5000))
        one.settimeout(2)
        other.sendto(b"hello", (address, 5000))
        _, back = one.recvfrom(100)
        wfpd.write(UDP.replace(f"{blocked}, layer: {layer[:-3]}, action: permit, log: true",
                               f"{blocked}, layer: {layer[:-3]}, action: block"), attach=ATTACH)  # fmt: skip
        assert wfpd.call("reload")["successful"]
        one.sendto(b"no more", back)
        assert wait_until(lambda: wfpd.metric("wfpd_drops_total", layer=layer) == 1)
        other.settimeout(0.2)
        with pytest.raises(TimeoutError):
            other.recv(100)
    assert wait_until(lambda: len(events(wfpd, "flow")) == 1)
    (drop,), (end,), (wfp,) = events(wfpd, "drop"), events(wfpd, "flow"), events(wfpd, "wfp")
    assert (drop["direction"], drop["wfp"]["filter"], drop["wfp"]["layer"]) == ("to_client", blocked, layer)
    assert (end["wfp"]["end"], end["flow"]["reason"]) == ("reauthorization", "forced")
    assert drop["flow_id"] == end["flow_id"] == wfp["flow_id"]
    assert (end["wfp"]["generation"], drop["wfp"]["generation"]) == (1, 2)


def test_anybody_may_answer_a_multicast_packet_for_four_seconds(wfpd: Wfpd, net: Network) -> None:
    wfpd.write("  - {name: accept, layer: ale_auth_recv_accept, action: block, when: {ip_protocol: udp}}\n"
               "  - {name: connect, layer: ale_auth_connect, action: permit}", attach=ATTACH)  # fmt: skip
    wfpd.start()
    with net.router.socket() as asking, net.client.socket() as member, net.client.socket() as answering:
        asking.bind((ROUTER_CLIENT4, 4000))
        member.bind(("", 1900))
        member.settimeout(3)
        group = socket.inet_aton("239.255.255.250") + socket.inet_aton(CLIENT4)
        member.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
        asking.settimeout(1)
        asking.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(ROUTER_CLIENT4))
        asking.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
        answering.sendto(b"unasked", (ROUTER_CLIENT4, 4000))
        with pytest.raises(TimeoutError):
            asking.recv(100)
        asking.sendto(b"who is there?", ("239.255.255.250", 1900))
        assert member.recv(100) == b"who is there?"
        answering.sendto(b"I", (ROUTER_CLIENT4, 4000))
        assert asking.recv(100) == b"I"
        time.sleep(4.2)
        answering.sendto(b"late", (ROUTER_CLIENT4, 4000))
        with pytest.raises(TimeoutError):
            asking.recv(100)
    (event,) = events(wfpd, "flow", dest_ip="239.255.255.250")
    assert (event["src_port"], event["flow"]["pkts_toserver"], event["flow"]["pkts_toclient"]) == (4000, 1, 1)


def test_a_filter_in_audit_mode_is_counted_and_told_and_blocks_nothing(wfpd: Wfpd, net: Network) -> None:
    wfpd.write("  - {name: would, layer: inbound_transport, action: block, mode: audit, metrics: true, "
               "when: {ip_protocol: udp, ip_local_port: 5000}}", attach=ATTACH)  # fmt: skip
    wfpd.start()
    with net.udp_receiver(net.router, 5000) as receiver, net.client.socket() as sock:
        for _ in range(5):
            sock.sendto(b"x", (ROUTER_CLIENT4, 5000))
        assert receiver.wait_for(5)
    assert wait_until(lambda: wfpd.metric("wfpd_filter_hits_total", filter="would", action="audit") == 5)
    assert wait_until(lambda: bool(events(wfpd, "wfp")))
    event = events(wfpd, "wfp")[0]
    assert (event["wfp"]["filter"], event["wfp"]["verdict"], event["wfp"]["audit"]) == ("would", "block", True)
    assert (event["verdict"]["action"], event["wfp"]["layer"]) == ("pass", "inbound_transport_v4")
    assert events(wfpd, "drop") == [] and wfpd.metric("wfpd_drops_total") == 0


def test_an_event_has_the_time_of_its_packet_where_the_kernel_took_one(wfpd: Wfpd, net: Network) -> None:
    """Two packets wait for a stopped daemon and are received together."""
    wfpd.write("  - {name: no, layer: inbound_transport, action: block, when: {ip_protocol: udp}}", attach=ATTACH)
    wfpd.start()
    assert wfpd.process is not None
    with net.router.socket() as asking, net.client.socket() as one, net.client.socket() as other:
        asking.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMP, 1)  # From now on the kernel stamps what arrives.
        time.sleep(0.2)
        wfpd.process.send_signal(signal.SIGSTOP)
        spans = []
        for sock in (one, other):
            before = time.time()
            sock.sendto(b"x", (ROUTER_CLIENT4, 5000))
            spans.append((before, time.time()))
            time.sleep(0.5)
        wfpd.process.send_signal(signal.SIGCONT)
        assert wait_until(lambda: len(events(wfpd, "drop")) == 2)
    found = [datetime.fromisoformat(event["timestamp"]).timestamp() for event in events(wfpd, "drop")]
    for at, (before, after) in zip(found, spans, strict=True):
        assert before - 1e-5 <= at <= after + 0.1

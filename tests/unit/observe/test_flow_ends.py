"""Ended flows of replayed conversations: what their events say, and that the published schema accepts them."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import jsonschema
import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.packet import Raw

import wfpd.observe
from tests.replaying import conversations
from wfpd.observe.community_id import community_id
from wfpd.observe.events import Encoder

SCHEMA = json.loads((pathlib.Path(wfpd.observe.__file__).parent / "event_schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
HERE, THERE = "192.0.2.1", "198.51.100.2"
PERMIT = """version: 1
filters:
  - {name: in, layer: ale_auth_recv_accept, action: permit}
  - {name: out, layer: ale_auth_connect, action: permit}
"""


def ends(policy: str, packets: list[Any], times: list[float], **options: Any) -> list[dict[str, Any]]:
    """The flow events of a replay, checked against the schema."""
    encoder = Encoder(offset=lambda seconds: 0)
    found = [json.loads(encoder.line(record)) for record in conversations(policy, packets, times, **options)]
    for event in found:
        VALIDATOR.validate(event)
    return found


def tcp(flags: str, *, back: bool = False, data: bytes = b"") -> IP:
    packet = IP(src=THERE, dst=HERE) / TCP(sport=80, dport=4000, flags=flags)
    if not back:
        packet = IP(src=HERE, dst=THERE) / TCP(sport=4000, dport=80, flags=flags)
    return packet / Raw(data) if data else packet


CLOSED = [tcp("S"), tcp("SA", back=True), tcp("A"), tcp("PA", data=b"hello"), tcp("FA", back=True), tcp("FA"),
          tcp("A", back=True)]  # fmt: skip


def test_a_closed_connection_is_one_event_with_its_totals_ten_seconds_later() -> None:
    later = IP(src=HERE, dst=THERE) / UDP(sport=9, dport=9)
    first, second = ends(PERMIT, [*CLOSED, later], [1, 1.5, 2, 2, 3, 3, 3.25, 14], local=HERE)
    assert first["flow"] == {
        "pkts_toserver": 4, "pkts_toclient": 3, "bytes_toserver": 165, "bytes_toclient": 120,
        "start": "1970-01-01T00:00:01.000000+0000", "end": "1970-01-01T00:00:03.250000+0000", "age": 2,
        "state": "closed", "reason": "timeout",
    }  # fmt: skip
    assert first["timestamp"] == "1970-01-01T00:00:14.000000+0000" and first["pcap_cnt"] == 8
    assert (first["src_ip"], first["src_port"], first["dest_ip"], first["dest_port"]) == (HERE, 4000, THERE, 80)
    assert (first["proto"], first["direction"], first["event_type"]) == ("TCP", "to_server", "flow")
    wfp = first["wfp"]
    assert (wfp["layer"], wfp["filter"], wfp["sublayer"]) == ("ale_auth_connect_v4", "out", "universal")
    assert (wfp["reason"], wfp["generation"], wfp["end"], wfp["verdict"]) == ("filter", 1, "timeout", "permit")
    assert second["flow"]["reason"] == "shutdown" and second["flow_id"] != first["flow_id"]


def test_the_client_is_the_source_though_the_local_end_is_the_server() -> None:
    (event,) = ends(PERMIT, CLOSED, [1] * 7, local=THERE)
    assert (event["src_ip"], event["dest_port"], event["flow"]["pkts_toserver"]) == (HERE, 80, 4)
    assert (event["wfp"]["layer"], event["flow"]["reason"]) == ("ale_auth_recv_accept_v4", "shutdown")


@pytest.mark.parametrize(("packets", "state"), [(CLOSED[:1], "new"), (CLOSED[:3], "established"), (CLOSED, "closed")])
def test_the_state_is_that_of_the_connection(packets: list[Any], state: str) -> None:
    (event,) = ends(PERMIT, packets, [1] * len(packets), local=HERE)
    assert event["flow"]["state"] == state


def test_a_datagram_flow_is_established_by_its_first_answer() -> None:
    there, back = IP(src=HERE, dst=THERE) / UDP(sport=9, dport=53), IP(src=THERE, dst=HERE) / UDP(sport=53, dport=9)
    assert [ends(PERMIT, packets, [1] * len(packets), local=HERE)[0]["flow"]["state"]
            for packets in ([there], [there, back])] == ["new", "established"]  # fmt: skip


def test_an_idle_flow_behind_an_idle_connection_ends_on_its_own_time() -> None:
    datagram = IP(src=HERE, dst=THERE) / UDP(sport=9, dport=53)
    other = IP(src=HERE, dst=THERE) / UDP(sport=10, dport=53)
    found = ends(PERMIT, [*CLOSED[:3], datagram, other], [1, 1, 1, 2, 70], local=HERE)
    assert (found[0]["proto"], found[0]["flow"]["reason"]) == ("UDP", "timeout")


def test_a_flow_that_made_room_is_forced_and_says_why() -> None:
    policy = PERMIT.replace("version: 1", "version: 1\ndaemon: {flows: {max: 2}}")
    datagrams = [IP(src=HERE, dst=THERE) / UDP(sport=port, dport=53) for port in (1, 2, 3)]
    found = ends(policy, datagrams, [1, 2, 3], local=HERE)
    assert (found[0]["src_port"], found[0]["flow"]["reason"], found[0]["wfp"]["end"]) == (1, "forced", "oldest")
    halves = [IP(src=HERE, dst=THERE) / TCP(sport=port, dport=80, flags="S") for port in (1, 2, 3)]
    assert ends(policy, halves, [1, 2, 3], local=HERE)[0]["wfp"]["end"] == "half_open"


def test_ports_that_are_used_again_end_the_closed_flow() -> None:
    found = ends(PERMIT, [*CLOSED, tcp("S")], [1] * 8, local=HERE)
    assert [event["wfp"]["end"] for event in found] == ["reused", "shutdown"]


def test_an_echo_is_one_flow_with_type_code_and_the_community_id_of_its_packets() -> None:
    request = IP(src=HERE, dst=THERE) / ICMP(type=8, id=5)
    answer = IP(src=THERE, dst=HERE) / ICMP(type=0, id=5)
    (event,) = ends(PERMIT, [request, answer], [1, 1], local=HERE)
    assert (event["icmp_type"], event["icmp_code"], event["flow"]["pkts_toclient"]) == (8, 0, 1)
    source, destination = bytes((192, 0, 2, 1)), bytes((198, 51, 100, 2))
    assert event["community_id"] == community_id(source, destination, 1, icmp=(8, 0))


def test_ipv6_has_its_own_addresses_and_layer() -> None:
    packet = IPv6(src="2001:db8::1", dst="2001:db8::2") / ICMPv6EchoRequest()
    (event,) = ends(PERMIT, [packet], [1], local="2001:db8::1")
    assert (event["src_ip"], event["ip_v"], event["wfp"]["layer"]) == ("2001:db8::1", 6, "ale_auth_connect_v6")


def test_an_authorization_without_a_match_names_the_layer_only() -> None:
    policy = PERMIT.replace("action: permit}", "action: block, when: {ip_remote_port: 1}}")
    (event,) = ends(policy, [tcp("S")], [1], local=HERE)
    assert (event["wfp"]["layer"], event["wfp"]["filter"], event["wfp"]["reason"]) == (
        "ale_auth_connect_v4", None, "no_match")  # fmt: skip


def test_the_flow_of_all_inbound_groups_has_no_addresses() -> None:
    packets = [IP(src=THERE, dst=group) / UDP(sport=1, dport=5) for group in ("224.0.0.251", "239.1.1.1")]
    (event,) = ends(PERMIT, packets, [1, 2], local=HERE)
    assert "src_ip" not in event and "proto" not in event
    assert (event["flow"]["pkts_toserver"], event["wfp"]["layer"]) == (2, "ale_auth_recv_accept_v4")


def test_a_group_s_flow_counts_its_answers() -> None:
    there = IP(src=HERE, dst="239.1.1.1") / UDP(sport=7, dport=1900)
    back = IP(src=THERE, dst=HERE) / UDP(sport=1, dport=7)
    (event,) = ends(PERMIT, [there, back, back], [1, 2, 3], local=HERE)
    assert (event["dest_ip"], event["flow"]["pkts_toclient"], event["flow"]["state"]) == ("239.1.1.1", 2, "established")


def test_no_flow_has_no_event() -> None:
    assert ends(PERMIT.replace("permit", "block"), [tcp("S")], [1], local=HERE) == []
    assert ends(PERMIT, [tcp("S")], [1]) == []  # At forward nothing is authorized.


def test_every_replay_gives_a_flow_the_same_id() -> None:
    assert {ends(PERMIT, [tcp("S")], [1], local=HERE)[0]["flow_id"] for _ in range(3)} == {
        ends(PERMIT, [tcp("S")], [1], local=HERE)[0]["flow_id"]
    }

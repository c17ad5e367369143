"""Field values: one packet for each field that a capture can feed, seen through a filter that names it."""

from __future__ import annotations

import pathlib
import tempfile

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet

from tests.replaying import decide
from wfpd.capture import CapturedPacket
from wfpd.config import load_policy
from wfpd.replay import Replay

SYN = IP(src="192.0.2.1", dst="198.51.100.2", tos=0xB9, ttl=33) / TCP(
    sport=4000, dport=80, flags="S", window=5000, options=[("MSS", 1400), ("WScale", 7)]
)
UDP6 = IPv6(src="2001:db8::1", dst="2001:db8::2", tc=0x20) / UDP(sport=53, dport=4000)

CASES: list[tuple[str, str, Packet, str, str]] = [
    ("forward", "ipforward", SYN, "ip_source_address", "192.0.2.1"),
    ("forward", "ipforward", SYN, "ip_destination_address", "198.51.100.0/24"),
    ("forward", "ipforward", UDP6, "ip_source_address", "'2001:db8::/64'"),
    ("forward", "ipforward", SYN, "ip_destination_address_type", "unicast"),
    ("forward", "ipforward", SYN, "ip_protocol", "tcp"),
    ("forward", "ipforward", SYN, "ip_source_port", "4000"),
    ("forward", "ipforward", SYN, "ip_destination_port", "80"),
    ("forward", "ipforward", IP() / ICMP(type=8), "icmp_type", "8"),
    ("forward", "ipforward", IP() / ICMP(type=3, code=4), "icmp_code", "4"),
    ("forward", "ipforward", SYN, "ip_dscp", "ef"),
    ("forward", "ipforward", SYN, "ip_ecn", "1"),
    ("forward", "ipforward", SYN, "ip_ttl", "33"),
    ("forward", "ipforward", SYN, "ip_length", str(len(bytes(SYN)))),
    ("forward", "ipforward", SYN, "ip_fragment", "none"),
    ("forward", "ipforward", SYN, "tcp_flags", "{equal: syn}"),
    ("forward", "ipforward", SYN, "tcp_mss", "1400"),
    ("forward", "ipforward", SYN, "tcp_window_scale", "7"),
    ("forward", "ipforward", SYN, "tcp_window", "5000"),
    ("input", "inbound_transport", SYN, "ip_local_address", "198.51.100.2"),
    ("input", "inbound_transport", SYN, "ip_remote_address", "192.0.2.1"),
    ("input", "inbound_transport", SYN, "ip_local_address_type", "unicast"),
    ("input", "inbound_transport", SYN, "ip_local_port", "80"),
    ("input", "inbound_transport", SYN, "ip_remote_port", "4000"),
    ("output", "outbound_transport", SYN, "ip_local_port", "4000"),
    ("output", "outbound_transport", SYN, "ip_remote_address", "198.51.100.2"),
    ("input", "stream_packet", SYN, "direction", "inbound"),
    ("output", "stream_packet", SYN, "direction", "outbound"),
    ("forward", "ipforward", SYN, "interface_name", "{equal: empty}"),
    ("forward", "ipforward", SYN, "packet_mark", "{equal: empty}"),
    ("forward", "ipforward", IP() / UDP(), "tcp_flags", "{equal: empty}"),
]


@pytest.mark.parametrize(
    ("hook", "layer", "packet", "field", "value"), CASES, ids=[f"{c[1]}-{c[3]}-{c[4]}" for c in CASES]
)
def test_a_condition_on_the_field_holds_for_the_packet_that_has_the_value(
    hook: str, layer: str, packet: Packet, field: str, value: str
) -> None:
    text = f"version: 1\nfilters:\n  - {{name: one, layer: {layer}, action: block, when: {{{field}: {value}}}}}\n"
    (result,) = decide(text, [packet], hook=hook)
    assert result["verdict"] == "block"


def test_fields_beyond_the_cut_of_the_snap_length_are_empty_and_not_malformed() -> None:
    text = (
        "version: 1\nfilters:\n  - {name: one, layer: ipforward, action: block, when: {ip_source_address: 0.0.0.0/0}}\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "policy.yaml"
        path.write_text(text)
        replay = Replay(load_policy(str(path), trust="warn"))
    whole = bytes(SYN)
    verdicts = [
        replay.decide(CapturedPacket(1, 1, whole[:size], len(whole), True, None, 101)) for size in (10, 19, 20, 30)
    ]
    assert [result["verdict"] for result in verdicts] == ["permit", "permit", "block", "block"]
    assert {result["reason"] for result in verdicts} == {"no_match", "filter"}

"""Witnesses of a diff's regions, field by field, and the reasons where there is none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from wfpd.comparing import compare
from wfpd.config import load_policy
from wfpd.dataplane import parse_of
from wfpd.model.policy import Policy


def policy(directory: Path, text: str, name: str = "policy.yaml") -> Policy:
    path = directory / name
    path.write_text(f"version: 1\n{text}\n")
    return load_policy(str(path), trust="warn")


def witnesses(directory: Path, filters: str, rest: str = "") -> list[dict[str, Any]]:
    """Of every region between no filters (but `rest`) and these."""
    old, new = policy(directory, f"filters: [{rest}]"), policy(directory, f"filters: [{filters}, {rest}]")
    return [region["witness"] for layer in compare(old, new)["layers"] for region in layer["regions"]]


@pytest.mark.parametrize(("layer", "when"), [
    ("inbound_ippacket", "ip_fragment: [1, 2], ip_ttl: 9"), ("inbound_ippacket", "flags: [is_fragment]"),
    ("inbound_transport", "tcp_mss: 500, ip_dscp: ef, ip_ecn: 1, packet_mark: 7, interface_name: eth1"),
    ("inbound_transport", "interface_name: {none_of: [wit0, lo]}"), ("inbound_transport", "flags: [is_loopback]"),
    ("inbound_icmp_error", "icmp_type: 3, embedded_protocol: tcp, embedded_remote_port: 99"),
    ("ale_auth_recv_accept", "ip_protocol: sctp, ip_local_port: 9, ip_remote_port: 8"),
    ("ale_auth_recv_accept_v4", "ip_protocol: icmp, icmp_type: 13, icmp_code: 1"),
    ("ale_auth_recv_accept_v4", "original_icmp_type: 13"), ("ale_auth_recv_accept", "ip_local_address_type: multicast"),
    ("ale_flow_established", "ip_remote_port: 99, direction: outbound"), ("ale_flow_established", "direction: inbound"),
    ("stream_packet", "direction: outbound, tcp_flags: [fin, ack], tcp_window: 1"),
    ("stream_packet", "ip_local_port: 5"),
    ("datagram_data", "direction: outbound, ip_protocol: udp"),
    ("ale_auth_connect", "ip_destination_address_type: multicast"),
    ("outbound_icmp_error", "icmp_code: 2"),
    ("outbound_transport_v4", "ip_protocol: {none_of: [tcp, udp, icmp, icmpv6]}"),
    ("outbound_ippacket", "ip_length: {greater: 1000}"), ("ipforward", "tcp_window_scale: 3"),
    ("ipforward", "ip_protocol: 200"),
    ("ipforward_v4", "icmp_type: 200, icmp_code: {greater: 3}"), ("ipforward", "ip_source_port: {equal: empty}"),
    ("ipforward_v6", "ip_source_address: 2001:db8:5::/48, ip_destination_port: 1-9"),
])  # fmt: skip
def test_a_packet_confirms_what_it_can_carry(tmp_path: Path, layer: str, when: str) -> None:
    found = witnesses(tmp_path, f"{{name: a, layer: {layer}, action: block, when: {{{when}}}}}")
    assert found
    for witness in found:
        assert (witness["confirmed"], witness["old"], witness["new"], witness["why"]) == (True, "permit", "block", None)
        assert parse_of(bytes.fromhex(witness["packet"]["data"]), witness["packet"]["length"])["has_addresses"]


@pytest.mark.parametrize(("filters", "why"), [
    ("{name: a, layer: outbound_transport_v4, action: block, when: {interface_index: 3}}",
     "no packet carries interface_index: it is the host's to say"),
    ("{name: a, layer: inbound_transport_v4, action: block, when: {nexthop_interface_name: x}}",
     "no packet carries nexthop_interface_name: an inbound packet has no next hop"),
    ("{name: a, layer: inbound_transport_v4_discard, action: block}", "a discard twin tells of a block"),
    ("{name: a, layer: ale_auth_connect_v4, action: block, when: {flags: [is_reauthorize]}}",
     "no packet was found with these values of flags"),
    ("{name: a, layer: ipforward_v4, action: block, when: {ip_protocol: {equal: empty}}}",
     "no packet was found that comes to this layer"),
    ("{name: a, layer: stream_packet_v4, action: block, when: {tcp_flags: {equal: empty}}}",
     "no packet was found that comes to this layer with these values"),
])  # fmt: skip
def test_what_no_packet_confirms_has_a_reason(tmp_path: Path, filters: str, why: str) -> None:
    (witness,) = witnesses(tmp_path, filters)
    assert not witness["confirmed"] and witness["packet"] is None and why in witness["why"]


def test_another_layer_that_decides_is_named(tmp_path: Path) -> None:
    after = "{name: stop, layer: outbound_ippacket_v4, action: block}"
    (witness,) = witnesses(tmp_path, "{name: a, layer: ale_auth_connect_v4, action: block}", after)
    assert not witness["confirmed"] and (witness["old"], witness["new"]) == ("block", "block")
    assert witness["why"] == "the layer's answers differ, and outbound_ippacket_v4 universal stop decides: block"
    before = "{name: stop, layer: inbound_ippacket_v4, action: block}"
    (witness,) = witnesses(tmp_path, "{name: a, layer: inbound_transport_v4, action: block}", before)
    assert (
        witness["why"] == "it does not come to inbound_transport_v4: inbound_ippacket_v4 universal stop decides: block"
    )
    assert witness["packet"]


def test_a_region_that_is_not_decided_is_searched_for_a_packet_that_decides_it(tmp_path: Path) -> None:
    (witness,) = witnesses(tmp_path, "{name: a, layer: inbound_transport_v4, action: block, "
                                     "when: {flags: {flags_all_set: [is_loopback]}}}")  # fmt: skip
    assert witness["confirmed"] and witness["hooks"] == ["output", "input"]
    (witness,) = witnesses(tmp_path, "{name: a, layer: ipforward_v4, action: block, "
                                     "when: {tcp_flags: {flags_all_set: [fin, ack]}}}")  # fmt: skip
    assert witness["confirmed"] and witness["command"].endswith("--flags fin,ack")
    (witness,) = witnesses(
        tmp_path, "{name: a, layer: ipforward_v4, action: block, when: {interface_name: {glob: 'x*y'}}}"
    )
    assert witness["confirmed"] and witness["interface"] == "xy"


def test_the_command_describes_the_packet_to_explain(tmp_path: Path) -> None:
    text = ("filters: [{name: a, layer: ale_auth_connect, action: block, when: {ip_protocol: icmp, icmp_type: 13}},"
            "{name: b, layer: inbound_transport_v6, action: block, when: {ip_local_port: 7, tcp_flags: [fin, ack], "
            "packet_mark: 9, interface_name: eth0.1}}, {name: c, layer: ipforward_v4, action: block, "
            "when: {ip_protocol: dccp, ip_length: 100}}]")  # fmt: skip
    new = policy(tmp_path, text, "new.yaml")
    document = compare(policy(tmp_path, ""), new)
    commands = [region["witness"]["command"] for layer in document["layers"] for region in layer["regions"]]
    assert any("--mark 0x9" in one and "--interface eth0.1" in one for one in commands)
    for command in (one for one in commands if one is not None):
        done = subprocess.run([sys.executable, "-m", *command.split(), "--policy", str(tmp_path / "new.yaml")],
                              capture_output=True, text=True, check=False)  # fmt: skip
        assert (done.returncode, done.stderr) == (1, ""), command
    assert len([one for one in commands if one is not None]) >= 3

"""A visit: which layers a packet passes, in which order, and what is reported of it."""

from __future__ import annotations

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrFragment
from scapy.packet import Raw

from tests.replaying import decide

CLIENT, SERVER = "192.0.2.1", "198.51.100.2"


def policy(*filters: str, head: str = "") -> str:
    lines = ["version: 1", *head.splitlines(), "filters:"]
    return "\n".join(lines + [f"  - {{name: f{n}, {text}}}" for n, text in enumerate(filters, 1)]) + "\n"


def layers(result: dict) -> list[str]:
    return [row["layer"] for row in result["layers"]]


def everywhere(*names: str) -> str:
    return policy(*(f"layer: {name}, action: permit" for name in names))


INPUT = ("inbound_ippacket", "inbound_transport", "inbound_icmp_error", "ale_auth_recv_accept",
         "ale_flow_established", "stream_packet", "datagram_data")  # fmt: skip
OUTPUT = ("ale_auth_connect", "ale_flow_established", "datagram_data", "stream_packet", "outbound_icmp_error",
          "outbound_transport", "outbound_ippacket")  # fmt: skip


def test_a_blocked_port_is_reported_with_its_layer_sublayer_and_filter() -> None:
    text = policy("layer: ipforward, action: block, when: {ip_protocol: tcp, ip_destination_port: 23}")
    telnet, web = decide(text, [IP(src=CLIENT, dst=SERVER) / TCP(dport=port, flags="S") for port in (23, 80)])
    assert telnet == {
        "packet": 1, "verdict": "block", "reason": "filter", "layer": "ipforward_v4", "sublayer": "universal",
        "filter": "f1", "veto": False,
        "layers": [{"layer": "ipforward_v4", "action": "block", "right": "clear", "sublayer": "universal",
                    "filter": "f1", "callouts": []}],
    }  # fmt: skip
    assert web["verdict"] == "permit" and web["reason"] == "no_match" and web["layer"] is None
    assert web["layers"] == [
        {"layer": "ipforward_v4", "action": "none", "right": "set", "sublayer": None, "filter": None, "callouts": []}
    ]


def test_a_udp_packet_visits_the_input_layers_in_order() -> None:
    (result,) = decide(everywhere(*INPUT), [IP(src=CLIENT, dst=SERVER) / UDP(dport=53)], hook="input")
    assert layers(result) == [
        "inbound_ippacket_v4", "inbound_transport_v4", "ale_auth_recv_accept_v4", "ale_flow_established_v4",
        "datagram_data_v4",
    ]  # fmt: skip


def test_a_later_packet_of_an_authorized_flow_skips_the_ale_layers() -> None:
    packet = IP(src=CLIENT, dst=SERVER) / UDP(sport=4000, dport=53)
    results = decide(policy("layer: ale_auth_recv_accept, action: permit"), [packet, packet], hook="input")
    assert [result["reason"] for result in results] == ["filter", "flow"]
    assert results[1]["layers"] == [] and results[1]["layer"] == "ale_auth_recv_accept_v4"
    assert results[1]["filter"] == "f1" and results[1]["sublayer"] == "universal"


def test_a_blocked_first_packet_creates_no_flow() -> None:
    packet = IP(src=CLIENT, dst=SERVER) / UDP(sport=4000, dport=53)
    results = decide(policy("layer: ale_auth_recv_accept, action: block"), [packet, packet], hook="input")
    assert [result["reason"] for result in results] == ["filter", "filter"]


def test_an_idle_udp_flow_is_authorized_anew_after_sixty_seconds() -> None:
    packet = IP(src=CLIENT, dst=SERVER) / UDP(sport=4000, dport=53)
    text = policy("layer: ale_auth_recv_accept, action: permit")
    results = decide(text, [packet] * 3, hook="input", times=[0, 59, 120])
    assert [result["reason"] for result in results] == ["filter", "flow", "filter"]


def handshake() -> list:
    there = IP(src=CLIENT, dst=SERVER) / TCP(sport=4000, dport=80)
    back = IP(src=SERVER, dst=CLIENT) / TCP(sport=80, dport=4000)
    packets = []
    for base, flags in ((there, "S"), (back, "SA"), (there, "A"), (there, "PA"), (back, "PA")):
        packet = base.copy()
        packet[TCP].flags = flags
        packets.append(packet / Raw(b"data") if flags == "PA" else packet)
    return packets


def test_the_accepting_side_is_established_by_the_inbound_ack() -> None:
    text = everywhere("ale_auth_recv_accept", "ale_auth_connect", "ale_flow_established")
    results = decide(text, handshake(), local=SERVER)
    assert [layers(result) for result in results] == [
        ["ale_auth_recv_accept_v4"], [], ["ale_flow_established_v4"], [], [],
    ]  # fmt: skip


def test_the_connecting_side_is_established_by_the_inbound_syn_ack() -> None:
    text = everywhere("ale_auth_recv_accept", "ale_auth_connect", "ale_flow_established")
    results = decide(text, handshake(), local=CLIENT)
    assert [layers(result) for result in results] == [
        ["ale_auth_connect_v4"], ["ale_flow_established_v4"], [], [], [],
    ]  # fmt: skip


def test_a_mid_stream_packet_in_replay_has_its_own_direction() -> None:
    text = everywhere("ale_auth_recv_accept", "ale_auth_connect")
    results = decide(text, handshake()[3:], local=SERVER)
    assert layers(results[0]) == ["ale_auth_recv_accept_v4"] and layers(results[1]) == []


def test_a_loopback_packet_passes_the_output_visit_and_then_the_input_visit() -> None:
    packet = IP(src="127.0.0.1", dst="127.0.0.1") / UDP(dport=53)
    (result,) = decide(everywhere("outbound_transport", "inbound_transport"), [packet], local="127.0.0.0/8")
    assert layers(result) == ["outbound_transport_v4", "inbound_transport_v4"]
    assert result["layer"] == "inbound_transport_v4"


def test_a_loopback_packet_that_output_blocks_never_reaches_input() -> None:
    packet = IP(src="127.0.0.1", dst="127.0.0.1") / UDP(dport=53)
    text = policy("layer: outbound_transport, action: block", "layer: inbound_transport, action: permit")
    (result,) = decide(text, [packet], local="127.0.0.0/8")
    assert layers(result) == ["outbound_transport_v4"] and result["verdict"] == "block"


def test_the_loopback_flag_is_set_where_both_ends_are_local() -> None:
    text = policy("layer: inbound_transport, action: block, when: {flags: {flags_all_set: [is_loopback]}}")
    near = IP(src="127.0.0.1", dst="127.0.0.1") / UDP(dport=53)
    far = IP(src=CLIENT, dst="127.0.0.1") / UDP(dport=53)
    assert [r["verdict"] for r in decide(text, [near, far], local="127.0.0.0/8")] == ["block", "permit"]


@pytest.mark.parametrize(
    ("destination", "hook_layer"),
    [("192.0.2.9", "inbound_ippacket_v4"), ("224.0.0.1", "inbound_ippacket_v4"), ("203.0.113.1", "ipforward_v4")],
)
def test_local_prefixes_choose_the_hook(destination: str, hook_layer: str) -> None:
    text = everywhere("inbound_ippacket", "outbound_ippacket", "ipforward")
    (result,) = decide(text, [IP(src="198.51.100.1", dst=destination) / UDP()], local="192.0.2.0/24")
    assert layers(result) == [hook_layer]


def test_a_packet_from_a_local_address_is_outbound() -> None:
    text = everywhere("inbound_ippacket", "outbound_ippacket", "ipforward")
    (result,) = decide(text, [IP(src="192.0.2.1", dst="203.0.113.1") / UDP()], local="192.0.2.0/24")
    assert layers(result) == ["outbound_ippacket_v4"]


def test_an_icmp_error_ends_at_the_icmp_error_layer_and_never_reaches_ale() -> None:
    error = IP(src=CLIENT, dst=SERVER) / ICMP(type=3, code=1) / IP(src=SERVER, dst=CLIENT) / UDP(sport=53, dport=9)
    (result,) = decide(everywhere(*INPUT), [error], hook="input")
    assert layers(result) == ["inbound_ippacket_v4", "inbound_transport_v4", "inbound_icmp_error_v4"]


def test_the_quoted_packet_is_what_embedded_fields_speak_of() -> None:
    text = policy(
        "layer: inbound_icmp_error, action: block, when: {embedded_protocol: udp, embedded_local_port: 53, "
        "embedded_remote_port: 9, embedded_remote_address: 192.0.2.1, icmp_type: 3, icmp_code: 1}"
    )
    error = IP(src=CLIENT, dst=SERVER) / ICMP(type=3, code=1) / IP(src=SERVER, dst=CLIENT) / UDP(sport=53, dport=9)
    (result,) = decide(text, [error], hook="input")
    assert result["verdict"] == "block"


def test_fragments_are_visited_at_ippacket_and_ipforward_only() -> None:
    later = IP(src=CLIENT, dst=SERVER, frag=100, proto=17) / Raw(b"x" * 16)
    (at_input,) = decide(everywhere(*INPUT), [later], hook="input")
    (at_forward,) = decide(everywhere("ipforward"), [later])
    assert layers(at_input) == ["inbound_ippacket_v4"] and layers(at_forward) == ["ipforward_v4"]


def test_a_later_fragment_has_no_ports_and_a_first_one_has() -> None:
    text = policy("layer: ipforward, action: block, when: {ip_destination_port: 53}")
    first = IP(src=CLIENT, dst=SERVER, flags="MF") / UDP(sport=9, dport=53) / Raw(b"x" * 24)
    later = IP(src=CLIENT, dst=SERVER, frag=4, proto=17) / Raw(b"x" * 16)
    assert [r["verdict"] for r in decide(text, [first, later])] == ["block", "permit"]


def test_an_ipv6_fragment_names_its_protocol() -> None:
    text = policy("layer: ipforward_v6, action: block, when: {ip_protocol: udp, ip_fragment: later}")
    packet = IPv6(src="2001:db8::1", dst="2001:db8::2") / IPv6ExtHdrFragment(nh=17, offset=10) / Raw(b"x" * 16)
    (result,) = decide(text, [packet])
    assert result["verdict"] == "block" and result["layer"] == "ipforward_v6"


def test_malformed_ip_is_decided_by_on_malformed_without_rows() -> None:
    broken = b"\x44" + bytes(IP(src=CLIENT, dst=SERVER) / UDP())[1:]
    text = everywhere("ipforward")
    (permitted,) = decide(text, [broken])
    (blocked,) = decide(text.replace("version: 1", "version: 1\nfaults: {on_malformed: block}"), [broken])
    assert permitted["verdict"] == "permit" and permitted["reason"] == "malformed" and permitted["layers"] == []
    assert blocked["verdict"] == "block" and blocked["malformed"] == permitted["malformed"] != ""
    assert blocked["layer"] is None


def test_a_block_of_an_ip_layer_stands_for_a_packet_malformed_above_ip() -> None:
    short = IP(src=CLIENT, dst=SERVER, proto=6) / Raw(b"abc")
    (stands,) = decide(policy("layer: ipforward, action: block, when: {ip_source_address: 192.0.2.1}"), [short])
    assert stands["reason"] == "filter" and stands["verdict"] == "block"
    (word,) = decide(policy("layer: ipforward, action: block, when: {ip_destination_port: 80}"), [short])
    assert word["reason"] == "malformed" and word["verdict"] == "permit" and len(word["layers"]) == 1


def test_a_discard_twin_is_classified_after_the_block_and_changes_nothing() -> None:
    text = policy("layer: inbound_transport, action: block", "layer: inbound_transport_discard, action: permit")
    (result,) = decide(text, [IP(src=CLIENT, dst=SERVER) / UDP()], hook="input")
    assert result["verdict"] == "block" and result["layer"] == "inbound_transport_v4"
    assert layers(result) == ["inbound_transport_v4", "inbound_transport_v4_discard"]
    assert result["layers"][1]["discard"] is True and "discard" not in result["layers"][0]


def test_an_absorbed_block_has_no_discard_row() -> None:
    text = policy(
        "layer: inbound_transport, action: block, absorb: true", "layer: inbound_transport_discard, action: permit"
    )
    (result,) = decide(text, [IP(src=CLIENT, dst=SERVER) / UDP()], hook="input")
    assert layers(result) == ["inbound_transport_v4"]


def test_a_visit_stops_at_the_first_layer_that_blocks() -> None:
    text = policy("layer: inbound_ippacket, action: block", "layer: inbound_transport, action: permit")
    (result,) = decide(text, [IP(src=CLIENT, dst=SERVER) / UDP()], hook="input")
    assert layers(result) == ["inbound_ippacket_v4"]


def test_icmp_type_and_code_are_the_ports_in_both_directions() -> None:
    text = policy("layer: [inbound_transport, outbound_transport], action: block, "
                  "when: {ip_protocol: [icmp, icmpv6], ip_local_port: [8, 128], icmp_code: 0}")  # fmt: skip
    v4 = IP(src=CLIENT, dst=SERVER) / ICMP(type=8)
    v6 = IPv6(src="2001:db8::1", dst="2001:db8::2") / ICMPv6EchoRequest()
    for hook in ("input", "output"):
        assert [r["verdict"] for r in decide(text, [v4, v6], hook=hook)] == ["block", "block"]


def test_a_full_flow_table_that_blocks_says_limit() -> None:
    head = "daemon: {flows: {max: 2, full: block}}"
    text = policy("layer: ale_auth_recv_accept, action: permit", head=head)
    packets = [IP(src=CLIENT, dst=SERVER) / UDP(sport=port, dport=53) for port in (1, 2, 3, 1)]
    results = decide(text, packets, hook="input")
    assert [r["reason"] for r in results] == ["filter", "filter", "limit", "flow"]
    assert results[2]["verdict"] == "block"


def test_a_full_flow_table_that_permits_evicts_the_oldest() -> None:
    head = "daemon: {flows: {max: 2, full: permit}}"
    text = policy("layer: ale_auth_recv_accept, action: permit", head=head)
    packets = [IP(src=CLIENT, dst=SERVER) / UDP(sport=port, dport=53) for port in (1, 2, 3, 1)]
    assert [r["reason"] for r in decide(text, packets, hook="input")] == ["filter"] * 4


def test_a_callout_that_raises_is_decided_by_on_error() -> None:
    head = 'callouts: [{name: bad, use: "wfpd.callouts.fixed:Fixed", options: {answer: raise}}]'
    for word in ("permit", "block"):
        text = policy(f"layer: ipforward, action: {{callout: bad}}, on_error: {word}", head=head)
        (result,) = decide(text, [IP(src=CLIENT, dst=SERVER) / UDP()])
        assert result["verdict"] == word and result["reason"] == "error"


def test_a_callout_slower_than_late_after_is_decided_by_on_late() -> None:
    head = (
        "faults: {on_late: block, late_after: 10ms}\n"
        'callouts: [{name: slow, use: "wfpd.callouts.fixed:Fixed", options: {answer: sleep, seconds: 0.05}}]'
    )
    text = policy("layer: ipforward, action: {callout: slow}", head=head)
    (result,) = decide(text, [IP(src=CLIENT, dst=SERVER) / UDP()])
    assert result["verdict"] == "block" and result["reason"] == "late"


def test_a_late_packet_has_a_row_for_the_layer_that_waited() -> None:
    head = (
        "faults: {late_after: 10ms}\n"
        "callouts: [{name: missing}, "
        '{name: slow, use: "wfpd.callouts.fixed:Fixed", options: {answer: sleep, seconds: 0.05}}]'
    )
    text = policy("layer: ipforward, action: {callout: slow}", head=head)
    (result,) = decide(text, [IP(src=CLIENT, dst=SERVER) / UDP()])
    assert (result["layer"], result["filter"]) == ("ipforward_v4", "f1")
    assert result["layers"] == [
        {"layer": "ipforward_v4", "action": "none", "right": "set", "sublayer": None, "filter": None,
         "callouts": ["slow"]}
    ]  # fmt: skip


def test_a_late_callout_of_a_discard_twin_leaves_the_block_as_it_is() -> None:
    head = (
        "faults: {on_late: permit, late_after: 10ms}\n"
        'callouts: [{name: slow, use: "wfpd.callouts.fixed:Fixed", options: {answer: sleep, seconds: 0.05}}]'
    )
    text = policy("layer: ipforward, action: block", "layer: ipforward_discard, action: {callout: slow}", head=head)
    (result,) = decide(text, [IP(src=CLIENT, dst=SERVER) / UDP()])
    assert (result["verdict"], result["reason"], result["filter"]) == ("block", "filter", "f1")
    assert [(row["layer"], row["callouts"]) for row in result["layers"]] == [
        ("ipforward_v4", []), ("ipforward_v4_discard", ["slow"])
    ]  # fmt: skip


def test_a_step_backwards_of_the_clock_counts_as_zero_and_the_clock_goes_on_from_there() -> None:
    text = everywhere("ale_auth_recv_accept")
    packet = IP(src=CLIENT, dst=SERVER) / UDP(sport=1, dport=53)
    results = decide(text, [packet] * 4, hook="input", times=[1000.0, 10.0, 69.0, 130.0])
    assert [r["reason"] for r in results] == ["filter", "flow", "flow", "filter"]


def test_a_row_lists_every_callout_however_many() -> None:
    use = 'use: "wfpd.callouts.fixed:Fixed", options: {answer: continue}'
    head = "callouts: [" + ", ".join(f"{{name: c{n}, {use}}}" for n in range(300)) + "]"
    text = policy(*(f"layer: ipforward, action: {{callout: c{n}}}" for n in range(300)), head=head)
    (result,) = decide(text, [IP(src=CLIENT, dst=SERVER) / UDP()])
    assert result["layers"][0]["callouts"] == [f"c{n}" for n in range(300)]


def test_an_audit_filter_takes_part_in_nothing() -> None:
    text = policy("layer: ipforward, action: block, mode: audit", "layer: ipforward, action: permit")
    (result,) = decide(text, [IP(src=CLIENT, dst=SERVER) / UDP()])
    assert result["verdict"] == "permit" and result["filter"] == "f2"


def test_what_is_not_ip_is_permitted_without_rows() -> None:
    (result,) = decide(everywhere("ipforward"), [b"\x00\x01\x02"])
    assert result["reason"] == "not_ip" and result["layers"] == []


def test_an_outbound_reset_that_belongs_to_no_flow_never_reaches_ale() -> None:
    text = everywhere("ale_auth_connect", "ale_auth_recv_accept", "outbound_transport")
    reset = IP(src=SERVER, dst=CLIENT) / TCP(sport=80, dport=4000, flags="RA")
    (result,) = decide(text, [reset], local=SERVER)
    assert layers(result) == ["outbound_transport_v4"]

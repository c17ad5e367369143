"""The behaviours that a re-implementation of WFP most easily gets wrong, each by name.

Those of transactions, lifetimes and notifications are in tests/unit/bfe/ (test_session.py, test_working.py).
"""

from __future__ import annotations

from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP

from tests.replaying import decide
from wfpd.config import load_change
from wfpd.errors import PolicyError

SUBLAYERS = "sublayers: [{name: high, weight: 0x9000}, {name: low, weight: 0x100}]\n"
FIXED = "wfpd.callouts.fixed:Fixed"
PACKET = IP(src="192.0.2.1", dst="198.51.100.1") / UDP(sport=1024, dport=53)


def filters(*entries: str) -> str:
    return "filters:\n" + "".join(f"  - {{layer: ipforward_v4, {entry}}}\n" for entry in entries)


def callout(name: str, answer: str, **options: Any) -> str:
    more = "".join(f", {key}: {str(value).lower()}" for key, value in options.items())
    return f'{{name: {name}, use: "{FIXED}", options: {{answer: {answer}{more}}}}}'


def one(text: str, packet: Any = PACKET, **words: Any) -> dict[str, Any]:
    """What is decided about one packet."""
    return decide("version: 1\n" + text, [packet], **words)[0]


def test_a_static_block_is_hard_and_a_callouts_block_is_soft() -> None:
    hard = one(SUBLAYERS + filters("name: b, sublayer: high, action: block", "name: p, sublayer: low, action: permit"))
    assert (hard["verdict"], hard["filter"], hard["layers"][0]["right"]) == ("block", "b", "clear")
    soft = one(
        SUBLAYERS
        + f"callouts: [{callout('c', 'block')}]\n"
        + filters(
            "name: b, sublayer: high, action: {callout: c, kind: terminating}", "name: p, sublayer: low, action: permit"
        )
    )
    assert (soft["verdict"], soft["filter"]) == ("permit", "p")


def test_every_sublayer_is_evaluated_though_one_above_has_blocked() -> None:
    line = one(
        SUBLAYERS
        + f"callouts: [{callout('c', 'none')}]\n"
        + filters(
            "name: b, sublayer: high, action: block", "name: i, sublayer: low, action: {callout: c, kind: inspection}"
        )
    )
    assert (line["verdict"], line["filter"], line["layers"][0]["callouts"]) == ("block", "b", ["c"])


def test_only_a_callouts_veto_overrides_a_hard_permit() -> None:
    permit = "name: p, sublayer: high, action: permit, flags: [clear_action_right]"
    static = one(SUBLAYERS + filters(permit, "name: b, sublayer: low, action: block"))
    assert (static["verdict"], static["filter"], static["veto"]) == ("permit", "p", False)
    vetoed = one(
        SUBLAYERS
        + f"callouts: [{callout('c', 'block')}]\n"
        + filters(permit, "name: v, sublayer: low, action: {callout: c, kind: terminating}")
    )
    assert (vetoed["verdict"], vetoed["filter"], vetoed["veto"], vetoed["reason"]) == ("block", "v", True, "veto")


def test_a_permit_has_to_be_given_at_each_layer() -> None:
    text = ("filters:\n  - {name: p, layer: inbound_ippacket_v4, action: permit, flags: [clear_action_right]}\n"
            "  - {name: b, layer: inbound_transport_v4, action: block}\n")  # fmt: skip
    line = one(text, hook="input")
    assert (line["verdict"], line["layer"], line["filter"]) == ("block", "inbound_transport_v4", "b")


def test_clear_action_right_makes_an_action_hard() -> None:
    for flag, verdict in (("", "block"), (", flags: [clear_action_right]", "permit")):
        line = one(SUBLAYERS + filters(f"name: p, sublayer: high, action: permit{flag}",
                                       "name: b, sublayer: low, action: block"))  # fmt: skip
        assert line["verdict"] == verdict


@pytest.mark.parametrize(
    ("kind", "flags", "verdict"),
    [
        ("terminating", "", "block"),
        ("unknown", "", "block"),
        ("inspection", "", "permit"),
        ("terminating", ", flags: [permit_if_callout_unregistered]", "permit"),
        ("unknown", ", flags: [permit_if_callout_unregistered]", "permit"),
    ],
)
def test_a_missing_callout_blocks_unless_it_only_inspects_or_the_flag_permits(
    kind: str, flags: str, verdict: str
) -> None:
    line = one("callouts: [{name: c}]\n" + filters(f"name: f, action: {{callout: c, kind: {kind}}}{flags}"))
    assert line["verdict"] == verdict
    assert line["layers"][0]["callouts"] == []


def test_a_terminating_callout_that_continues_blocks_and_an_inspection_callout_decides_nothing() -> None:
    for kind, answer, verdict in (("terminating", "continue", "block"), ("inspection", "block", "permit"),
                                  ("unknown", "continue", "permit")):  # fmt: skip
        line = one(f"callouts: [{callout('c', answer)}]\n" + filters(f"name: f, action: {{callout: c, kind: {kind}}}"))
        assert line["verdict"] == verdict, kind


def test_values_of_one_field_are_ored_and_fields_are_anded() -> None:
    text = filters("name: f, action: block, when: {ip_protocol: udp, ip_destination_port: [53, 123, 5000-5010]}")
    for port, verdict in ((53, "block"), (123, "block"), (5005, "block"), (54, "permit")):
        assert one(text, IP(dst="198.51.100.1") / UDP(dport=port))["verdict"] == verdict
    assert one(text, IP(dst="198.51.100.1") / TCP(dport=53))["verdict"] == "permit"
    negative = filters("name: f, action: block, when: {ip_destination_port: [{not_equal: 53}, {not_equal: 54}]}")
    assert one(negative)["verdict"] == "block"


def test_an_empty_field_matches_nothing_but_equal_to_empty() -> None:
    icmp = IP(src="192.0.2.1", dst="198.51.100.1") / ICMP()
    for condition, verdict in (("{not_equal: 53}", "permit"), ("{less: 60000}", "permit"),
                               ("{none_of: [53]}", "permit"), ("{equal: empty}", "block")):  # fmt: skip
        line = one(filters(f"name: f, action: block, when: {{ip_destination_port: {condition}}}"), icmp)
        assert line["verdict"] == verdict, condition


def test_no_value_is_converted_and_prefix_is_said_as_what_it_tests() -> None:
    def code(condition: str) -> str:
        with pytest.raises(PolicyError) as caught:
            load_change("version: 1\n" + filters(f"name: f, action: block, when: {{{condition}}}"))
        return caught.value.problems[0].code

    assert code("ip_protocol: 192.0.2.1") == "FWP_E_TYPE_MISMATCH"
    assert code("interface_name: {prefix: eth}") == "FWP_E_MATCH_TYPE_MISMATCH"
    assert code("ip_source_address: {flags_all_set: 1}") == "FWP_E_MATCH_TYPE_MISMATCH"


def test_addresses_and_ports_are_compared_in_host_order() -> None:
    text = filters(
        "name: f, action: block, when: {ip_source_address: {less: 192.0.2.2}, ip_destination_port: {less: 256}}"
    )
    assert one(text)["verdict"] == "block"
    assert one(text, IP(src="192.0.3.0") / UDP(dport=53))["verdict"] == "permit"
    assert one(text, IP(src="1.0.0.192") / UDP(dport=256))["verdict"] == "permit"


def test_direction_is_the_packets_at_stream_packet_and_the_connections_at_flow_established() -> None:
    text = """filters:
  - {name: out, layer: stream_packet_v4, action: block, when: {direction: outbound, tcp_flags: [rst]}}
  - {name: est, layer: ale_flow_established_v4, action: block, when: {direction: outbound}}
"""
    client, server = "203.0.113.1", "198.51.100.1"
    syn = IP(src=client, dst=server) / TCP(sport=1024, dport=80, flags="S")
    answer = IP(src=server, dst=client) / TCP(sport=80, dport=1024, flags="SA")
    lines = decide("version: 1\n" + text, [syn, answer], local=f"{client}/32")
    assert [line["verdict"] for line in lines] == ["permit", "block"]
    assert lines[1]["filter"] == "est"  # An inbound segment of a connection that is outbound.


def test_icmp_type_and_code_are_the_ports() -> None:
    text = ("filters:\n  - {name: f, layer: inbound_transport_v4, action: block, "
            "when: {ip_protocol: icmp, ip_local_port: 8, ip_remote_port: 0}}\n")  # fmt: skip
    assert one(text, IP() / ICMP(type=8), hook="input")["verdict"] == "block"
    assert one(text, IP() / ICMP(type=13), hook="input")["verdict"] == "permit"
    with pytest.raises(PolicyError, match="FWP_E_DUPLICATE_CONDITION"):
        load_change("version: 1\n" + text.replace("ip_remote_port: 0", "icmp_type: 8"))


def test_a_small_weight_selects_a_range_and_the_more_specific_filter_outranks() -> None:
    policy = load_change("version: 1\n" + filters(
        "name: none, action: block", "name: narrow, action: block, when: {ip_protocol: udp, ip_destination_port: 53}",
        "name: wide, action: block, when: {ip_protocol: udp, ip_destination_port: 1-1000}",
        "name: ranged, action: block, weight: {range: 1}"))  # fmt: skip
    weight = {item.name: item.weight for item in policy.filters}
    assert weight["none"] < weight["wide"] < weight["narrow"] < 1 << 60 <= weight["ranged"] < 2 << 60


def test_an_authorized_flow_passes_in_both_directions_without_classification() -> None:
    text = """filters:
  - {name: f, layer: ale_auth_connect_v4, action: permit}
  - {name: a, layer: ale_auth_recv_accept_v4, action: block}
"""
    ask = IP(src="203.0.113.1", dst="198.51.100.1") / UDP(sport=1024, dport=53)
    answer = IP(src="198.51.100.1", dst="203.0.113.1") / UDP(sport=53, dport=1024)
    lines = decide("version: 1\n" + text, [ask, answer, answer], local="203.0.113.1/32")
    assert [(line["verdict"], line["reason"], line["filter"]) for line in lines] == [
        ("permit", "filter", "f"), ("permit", "flow", "f"), ("permit", "flow", "f"),
    ]  # fmt: skip


def test_an_absorbed_block_visits_no_discard_layer_and_a_twins_block_changes_no_verdict() -> None:
    twin = "  - {name: t, layer: inbound_transport_v4_discard, action: block}\n"
    for absorb, rows in (("", 2), (", absorb: true", 1)):
        text = f"filters:\n  - {{name: b, layer: inbound_transport_v4, action: block{absorb}}}\n{twin}"
        line = one(text, hook="input")
        assert (line["verdict"], line["filter"], len(line["layers"])) == ("block", "b", rows)

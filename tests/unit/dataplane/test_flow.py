"""The flow table's own promises: a fixed capacity and counted evictions."""

from __future__ import annotations

import pytest
from scapy.layers.inet import IP, TCP, UDP

from tests.replaying import decide
from wfpd.dataplane._flow import Flows

AUTHORIZE = """version: 1
daemon: {{flows: {{max: {maximum}, full: {full}}}}}
filters: [{{name: all, layer: ale_auth_recv_accept, action: permit}}]
"""


def test_a_table_holds_at_least_what_was_asked_for_and_starts_empty() -> None:
    flows = Flows(20000)
    assert flows.capacity >= 20000 and len(flows) == 0
    assert flows.evictions() == {"timeout": 0, "half_open": 0, "oldest": 0}


def test_a_table_for_no_flow_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Flows(0)


def test_half_open_flows_make_room_before_others_and_even_where_a_full_table_blocks() -> None:
    keep = IP(src="192.0.2.1", dst="192.0.2.2") / UDP(sport=1, dport=53)
    flood = [IP(src="192.0.2.9", dst="192.0.2.2") / TCP(sport=port, dport=80, flags="S") for port in range(1, 30)]
    results = decide(AUTHORIZE.format(maximum=2, full="block"), [keep, *flood, keep], hook="input",
                     times=[0.0] * 31)  # fmt: skip
    assert {result["verdict"] for result in results} == {"permit"}
    assert results[-1]["reason"] == "flow"


def test_a_closing_flow_is_forgotten_after_ten_seconds() -> None:
    packets = [IP(src="192.0.2.1", dst="192.0.2.2") / TCP(sport=4, dport=80, flags=flags) for flags in ("S", "R", "A")]
    near = decide(AUTHORIZE.format(maximum=9, full="permit"), packets, hook="input", times=[0, 1, 10])
    late = decide(AUTHORIZE.format(maximum=9, full="permit"), packets, hook="input", times=[0, 1, 12])
    assert near[2]["reason"] == "flow" and late[2]["reason"] == "filter"

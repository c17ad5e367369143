"""What is said of a filter of the tables is, read again, the same filter."""

from __future__ import annotations

import json

import pytest

from tests import builders
from wfpd.compiler.pack import pack
from wfpd.config import load_change
from wfpd.dataplane import Snapshot, filter_conditions, live_ids
from wfpd.model.policy import Policy
from wfpd.observe.described import describe_filter

CONDITIONS = [
    {"ip_protocol": "tcp", "ip_destination_port": [22, "8000-8100", {"greater": 60000}]},
    {"ip_source_address": ["192.0.2.0/24", "198.51.100.1", "203.0.113.1-203.0.113.9"]},
    {"ip_source_address": {"none_of": ["192.0.2.0/24", "10.0.0.1-10.0.0.3"]}, "ip_protocol": {"not_equal": "udp"}},
    {"tcp_flags": ["syn", "ack"]},
    {"tcp_flags": {"flags_all_set": ["syn"]}, "flags": {"flags_none_set": ["is_loopback"]}},
    {"tcp_flags": [{"equal": ["syn"]}, {"flags_any_set": ["rst", "fin"]}]},
    {"tcp_flags": {"not_equal": ["syn"]}},
    {"ip_dscp": ["ef", "af11", 63], "ip_ttl": {"less_or_equal": 5}},
    {"ip_protocol": {"equal": "empty"}},
    {"interface_name": ["eth0", {"starts_with": "veth"}, {"ends_with": "0"}, {"contains": "br"}, {"glob": "w*n?"}]},
    {"interface_name": {"equal": {"text": "empty"}}},
    {"interface_name": {"none_of": ["eth0", "lo"]}},
    {"interface_name": {"range": ["a", "b"]}},
    {"ip_length": {"range": "0-1500"}, "packet_mark": {"flags_all_set": "0x10"}},
    {"icmp_type": ["echo_request", 13], "icmp_code": 0, "ip_protocol": "icmp"},
    {"ip_fragment": "first", "ip_destination_address_type": "multicast"},
    {},
]


AT_V6 = {
    "192.0.2.0/24": "2001:db8::/32", "198.51.100.1": "2001:db8::1", "203.0.113.": "2001:db8:1::",
    "10.0.0.": "2001:db8:2::", '"icmp"': '"ipv6-icmp"',
}  # fmt: skip


def read(*entries: object) -> Policy:
    return load_change(json.dumps({"version": 1, "filters": entries}))


def tables(policy: Policy) -> Snapshot:
    return builders.snapshot(policy)


@pytest.mark.parametrize("when", CONDITIONS, ids=json.dumps)
@pytest.mark.parametrize("layer", ["ipforward_v4", "ipforward_v6"])
def test_conditions_read_again_are_the_same(when: dict[str, object], layer: str) -> None:
    if layer.endswith("v6"):
        text = json.dumps(when)
        for one, other in AT_V6.items():
            text = text.replace(one, other)
        when = json.loads(text)
    entry = {"name": "f", "layer": layer, "action": "block", "when": when}
    one = tables(read(entry))
    described = describe_filter(one, 0)
    other = tables(read(entry | {"when": described["when"]}))
    assert filter_conditions(one, 0) == filter_conditions(other, 0), described["when"]


def test_everything_else_of_a_filter_read_again_is_the_same() -> None:
    entry = {
        "name": "f", "layer": "inbound_transport_v4", "action": "block", "absorb": True, "weight": 77, "log": True,
        "metrics": True, "mode": "audit", "on_error": "block", "flags": ["clear_action_right", "indexed"],
    }  # fmt: skip
    described = describe_filter(tables(read(entry)), 0)
    assert {name: described[name] for name in entry} == entry
    again = {name: value for name, value in described.items() if name not in ("callout", "provider", "when")}
    assert pack(read({name: value for name, value in again.items() if value is not None})) == pack(
        read(entry | {"key": described["key"]})
    )
    reply = {"name": "f", "layer": "inbound_transport_v4", "action": "block", "reply": "tcp_reset"}
    assert describe_filter(tables(read(reply)), 0)["reply"] == "tcp_reset"


def test_callouts_and_sets_are_named() -> None:
    text = {"version": 1, "callouts": [{"name": "c"}], "sets": {"s": {"type": "port", "values": [1, "5-9"]}},
            "provider_contexts": [{"name": "data"}],
            "filters": [{"name": "f", "layer": "ipforward_v4", "action": {"callout": "c", "kind": "inspection"},
                         "provider_context": "data", "when": {"ip_source_port": "$s"}}]}  # fmt: skip
    found = tables(load_change(json.dumps(text), callouts=True))
    described = describe_filter(found, next(iter(live_ids(found))))
    assert described["action"] == {"callout": "c", "kind": "inspection"}
    assert described["when"] == {"ip_source_port": "$s"}
    assert described["provider_context"] == "data"

"""What a compiled callout is told, beside what a Python one sees, and what its answers become."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.packet import Raw

from wfpd.callouts._told import Told
from wfpd.compiler.pack import pack
from wfpd.config import load_policy
from wfpd.dataplane import Flows, Replayer, Snapshot
from wfpd.model.fields import FIELD
from wfpd.model.layers import LAYER

PACKETS = {
    "UDP": IP(src="192.0.2.1", dst="198.51.100.2", ttl=9) / UDP(sport=9, dport=53) / Raw(b"question"),
    "UDP over IPv6": IPv6(src="2001:db8::1", dst="2001:db8::2") / UDP(sport=9, dport=53) / Raw(b"question"),
    "a SYN": IP(src="192.0.2.1", dst="198.51.100.2") / TCP(sport=9, dport=80, flags="S", options=[("MSS", 1400)]),
    "data": IP(src="192.0.2.1", dst="198.51.100.2") / TCP(sport=9, dport=80, flags="PA") / Raw(b"GET /"),
    "a ping": IP(src="192.0.2.1", dst="198.51.100.2") / ICMP(type=8, id=7),
    "a ping over IPv6": IPv6(src="2001:db8::1", dst="2001:db8::2") / ICMPv6EchoRequest(id=7),
    "a fragment": IP(src="192.0.2.1", dst="198.51.100.2", frag=100, proto=17) / Raw(b"the rest"),
}
PLACES = [
    ("forward", "ipforward"), ("input", "inbound_ippacket"), ("input", "inbound_transport"),
    ("input", "ale_auth_recv_accept"), ("input", "ale_flow_established"), ("input", "datagram_data"),
    ("output", "ale_auth_connect"), ("output", "outbound_transport"), ("output", "stream_packet"),
]  # fmt: skip


def tables(folder: Path, layer: str, callout: Any, *, kind: str = "unknown", on_error: int = 2) -> Snapshot:
    path = folder / "policy.yaml"
    path.write_text(
        f"version: 1\ncallouts: [{{name: c}}]\n"
        f"filters: [{{name: one, layer: {layer}, action: {{callout: c, kind: {kind}}}}}]\n"
    )
    policy = load_policy(path, trust="warn")
    return Snapshot(pack(policy), [callout], generation=1, on_error=on_error, on_malformed=1, on_late=1, flows_full=1)


def visit(snapshot: Snapshot, packet: Any, hook: str, **given: Any) -> dict[str, Any]:
    result: dict[str, Any] = Replayer(snapshot, Flows(16)).visit(
        bytes(packet), hook, 77, interface_name=b"eth7", mark=5, **given
    )
    return result


def number(value: Any) -> tuple[int, int]:
    """Both halves of a value as Python sees it."""
    whole = int(value)
    return whole >> 64, whole & (1 << 64) - 1


@pytest.mark.parametrize("packet", PACKETS.values(), ids=PACKETS)
@pytest.mark.parametrize(("hook", "layer"), PLACES)
def test_it_is_told_what_a_python_callout_sees(tmp_path: Path, hook: str, layer: str, packet: Any) -> None:
    told, seen = Told(), {}

    def classify(c: Any) -> None:
        seen.update(
            {FIELD[name].id: value for name in c.field_names() if (value := c.value(name)) is not None},
        )

    visit(tables(tmp_path, layer, told), packet, hook)
    visit(tables(tmp_path, layer, classify), packet, hook)
    values = told.values()
    assert values.keys() == seen.keys()
    for field, value in seen.items():
        if isinstance(value, str):
            assert values[field][1] == len(value)
        else:
            assert values[field] == number(value)
    if told.call()["size"]:
        assert told.call()["layer"] == LAYER[layer].index


def test_the_members_of_a_call_are_the_packets(tmp_path: Path) -> None:
    told = Told()
    packet = bytes(PACKETS["UDP"])
    visit(tables(tmp_path, "ipforward", told), packet, "forward")
    found = told.call()
    expected = {
        "hook": 2, "family": 4, "outbound": 0, "action": 0, "right": 1, "discard": 0, "protocol": 17,
        "captured": len(packet), "original": len(packet), "transport_offset": 20, "payload_offset": 28,
        "payload_length": 8, "n_payload": 8, "now_ns": 77, "flow_id": 0, "payload_fits": True,
    }  # fmt: skip
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize("cut", [20, 25, 28, 30])
def test_a_payload_that_is_not_all_there_is_told_as_far_as_it_is(tmp_path: Path, cut: int) -> None:
    told = Told()
    packet = bytes(PACKETS["UDP"])
    replayer = Replayer(tables(tmp_path, "ipforward", told), Flows(16))
    replayer.visit(packet[:cut], "forward", 77, original=len(packet))
    assert told.call()["n_payload"] == max(0, cut - 28) and told.call()["payload_fits"]


def test_an_address_reaches_it_in_host_order(tmp_path: Path) -> None:
    told = Told()
    for name, source in (("UDP", "192.0.2.1"), ("UDP over IPv6", "2001:db8::1")):
        visit(tables(tmp_path, "ipforward", told), PACKETS[name], "forward")
        assert told.values()[FIELD["ip_source_address"].id] == number(ipaddress.ip_address(source))


@pytest.mark.parametrize(
    ("answer", "verdict", "right"),
    [
        ({"kind": 0}, "permit", "set"),
        ({"kind": 1}, "permit", "set"),
        ({"kind": 1, "clear_right": 1}, "permit", "clear"),
        ({"kind": 2}, "block", "set"),
        ({"kind": 2, "clear_right": 200}, "block", "clear"),
    ],
)
def test_its_answers_are_those_of_any_callout(tmp_path: Path, answer: dict[str, int], verdict: str, right: str) -> None:
    result = visit(tables(tmp_path, "ipforward", Told(**answer)), PACKETS["UDP"], "forward")
    assert (result["verdict"], result["rows"][0][2]) == (verdict, right)
    assert result["reason"] == ("callout" if answer["kind"] else "no_match")


def test_replies_and_absorb_are_taken_where_they_are_possible(tmp_path: Path) -> None:
    refused = visit(tables(tmp_path, "inbound_transport", Told(kind=2, reply=1)), PACKETS["a SYN"], "input")
    assert (refused["verdict"], refused["reply"]) == ("block", "tcp_reset")
    hidden = visit(tables(tmp_path, "inbound_transport", Told(kind=2, absorb=1)), PACKETS["a SYN"], "input")
    assert (hidden["reason"], hidden["absorb"]) == ("callout", True)


@pytest.mark.parametrize(("on_error", "verdict"), [(1, "permit"), (2, "block")])
@pytest.mark.parametrize(
    "answer",
    [
        {"kind": 3}, {"kind": 4}, {"kind": 255}, {"kind": 2, "reply": 3}, {"kind": 2, "absorb": 1, "reply": 1},
        {"kind": 2, "absorb": 1}, {"kind": 1, "absorb": 1}, {"kind": 1, "reply": 1},
    ],
)  # fmt: skip
def test_an_answer_that_cannot_be_given_is_decided_by_on_error(
    tmp_path: Path, answer: dict[str, int], on_error: int, verdict: str
) -> None:
    snapshot = tables(tmp_path, "ipforward", Told(**answer), on_error=on_error)
    result = visit(snapshot, PACKETS["UDP"], "forward")
    assert (result["verdict"], result["reason"], result["reply"], result["absorb"]) == (verdict, "error", None, False)
    assert snapshot.root.watches()["c"]["failed"] == 1


def test_answers_in_its_place_leave_it_alone(tmp_path: Path) -> None:
    told = Told(kind=2)
    result = visit(
        tables(tmp_path, "ipforward", told), PACKETS["UDP"], "forward", answers=lambda callout: ("permit", False)
    )
    assert result["verdict"] == "permit" and told.call()["size"] == 0


def test_the_compiled_side_is_the_one_that_is_asked(tmp_path: Path) -> None:
    class Both:
        def __init__(self) -> None:
            self.told = Told(kind=1)
            self.native = self.told.native

        def classify(self, c: Any) -> None:
            raise AssertionError("the compiled side is there")

    both = Both()
    result = visit(tables(tmp_path, "ipforward", both.classify), PACKETS["UDP"], "forward")
    assert result["reason"] == "callout" and both.told.call()["size"] > 0


def test_a_discard_twins_callout_is_told_so(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(
        "version: 1\ncallouts: [{name: c}]\nfilters:\n  - {name: no, layer: inbound_transport, action: block}\n"
        "  - {name: twin, layer: inbound_transport_discard, action: {callout: c, kind: inspection}}\n"
    )
    told = Told()
    policy = load_policy(path, trust="warn")
    snapshot = Snapshot(pack(policy), [told], generation=1, on_error=2, on_malformed=1, on_late=1, flows_full=1)
    assert visit(snapshot, PACKETS["UDP"], "input")["verdict"] == "block"
    assert told.call()["discard"] == 1 and told.call()["layer"] == LAYER["inbound_transport"].index

"""What a compiled callout is told, beside what a Python one sees, and what its answers become."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP
from scapy.packet import Raw

from tests.unit.dataplane.native import OK, PACKETS, tables, visit
from wfpd.callouts._told import Told
from wfpd.compiler.pack import pack
from wfpd.config import load_policy
from wfpd.dataplane import Flows, Host, Replayer, Snapshot
from wfpd.errors import ActionRefused
from wfpd.model.fields import FIELD
from wfpd.model.layers import LAYER

PLACES = [
    ("forward", "ipforward"), ("input", "inbound_ippacket"), ("input", "inbound_transport"),
    ("input", "ale_auth_recv_accept"), ("input", "ale_flow_established"), ("input", "datagram_data"),
    ("output", "ale_auth_connect"), ("output", "outbound_transport"), ("output", "stream_packet"),
]  # fmt: skip


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


def as_metadata(told: Told) -> dict[str, Any]:
    """Metadata by Python's names, of a call's members."""
    found = told.call()
    return told.metadata() | {
        "flow_handle": found["flow_id"] != 0, "ip_header_size": found["transport_offset"] or None,
        "compartment_id": found["compartment"] or None,
        "packet_direction": None if found["hook"] == 2 else ("inbound", "outbound")[found["outbound"]],
        "ale_classify_required": bool(found["ale_classify_required"]),
        "source_interface_index": found["in_interface"] or None,
        "destination_interface_index": found["out_interface"] or None,
    }  # fmt: skip


@pytest.mark.parametrize("packet", PACKETS.values(), ids=PACKETS)
@pytest.mark.parametrize(("hook", "layer"), PLACES)
def test_it_is_told_the_metadata_that_a_python_callout_sees(tmp_path: Path, hook: str, layer: str, packet: Any) -> None:
    told, seen = Told(), {}

    def classify(c: Any) -> None:
        seen.update(c.metadata.items())
        seen.update({name: bool(value) for name, value in c.metadata.items() if name == "flow_handle"})

    for one in (told, classify):
        replayer = Replayer(tables(tmp_path, layer, one), Flows(16), Host(compartment=77))
        replayer.visit(bytes(packet), hook, 77, in_interface=3, out_interface=4)
    if told.calls:
        known = as_metadata(told)
        assert seen and {name: known[name] for name in seen if name in known} == {
            name: value for name, value in seen.items() if name in known
        }
        assert {value for name, value in seen.items() if name not in known} <= {None}
    else:
        assert not seen


@pytest.mark.parametrize("name", ["a first fragment", "a fragment of IPv6", "a ping", "a ping over IPv6"])
def test_of_what_the_copy_lacks_it_knows_no_more_than_python(tmp_path: Path, name: str) -> None:
    packet, found = bytes(PACKETS[name]), []
    for cut in range(len(packet), 0, -1):
        told, seen = Told(), []
        for one in (told, lambda c: seen.append(dict(c.metadata.items()))):  # noqa: B023
            replayer = Replayer(tables(tmp_path, "inbound_ippacket", one), Flows(16))
            replayer.visit(packet[:cut], "input", 77, original=len(packet))
        assert told.calls == len(seen)
        found += [(told.metadata()["fragment_data"], seen[0]["fragment_data"])] if seen else []
    assert [one for one, _ in found] == [one for _, one in found]
    assert bool(found[0][0]) == ("fragment" in name)


def test_a_copy_that_breaks_off_in_an_echo_has_no_echo(tmp_path: Path) -> None:
    told, packet = Told(), bytes(PACKETS["a ping"])
    for cut, expected in ((28, (7, 0)), (27, None), (24, None), (20, None)):
        replayer = Replayer(tables(tmp_path, "ipforward", told), Flows(16))
        replayer.visit(packet[:cut], "forward", 77, original=len(packet))
        assert told.metadata()["icmp_id_and_sequence"] == expected


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
        {"kind": 3}, {"kind": 4}, {"kind": 10}, {"kind": 255}, {"kind": 2, "reply": 3},
        {"kind": 2, "absorb": 1, "reply": 1}, {"kind": 2, "absorb": 1}, {"kind": 1, "absorb": 1},
        {"kind": 1, "reply": 1},
    ],
)  # fmt: skip
def test_an_answer_that_cannot_be_given_is_decided_by_on_error(
    tmp_path: Path, answer: dict[str, int], on_error: int, verdict: str
) -> None:
    made = tables(tmp_path, "ipforward", Told(**answer), on_error=on_error)
    result = visit(made, PACKETS["UDP"], "forward")
    assert (result["verdict"], result["reason"], result["reply"], result["absorb"]) == (verdict, "error", None, False)
    assert made.root.watches()["c"]["failed"] == 1


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
    made = Snapshot(pack(policy), [told], generation=1, on_error=2, on_malformed=1, on_late=1, flows_full=1)
    assert visit(made, PACKETS["UDP"], "input")["verdict"] == "block"
    assert told.call()["discard"] == 1 and told.call()["layer"] == LAYER["inbound_transport"].index


@pytest.mark.parametrize("packet", [PACKETS[name] for name in ("UDP", "UDP over IPv6", "data", "a ping")])
@pytest.mark.parametrize("offset", [-1, 1, 8, 0, 14, 200])
def test_it_writes_what_a_python_callout_writes(tmp_path: Path, packet: Any, offset: int) -> None:
    data = bytes(packet)
    offset = len(data) - 1 if offset < 0 else offset
    told, refused = Told(steps=[("writable", 0, 0), ("write", offset, b"X")]), []

    def classify(c: Any) -> None:
        try:
            c.write(offset, b"X")
        except ActionRefused as error:
            refused.append(error)

    compiled = visit(tables(tmp_path, "ipforward", told), packet, "forward")
    assert compiled["modified"] == visit(tables(tmp_path, "ipforward", classify), packet, "forward")["modified"]
    assert told.statuses[0] == OK and bool(told.statuses[1]) == bool(refused)
    assert (compiled["modified"] is None) == bool(refused)


def test_a_packet_that_is_replaced_has_other_members(tmp_path: Path) -> None:
    longer = bytes(IP(src="192.0.2.1", dst="198.51.100.2") / UDP(sport=9, dport=53) / Raw(b"a longer question"))
    told = Told(steps=[("replace", 0, longer)])
    result = visit(tables(tmp_path, "ipforward", told), PACKETS["UDP"], "forward")
    assert result["modified"] == longer and told.statuses == [OK]
    assert (told.call()["payload_length"], told.after()["payload_length"]) == (8, 17)
    assert told.after()["captured"] == told.after()["original"] == len(longer)


def test_a_cut_packet_is_not_writable(tmp_path: Path) -> None:
    packet, told = bytes(PACKETS["UDP"]), Told(steps=[("writable", 0, 0), ("write", 1, b"X"), ("replace", 0, b"")])
    Replayer(tables(tmp_path, "ipforward", told), Flows(16)).visit(packet[:30], "forward", 77, original=len(packet))
    assert told.statuses[:2] == [1, 1] and told.statuses[2] != OK


@pytest.mark.parametrize(("one_side", "cut"), [(0, True), (1, False)])
def test_a_reset_is_of_both_ends_unless_it_says_otherwise(tmp_path: Path, one_side: int, cut: bool) -> None:
    told = Told(kind=2, reply=1, one_side=one_side)
    replayer = Replayer(tables(tmp_path, "ipforward", told), Flows(16))
    data = bytes(PACKETS["data"])
    replayer.visit(data, "forward", 77)
    told.say()
    replayer.visit(data, "forward", 78)
    assert told.calls == (1 if cut else 2)

"""What a compiled callout is told, beside what a Python one sees, and what its answers become."""

from __future__ import annotations

import gc
import ipaddress
import json
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment
from scapy.packet import Raw

from tests.builders import a_filter, a_policy, callout, slot, snapshot
from tests.registering import Decided
from tests.streams import Conversation
from wfpd.callouts._told import Told
from wfpd.compiler.pack import pack
from wfpd.config import load_policy
from wfpd.dataplane import Flows, Host, Replayer, Snapshot
from wfpd.errors import ActionRefused
from wfpd.model.fields import FIELD
from wfpd.model.layers import LAYER
from wfpd.model.policy import Action, Word

PACKETS = {
    "UDP": IP(src="192.0.2.1", dst="198.51.100.2", ttl=9) / UDP(sport=9, dport=53) / Raw(b"question"),
    "UDP over IPv6": IPv6(src="2001:db8::1", dst="2001:db8::2") / UDP(sport=9, dport=53) / Raw(b"question"),
    "a SYN": IP(src="192.0.2.1", dst="198.51.100.2") / TCP(sport=9, dport=80, flags="S", options=[("MSS", 1400)]),
    "data": IP(src="192.0.2.1", dst="198.51.100.2") / TCP(sport=9, dport=80, flags="PA") / Raw(b"GET /"),
    "a ping": IP(src="192.0.2.1", dst="198.51.100.2") / ICMP(type=8, id=7),
    "a ping over IPv6": IPv6(src="2001:db8::1", dst="2001:db8::2") / ICMPv6EchoRequest(id=7),
    "a fragment": IP(src="192.0.2.1", dst="198.51.100.2", frag=100, proto=17) / Raw(b"the rest"),
    "a first fragment": IP(src="192.0.2.1", dst="198.51.100.2", id=7, flags="MF")
    / UDP(sport=9, dport=53, len=99)
    / Raw(b"x" * 16),
    "an echo's answer": IP(src="192.0.2.1", dst="198.51.100.2") / ICMP(type=0, id=7, seq=3),
    "unreachable": IP(src="192.0.2.1", dst="198.51.100.2") / ICMP(type=3, code=1) / IP(dst="192.0.2.1") / UDP(),
    "a fragment of IPv6": IPv6(src="2001:db8::1", dst="2001:db8::2")
    / IPv6ExtHdrDestOpt()
    / IPv6ExtHdrFragment(id=1 << 31, offset=5, m=1, nh=17)
    / (b"x" * 8),
    "an atomic fragment": IPv6(src="2001:db8::1", dst="2001:db8::2")
    / IPv6ExtHdrFragment(id=5, nh=17)
    / UDP(sport=9, dport=53),
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


def visit(policy: Snapshot, packet: Any, hook: str, **given: Any) -> dict[str, Any]:
    result: dict[str, Any] = Replayer(policy, Flows(16)).visit(
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


# ------------------------------------------------------------------------------------- contexts

CONTEXTS = """version: 1
callouts: [{name: c, use: "m:C"}]
filters:
  - {name: authorize, layer: ale_auth_recv_accept, action: permit}
  - {name: ask, layer: inbound_transport, action: {callout: c, kind: unknown}}
"""
TRANSPORT, STREAM_LAYER = LAYER["inbound_transport"].index, LAYER["stream"].index
OK, PARAMETER, NO_FLOW, EXISTS, NOT_FOUND = 0, 10, 11, 12, 14
QUESTION = IP(src="198.51.100.2", dst="192.0.2.1") / UDP(sport=9, dport=53) / Raw(b"question")


def decided(folder: Path, told: Told, text: str = CONTEXTS, **members: Any) -> Decided:
    class Owner:
        native = told.native

    for name, value in members.items():
        setattr(Owner, name, value)
    return Decided(folder, text, {"c": Owner()})


def test_a_context_comes_back_and_its_end_is_told_without_the_interpreter(tmp_path: Path) -> None:
    told = Told(steps=[("set", TRANSPORT, 77)])
    run = decided(tmp_path, told)
    run.send(QUESTION)
    assert (told.statuses, told.call()["flow_context"], told.after()["flow_context"]) == ([OK], 0, 77)
    flow = told.call()["flow_id"]
    assert flow > 0 and told.ended == []
    run.send(QUESTION)
    assert (told.call()["flow_id"], told.call()["flow_context"], told.statuses) == (flow, 77, [EXISTS])
    run.replay.close()
    assert told.ended == [(flow, 77)]


def test_a_context_that_is_removed_is_told_as_ended(tmp_path: Path) -> None:
    steps: list[tuple[str, int, int]] = [("set", TRANSPORT, 5), ("remove", TRANSPORT, 0), ("remove", TRANSPORT, 0)]
    told = Told(steps=steps)
    run = decided(tmp_path, told)
    run.send(QUESTION)
    assert (told.statuses, told.after()["flow_context"]) == ([OK, OK, NOT_FOUND], 0)
    assert told.ended == [(told.call()["flow_id"], 5)]


def test_contexts_of_other_layers_are_kept_apart(tmp_path: Path) -> None:
    told = Told(steps=[("set", STREAM_LAYER, 5), ("set", STREAM_LAYER + 16, 6)])
    run = decided(tmp_path, told)
    run.send(QUESTION)
    assert (told.statuses, told.after()["flow_context"]) == ([OK, OK], 0)
    run.replay.close()
    assert sorted(value for _, value in told.ended) == [5, 6]


@pytest.mark.parametrize("where", [13, 15, 32, 255, 1 << 31])
def test_a_context_of_no_layer_is_refused(tmp_path: Path, where: int) -> None:
    told = Told(steps=[("set", where, 1), ("remove", where, 0)])
    decided(tmp_path, told).send(QUESTION)
    assert told.statuses == [PARAMETER, PARAMETER]


def test_a_context_of_nothing_and_one_without_flow_delete_are_refused(tmp_path: Path) -> None:
    empty, keepless = Told(steps=[("set", TRANSPORT, 0)]), Told(steps=[("set", TRANSPORT, 1)], keeps=False)
    for told in (empty, keepless):
        decided(tmp_path, told).send(QUESTION)
        assert told.statuses == [PARAMETER]


def test_without_a_flow_there_is_no_context(tmp_path: Path) -> None:
    told = Told(steps=[("set", TRANSPORT, 1), ("remove", TRANSPORT, 0)])
    run = decided(tmp_path, told, CONTEXTS.replace("ale_auth_recv_accept", "inbound_ippacket"))
    run.send(QUESTION)
    assert (told.statuses, told.call()["flow_id"]) == ([NO_FLOW, NO_FLOW], 0)


def test_a_context_of_a_flow_that_its_packet_does_not_make_ends(tmp_path: Path) -> None:
    told = Told(kind=2, steps=[("set", TRANSPORT, 9)])
    run = decided(tmp_path, told)
    assert run.send(QUESTION)["verdict"] == "block"
    run.send(QUESTION)
    assert [value for _, value in told.ended] == [9, 9] and told.statuses == [OK]


def test_one_that_is_conditional_on_flow_is_asked_of_flows_with_its_context_only(tmp_path: Path) -> None:
    told = Told(kind=2)
    run = decided(tmp_path, told, conditional_on_flow=True)
    assert run.send(QUESTION)["verdict"] == "permit" and told.calls == 0
    flow, transport = run.replay.visits[-1][1]["flow_id"], slot("inbound_transport")
    assert run.replay.flows.contexts.add_number(flow, transport, run.items["c"].number, 5) == "ok"
    assert run.send(QUESTION)["verdict"] == "block"
    assert (told.calls, told.call()["flow_context"], told.call()["flow_id"]) == (1, 5, flow)


GIVEN = """version: 1
callouts: [{name: c, use: "m:C"}, {name: other, use: "m:C"}, {name: bare}]
provider_contexts:
  - {name: p, data: {rate: [5, 1.5, null], name: "käse \U0001f9c0"}}
  - {name: empty}
  - {name: text, data: x}
filters:
  - {name: authorize, layer: ale_auth_recv_accept, action: permit}
  - {name: give, layer: ale_flow_established, action: {callout: c, kind: unknown}, provider_context: p}
  - {name: ask, layer: datagram_data, action: {callout: other, kind: unknown}CONTEXT}
"""
DATAGRAM, NO_CALLOUT = LAYER["datagram_data"].index, 15


class Other:
    """A callout that is called for flows with its context only."""

    conditional_on_flow = True

    def __init__(self, told: Told) -> None:
        self.told, self.native = told, told.native


class OtherInPython:
    conditional_on_flow = True

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.gone: list[Any] = []

    def classify(self, c: Any) -> None:
        self.seen.append(c.flow_context)

    def flow_delete(self, f: Any) -> None:
        self.gone.append((f.layer, f.context))


def given(folder: Path, told: Told, other: object, context: str = "") -> Decided:
    class Owner:
        native = told.native

    return Decided(folder, GIVEN.replace("CONTEXT", context), {"c": Owner(), "other": other})


@pytest.mark.parametrize("family", [4, 6])
def test_it_gives_another_compiled_callout_its_context(tmp_path: Path, family: int) -> None:
    told, other = Told(steps=[("set_of", DATAGRAM, ("other", 77))]), Other(Told(kind=2))
    run = given(tmp_path, told, other)
    packet = QUESTION if family == 4 else IPv6(src="2001:db8::9", dst="2001:db8::1") / UDP(sport=9, dport=53)
    assert run.send(packet)["verdict"] == "block"
    assert (told.statuses, told.after()["flow_context"]) == ([OK], 0), "its own context is another one"
    assert (other.told.calls, other.told.call()["flow_context"]) == (1, 77)
    run.replay.close()
    assert (told.ended, other.told.ended) == ([], [(told.call()["flow_id"], 77)])


def test_a_callout_in_python_gets_the_number(tmp_path: Path) -> None:
    told, other = Told(steps=[("set_of", DATAGRAM, ("other", (1 << 64) - 1))]), OtherInPython()
    run = given(tmp_path, told, other)
    run.send(QUESTION)
    run.send(QUESTION)
    assert (told.calls, told.statuses, other.seen) == (1, [OK], [(1 << 64) - 1] * 2)
    assert run.replay.flows.contexts.count_of(run.items["other"].number) == 1
    run.replay.close()
    assert other.gone == [("datagram_data_v4", (1 << 64) - 1)]


def test_it_takes_away_what_it_gave_and_its_own_by_its_name(tmp_path: Path) -> None:
    flow_established = LAYER["ale_flow_established"].index
    told = Told(steps=[
        ("remove_of", DATAGRAM, ("other", 0)), ("set_of", DATAGRAM, ("other", 5)), ("set_of", DATAGRAM, ("other", 6)),
        ("remove_of", DATAGRAM, ("other", 0)), ("set_of", flow_established, ("c", 9)),
    ])  # fmt: skip
    other = OtherInPython()
    run = given(tmp_path, told, other)
    run.send(QUESTION)
    assert told.statuses == [NOT_FOUND, OK, EXISTS, OK, OK] and told.after()["flow_context"] == 9
    assert (other.seen, other.gone, told.ended) == ([], [("datagram_data_v4", 5)], [])


def test_a_context_that_cannot_be_given_is_refused(tmp_path: Path) -> None:
    class Keepless:
        def classify(self, c: Any) -> None: ...

    steps = [("set_of", DATAGRAM, (name, 1)) for name in ("no such", "bare", "", "othe", "other")]
    told = Told(steps=[*steps, ("remove_of", DATAGRAM, ("bare", 0)), ("set_of", 13, ("c", 1)), ("set_of", 0, ("c", 0))])
    given(tmp_path, told, Keepless()).send(QUESTION)
    assert told.statuses == [*[NO_CALLOUT] * 4, PARAMETER, NO_CALLOUT, PARAMETER, PARAMETER]


def test_without_a_flow_there_is_nothing_to_give(tmp_path: Path) -> None:
    told = Told(steps=[("set_of", DATAGRAM, ("other", 1)), ("remove_of", DATAGRAM, ("other", 0))])
    text = GIVEN.split("filters:")[0] + "filters: [{name: f, layer: inbound_ippacket, action: {callout: c}}]\n"
    run = Decided(tmp_path, text, {"c": Asks(told), "other": OtherInPython()})
    run.send(QUESTION)
    assert told.statuses == [NO_FLOW, NO_FLOW]


class Asks:
    def __init__(self, told: Told) -> None:
        self.native = told.native


def test_it_is_told_its_filters_provider_context_as_json(tmp_path: Path) -> None:
    told, other = Told(steps=[("set_of", DATAGRAM, ("other", 1))]), Other(Told())
    run = given(tmp_path, told, other)
    run.send(QUESTION)
    text = told.call()["provider_context"]
    assert text == '{"rate":[5,1.5,null],"name":"käse \U0001f9c0"}'.encode()
    assert told.call()["provider_context_length"] == len(text)
    assert json.loads(text) == run.policy.provider_contexts[0].data
    assert other.told.call()["provider_context"] is None and not other.told.call()["provider_context_length"]


@pytest.mark.parametrize(("name", "seen"), [("empty", None), ("text", b'"x"')])
def test_a_provider_context_without_data_is_none(tmp_path: Path, name: str, seen: bytes | None) -> None:
    other = Asks(told := Told())
    run = given(tmp_path, Told(), other, f", provider_context: {name}")
    run.send(QUESTION)
    assert (told.calls, told.call()["provider_context"]) == (1, seen)


def test_what_notify_has_set_reaches_it_where_it_is_a_number(tmp_path: Path) -> None:
    told = Told()
    made = tables(tmp_path, "ipforward", told)
    for value, seen in ((1 << 63, 1 << 63), ("text", 0), (-1, 0), (None, 0)):
        made.set_filter_contexts({told.call()["filter"]: value})
        visit(made, PACKETS["UDP"], "forward")
        assert told.call()["filter_context"] == seen


# -------------------------------------------------------------------------------------- writing


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


# -------------------------------------------------------------------------------------- streams

NO_MORE, DISCONNECT = 8, 2


def talk(told: Told) -> Conversation:
    filters = [a_filter("f", Action.CALLOUT_UNKNOWN, at=slot("stream"), callout="c")]
    return Conversation(snapshot(a_policy(filters, callouts=[callout("c")]), [told], on_error=Word.BLOCK))


def test_it_is_shown_a_streams_bytes_in_order_and_its_end() -> None:
    told = Told(kind=1)
    conversation = talk(told)
    conversation.open()
    conversation.send(0, b"hello")
    assert {name: told.call()[name] for name in ("stream", "stream_offset", "stream_direction", "stream_flags")} == {
        "stream": b"hello", "stream_offset": 0, "stream_direction": 0, "stream_flags": 0,
    }  # fmt: skip
    conversation.send(5, b" there")
    assert (told.call()["stream"], told.call()["stream_offset"]) == (b" there", 5)
    conversation.send(11, b"", "FA")
    assert (told.call()["stream"], told.call()["stream_flags"]) == (b"", NO_MORE | DISCONNECT)


def test_it_asks_for_more_and_decides_then(tmp_path: Path) -> None:
    told = Told(kind=4, required=4)
    conversation = talk(told)
    conversation.open()
    assert conversation.send(0, b"abc")[0] == "block"
    conversation.send(3, b"d")
    assert told.calls == 1
    told.say(kind=1)
    conversation.send(4, b"efg")
    assert (told.calls, told.call()["stream"]) == (2, b"abcdefg")
    assert conversation.send(0, b"abc")[0] == "permit"


def test_it_decides_leading_bytes_and_is_shown_the_rest(tmp_path: Path) -> None:
    told = Told(kind=1, enforced=1)
    conversation = talk(told)
    conversation.open()
    assert conversation.send(0, b"abc")[0] == "permit"
    assert (told.calls, told.call()["stream"]) == (3, b"c")


def test_it_drops_and_allows_connections(tmp_path: Path) -> None:
    told = Told(kind=6)
    conversation = talk(told)
    conversation.open()
    conversation.send(0, b"abc")
    assert conversation.send(3, b"def")[0] == "permit" and told.calls == 1
    told = Told(kind=5)
    conversation = talk(told)
    conversation.open()
    assert conversation.send(0, b"abc") == ("block", "tcp_reset")
    assert conversation.send(3, b"def")[0] == "block" and told.calls == 1


@pytest.mark.parametrize(
    "answer",
    [
        {"kind": 1, "enforced": 4},
        {"kind": 10},
        {"kind": 7, "reply": 1},
        {"kind": 4, "reply": 1},
        {"kind": 6, "absorb": 1},
        {"kind": 5, "enforced": 1},
    ],
)
def test_a_stream_answer_that_cannot_be_given_is_decided_by_on_error(answer: dict[str, int]) -> None:
    told = Told(**answer)
    conversation = talk(told)
    conversation.open()
    found = conversation.visit(conversation.packet(0, b"abc", "PA", ack=0))
    assert (found["verdict"], found["reason"], told.calls) == ("block", "error", 1)


def test_asking_for_more_at_the_end_is_decided_by_on_error() -> None:
    told = Told(kind=4)
    conversation = talk(told)
    conversation.open()
    conversation.send(0, b"abc")
    found = conversation.visit(conversation.packet(3, b"", "FA", ack=0))
    assert (found["reason"], told.call()["stream_flags"]) == ("error", NO_MORE)


DEFER, PEND = 7, 8


def test_it_defers_what_it_receives_until_a_thread_resumes_it() -> None:
    told = Told(kind=DEFER)
    conversation = talk(told)
    conversation.open()
    assert conversation.send(0, b"abc") == ("block", None)
    assert conversation.send(0, b"abc") == ("block", None) and told.calls == 1
    told.say(kind=1)
    assert conversation.send(0, b"reply", server=True)[0] == "permit" and told.calls == 2
    assert told.resume() and not told.resume()
    assert conversation.send(0, b"abc")[0] == "permit"
    assert (told.calls, told.call()["stream"]) == (3, b"abc")


def test_it_may_be_resumed_before_it_has_answered_and_is_asked_again() -> None:
    told = Told(kind=DEFER, steps=[("resume", 0, 0)])
    conversation = talk(told)
    conversation.open()
    assert conversation.send(0, b"abc") == ("block", None)
    assert told.statuses == [1] and not told.resume()
    told.say(kind=1)
    assert conversation.send(0, b"abc")[0] == "permit" and told.calls == 2


def test_what_is_resumed_when_all_is_gone_is_in_vain() -> None:
    told = Told(kind=DEFER)
    conversation = talk(told)
    conversation.open()
    conversation.send(0, b"abc")
    other = Told(kind=DEFER)
    second = talk(other)
    second.open()
    second.send(0, b"abc")
    del conversation
    gc.collect()
    assert not told.resume() and other.resume()


@pytest.mark.parametrize("on_error", [Word.BLOCK, Word.PERMIT])
def test_defer_is_refused_where_python_refuses_it(on_error: Word) -> None:
    for refused in ("sent", "at the end", "passes", "inspects"):
        told = Told(kind=DEFER)

        class Owner:
            native = told.native
            stream_mode = "pass" if refused == "passes" else "hold"

        kind = Action.CALLOUT_INSPECTION if refused == "inspects" else Action.CALLOUT_UNKNOWN
        policy = a_policy([a_filter("f", kind, at=slot("stream"), callout="c")], callouts=[callout("c")])
        made = snapshot(policy, [Owner()], on_error=on_error)
        conversation = Conversation(made)
        conversation.open()
        server = refused == "sent"
        flags = "FPA" if refused == "at the end" else "PA"
        found = conversation.visit(conversation.packet(0, b"abc", flags, server=server, ack=0), server=server)
        blocks = on_error is Word.BLOCK and refused != "inspects"
        assert (found["verdict"] == "block") == blocks, refused
        assert made.root.watches()["c"]["failed"] == told.calls > 0, refused


# ------------------------------------------------------------------------------------- pending

PENDS = CONTEXTS.replace("version: 1", "version: 1\nfaults: {on_late: block, on_error: block, late_after: 2s}")


class Pended:
    """A compiled callout that pends, and keeps what it is handed."""

    parks = modifies = True

    def __init__(self, **answer: Any) -> None:
        self.told = Told(**{"kind": PEND, **answer})
        self.native = self.told.native
        self.handles: list[Any] = []
        self.seen: list[tuple[str, bytes]] = []

    def pended(self, c: Any, handle: Any) -> None:
        self.seen.append((c.layer, bytes(c.payload)))
        self.handles.append(handle)


def due(run: Decided) -> list[dict[str, Any]]:
    return [line for _, line in run.replay.due(run.at)]


@pytest.mark.parametrize("verdict", ["permit", "block", "continue"])
def test_what_it_pends_is_completed_by_the_handle_and_it_is_not_asked_again(tmp_path: Path, verdict: str) -> None:
    c = Pended()
    run = Decided(tmp_path, PENDS, {"c": c}, parks=True)
    assert run.send(QUESTION)["verdict"] == "parked"
    assert c.seen == [("inbound_transport_v4", b"question")] and due(run) == []
    assert c.handles[0].complete(verdict) and not c.handles[0].complete("block")
    (line,) = due(run)
    assert line["verdict"] == verdict.replace("continue", "permit") and c.told.calls == 1
    assert run.snapshot.root.watches()["c"]["failed"] == 0


def test_without_an_answer_it_is_asked_again_and_may_pend_again(tmp_path: Path) -> None:
    c = Pended()
    run = Decided(tmp_path, PENDS, {"c": c}, parks=True)
    run.send(QUESTION)
    assert c.handles[0].complete() and due(run) == [] and len(c.handles) == 2
    c.told.say(kind=2)
    assert c.handles[1].complete()
    (line,) = due(run)
    assert (line["verdict"], c.told.calls, len(c.handles)) == ("block", 3, 2)


def test_what_it_pends_may_become_another_packet(tmp_path: Path) -> None:
    c = Pended()
    run = Decided(tmp_path, PENDS, {"c": c}, parks=True)
    run.send(QUESTION)
    other = bytes(IP(src="198.51.100.2", dst="192.0.2.1") / UDP(sport=9, dport=53) / Raw(b"else"))
    assert c.handles[0].complete("permit", packet=other)
    (line,) = due(run)
    assert line["verdict"] == "permit" and c.told.calls == 1 and len(c.handles) == 1
    assert run.replay.visits[-1][1]["modified"] == other


def test_what_nobody_completes_is_late(tmp_path: Path) -> None:
    run = Decided(tmp_path, PENDS, {"c": Pended()}, parks=True)
    run.send(QUESTION)
    run.at += 3_000_000_000
    assert [(line["verdict"], line["reason"]) for line in due(run)] == [("block", "late")]


def test_a_flow_that_waits_hands_over_its_first_packet_only(tmp_path: Path) -> None:
    c = Pended()
    text = PENDS.replace("inbound_transport", "ale_auth_recv_accept").replace("permit}", "permit, weight: 1}")
    run = Decided(tmp_path, text.replace("action: {callout", "weight: 9, action: {callout"), {"c": c}, parks=True)
    assert [run.send(QUESTION)["verdict"] for _ in range(2)] == ["parked", "parked"]
    assert (len(c.handles), c.told.calls) == (1, 2)
    assert c.handles[0].complete("permit")
    assert [line["verdict"] for line in due(run)] == ["permit", "permit"] and c.told.calls == 2


def test_a_flow_context_of_what_it_pends_lives_with_the_packet(tmp_path: Path) -> None:
    c = Pended(steps=[("set", TRANSPORT, 77)])
    run = Decided(tmp_path, PENDS, {"c": c}, parks=True)
    run.send(QUESTION)
    run.send(IP(src="198.51.100.3", dst="192.0.2.1") / UDP(sport=9, dport=53) / Raw(b"other"))
    assert c.told.ended == []
    assert c.handles[0].complete("permit") and c.handles[1].complete("block") and len(due(run)) == 2
    assert [value for _, value in c.told.ended] == [77]


def test_what_may_not_wait_is_decided_by_on_error_and_counted(tmp_path: Path) -> None:
    class Parkless(Pended):
        parks = False

    class Deaf(Pended):
        parks = False
        pended = None  # type: ignore[assignment]

    class Raises(Pended):
        def pended(self, c: Any, handle: Any) -> None:
            raise ValueError("it cannot")

    established = PENDS.replace("inbound_transport", "ale_flow_established")
    for made, text, room in ((Deaf(), PENDS, True), (Raises(), PENDS, True), (Pended(), established, True),
                             (Parkless(), PENDS, False)):  # fmt: skip
        run = Decided(tmp_path, text, {"c": made}, parks=room)
        line = run.send(QUESTION)
        assert (line["verdict"], line["reason"]) == ("block", "error") and due(run) == []
        assert run.replay.replayer.context.errors == {"c": 1} and made.told.calls == 1


def test_at_the_stream_layer_packets_do_not_wait() -> None:
    conversation = talk(Told(kind=PEND))
    conversation.open()
    found = conversation.visit(conversation.packet(0, b"abc", "PA", ack=0))
    assert (found["verdict"], found["reason"]) == ("block", "error")


@pytest.mark.parametrize("kind", [4, 5, 6, 7])
def test_a_stream_answer_elsewhere_is_decided_by_on_error(tmp_path: Path, kind: int) -> None:
    result = visit(tables(tmp_path, "ipforward", Told(kind=kind)), PACKETS["UDP"], "forward")
    assert (result["verdict"], result["reason"]) == ("block", "error")

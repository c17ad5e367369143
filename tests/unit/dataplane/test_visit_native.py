"""What a compiled callout is told, beside what a Python one sees, and what its answers become."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.packet import Raw

from tests.builders import a_filter, a_policy, callout, slot, snapshot
from tests.registering import Decided
from tests.streams import Conversation
from wfpd.callouts._told import Told
from wfpd.compiler.pack import pack
from wfpd.config import load_policy
from wfpd.dataplane import Flows, Replayer, Snapshot
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
        {"kind": 7},
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


@pytest.mark.parametrize("kind", [4, 5, 6])
def test_a_stream_answer_elsewhere_is_decided_by_on_error(tmp_path: Path, kind: int) -> None:
    result = visit(tables(tmp_path, "ipforward", Told(kind=kind)), PACKETS["UDP"], "forward")
    assert (result["verdict"], result["reason"]) == ("block", "error")

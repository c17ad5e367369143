"""What a Python callout sees and may answer."""

from __future__ import annotations

import ipaddress
import pathlib
import sys
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment

from tests.registering import SECOND, Decided
from wfpd.compiler.pack import pack
from wfpd.config import load_policy
from wfpd.dataplane._replay import Replayer
from wfpd.dataplane._table import Snapshot
from wfpd.errors import FwpError
from wfpd.model.layers import LAYER
from wfpd.replay import make_snapshot

SLOT_DATAGRAM = LAYER["datagram_data"].slot(4)
PACKET = bytes(IP(src="192.0.2.1", dst="198.51.100.2") / UDP(sport=9, dport=53))
POLICY = """version: 1
callouts: [{name: c, use: "wfpd.callouts.fixed:Fixed"}]
filters: [{name: one, layer: ipforward_v4, action: {callout: c}}]
"""


def replay(
    tmp_path: pathlib.Path, classify: Any, layer: str = "ipforward", hook: str = "forward"
) -> tuple[dict, Replayer]:
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY.replace("ipforward", layer))
    policy = load_policy(str(path), trust="warn")
    table = Snapshot(pack(policy), [classify], generation=1, on_error=2, on_malformed=1, on_late=1, flows_full=1)
    replayer = Replayer(table)
    return replayer.visit(PACKET, hook, 1), replayer


def test_values_are_read_by_name_and_an_absent_one_is_none(tmp_path: pathlib.Path) -> None:
    seen: dict[str, Any] = {}

    def classify(c: Any) -> None:
        seen.update(source=c.values["ip_source_address"], port=c.values["ip_destination_port"])
        seen.update(flags=c.values["tcp_flags"], name=c.filter, layer=c.layer, action=c.action, right=c.write_right)
        seen.update(packet=bytes(c.packet), readonly=c.packet.readonly)
        with pytest.raises(KeyError):
            c.values["ip_local_port"]

    result, _ = replay(tmp_path, classify)
    assert seen == {
        "source": ipaddress.ip_address("192.0.2.1"), "port": 53, "flags": None, "name": "one",
        "layer": "ipforward_v4", "action": None, "right": True, "packet": PACKET, "readonly": True,
    }  # fmt: skip
    assert result["reason"] == "no_match"


def test_a_context_is_of_no_use_after_the_call(tmp_path: pathlib.Path) -> None:
    kept: list[Any] = []
    replay(tmp_path, kept.append)
    with pytest.raises(RuntimeError, match="only while"):
        kept[0].permit()


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
def test_whatever_a_callout_raises_the_packet_gets_a_verdict(
    tmp_path: pathlib.Path, error: type[BaseException]
) -> None:
    def classify(c: Any) -> None:
        raise error(3)

    result, replayer = replay(tmp_path, classify)
    assert (result["verdict"], result["reason"]) == ("block", "error")
    assert replayer.context.errors == {"c": 1}


def test_absorb_where_wfp_does_not_allow_it_is_refused(tmp_path: pathlib.Path) -> None:
    result, _ = replay(tmp_path, lambda c: c.block(absorb=True))
    assert result["reason"] == "error"


def test_absorb_and_a_reply_contradict_each_other(tmp_path: pathlib.Path) -> None:
    for arguments, reason in (({"absorb": True, "reply": "tcp_reset"}, "error"), ({"absorb": True}, "callout")):
        result, _ = replay(tmp_path, lambda c, a=arguments: c.block(**a), "inbound_transport", "input")
        assert result["reason"] == reason


def test_a_packet_view_is_not_copied(tmp_path: pathlib.Path) -> None:
    sizes: list[int] = []
    replay(tmp_path, lambda c: sizes.append(sys.getsizeof(c.packet[4:])))
    assert sizes and sizes[0] < 1000


# ------------------------------------------------------------------- metadata, payload, the filter

FLOW_POLICY = """version: 1
callouts: [{{name: c, use: "m:C"}}, {{name: other, use: "m:C"}}]
filters:
  - {{name: auth, layer: [ale_auth_recv_accept, ale_auth_connect], action: permit}}
  - {{name: one, layer: {layer}, action: {{callout: c{kind}}}}}
{more}"""
IN = IP(src="192.0.2.9", dst="192.0.2.1")
OUT = IP(src="192.0.2.1", dst="192.0.2.9")


class Calls:
    """A callout of a function; keeps the flow contexts that ended."""

    def __init__(self, classify: Any) -> None:
        self._classify = classify
        self.gone: list[Any] = []

    def classify(self, c: Any) -> None:
        self._classify(c)

    def flow_delete(self, f: Any) -> None:
        self.gone.append((f.flow_id, f.layer, f.context))


def decided(folder: pathlib.Path, classify: Any, layer: str, *, kind: str = "", more: str = "", **others: Any) -> Any:
    """A replay and the callout, at one layer, with flows."""
    calls = classify if hasattr(classify, "classify") else Calls(classify)
    return Decided(folder, FLOW_POLICY.format(layer=layer, kind=kind, more=more), {"c": calls, **others}), calls


def test_metadata_is_read_by_name(tmp_path: pathlib.Path) -> None:
    seen: list[dict[str, Any]] = []
    replayed, _ = decided(tmp_path, lambda c: seen.append(dict(c.metadata.items())), "inbound_transport")
    replayed.send(IN / ICMP(id=7, seq=11) / b"abc")
    replayed.send(IN / UDP(sport=9, dport=53) / b"abc")
    replayed.send(IN / UDP(sport=9, dport=53) / b"abc")
    assert [(one["ip_header_size"], one["transport_header_size"], one["icmp_id_and_sequence"]) for one in seen] == [
        (20, 8, (7, 11)), (20, 8, None), (20, 8, None)]  # fmt: skip
    assert [one["ale_classify_required"] for one in seen] == [True, True, False]
    assert seen[1]["flow_handle"] == seen[2]["flow_handle"] is not None
    assert (seen[0]["compartment_id"], seen[0]["transport_endpoint_handle"]) == (None, None)


def test_metadata_of_another_layer_is_a_key_error(tmp_path: pathlib.Path) -> None:
    def classify(c: Any) -> None:
        assert "fragment_data" not in c.metadata
        with pytest.raises(KeyError):
            c.metadata["fragment_data"]
        c.block()

    replayed, _ = decided(tmp_path, classify, "inbound_transport")
    assert replayed.send(IN / UDP() / b"abc")["reason"] == "callout"


@pytest.mark.parametrize(("packet", "expected"), [
    (IN / UDP(), None),
    (IP(src="192.0.2.9", dst="192.0.2.1", id=5, flags="MF", frag=0) / UDP() / bytes(16), (5, 0, True)),
    (IP(src="192.0.2.9", dst="192.0.2.1", id=5, frag=3, proto=17) / bytes(16), (5, 24, False)),
    (IPv6(src="2001:db8::9", dst="2001:db8::1") / IPv6ExtHdrDestOpt() / IPv6ExtHdrFragment(id=77, offset=4, m=1, nh=17)
     / bytes(16), (77, 32, True)),
])  # fmt: skip
def test_fragment_data_say_what_the_header_says(tmp_path: pathlib.Path, packet: Any, expected: Any) -> None:
    seen: list[Any] = []
    replayed, _ = decided(tmp_path, lambda c: seen.append(c.metadata["fragment_data"]), "inbound_ippacket")
    replayed.send(packet)
    assert seen == [expected]


@pytest.mark.parametrize(("packet", "payload"), [
    (IN / UDP() / b"abc", b"abc"), (IN / TCP(dport=80, flags="S"), b""), (IN / TCP(dport=80, flags="S") / b"xy", b"xy"),
    (IPv6(src="2001:db8::9", dst="2001:db8::1") / IPv6ExtHdrDestOpt() / UDP() / b"six", b"six"),
])  # fmt: skip
def test_the_payload_follows_the_transport_header_without_a_copy(
    tmp_path: pathlib.Path, packet: Any, payload: bytes
) -> None:
    kept: list[memoryview] = []

    def classify(c: Any) -> None:
        kept.append(c.payload)
        assert (bytes(c.payload), c.payload.readonly, c.hook, c.direction) == (payload, True, "input", "inbound")
        c.block()

    replayed, _ = decided(tmp_path, classify, "inbound_transport")
    assert replayed.send(packet)["reason"] == "callout"
    with pytest.raises(ValueError):
        bytes(kept[0])


def test_scapy_sees_a_copy_of_either_family(tmp_path: pathlib.Path) -> None:
    seen: list[Any] = []
    replayed, _ = decided(tmp_path, lambda c: seen.append(c.scapy()), "inbound_transport")
    for packet in (IN / UDP(dport=53) / b"abc", IPv6(src="2001:db8::9", dst="2001:db8::1") / UDP(dport=54)):
        replayed.send(packet)
    assert [(type(one).__name__, one[UDP].dport) for one in seen] == [("IP", 53), ("IPv6", 54)]


def test_a_callout_knows_the_kind_the_flag_and_the_word_of_its_filter(tmp_path: pathlib.Path) -> None:
    seen: list[Any] = []
    more = """  - {name: two, layer: ipforward_v4, sublayer: low, action: {callout: c}, flags: [clear_action_right],
     on_error: block}
sublayers: [{name: low, weight: 5}]
"""

    def classify(c: Any) -> None:
        seen.append((c.kind, c.clear_action_right, c.error_word, c.direction, c.late_ns))

    replayed, _ = decided(tmp_path, classify, "ipforward_v4", kind=", kind: inspection", more=more)
    replayed.send(IP(src="198.51.100.1", dst="198.51.100.2") / UDP())
    assert seen == [("inspection", False, "permit", None, None), ("unknown", True, "block", None, None)]


# --------------------------------------------------------------------------------- discard layers


def test_a_callout_at_a_twin_sees_the_reason_and_cannot_absorb(tmp_path: pathlib.Path) -> None:
    seen: list[Any] = []

    def classify(c: Any) -> None:
        seen.append((c.layer, c.metadata["discard_reason"], c.action))
        with pytest.raises(ValueError, match="absorb"):
            c.block(absorb=True)

    more = "  - {name: no, layer: inbound_transport, action: block, reply: tcp_reset}\n"
    replayed, _ = decided(tmp_path, classify, "inbound_transport_discard", more=more)
    line = replayed.send(IN / TCP(dport=80))
    assert seen == [("inbound_transport_v4_discard", ("general", "firewall_policy"), None)]
    assert (line["verdict"], line["filter"], line["layers"][-1]["callouts"]) == ("block", "no", ["c"])
    assert replayed.replay.visits[0][1]["reply"] == "tcp_reset"


@pytest.mark.parametrize(("answer", "reply"), [("block", None), ("permit", "tcp_reset"), ("continue_", "tcp_reset")])
def test_a_block_at_a_twin_takes_the_reply_away_and_a_permit_changes_nothing(
    tmp_path: pathlib.Path, answer: str, reply: str | None
) -> None:
    more = "  - {name: no, layer: inbound_transport, action: block, reply: tcp_reset}\n"
    replayed, _ = decided(tmp_path, lambda c: getattr(c, answer)(), "inbound_transport_discard", more=more)
    line = replayed.send(IN / TCP(dport=80))
    assert (line["verdict"], replayed.replay.visits[0][1]["reply"]) == ("block", reply)


def test_an_absorbed_packet_never_reaches_the_twin(tmp_path: pathlib.Path) -> None:
    seen: list[str] = []
    more = "  - {name: no, layer: inbound_transport, action: block, absorb: true}\n"
    replayed, _ = decided(tmp_path, lambda c: seen.append(c.layer), "inbound_transport_discard", more=more)
    assert (replayed.send(IN / TCP(dport=80))["verdict"], seen) == ("block", [])


# ---------------------------------------------------------------------------------- flow contexts


def keeper(layer: str, value: Any = "kept") -> Any:
    """Keeps a value with each flow that is established."""

    def classify(c: Any) -> None:
        if c.flow_context is None and "established" in c.layer:
            c.set_flow_context(layer, value)

    return classify


def test_a_context_reaches_the_callout_at_its_layer_for_its_flow(tmp_path: pathlib.Path) -> None:
    seen: list[Any] = []

    def classify(c: Any) -> None:
        if "established" in c.layer:
            c.set_flow_context("datagram_data", c.values["ip_remote_port"])
        else:
            seen.append((c.direction, c.flow_context, c.flow_id is not None))

    more = "  - {name: two, layer: datagram_data, action: {callout: c}}\n"
    replayed, calls = decided(tmp_path, classify, "ale_flow_established", more=more)
    replayed.send(IN / UDP(sport=5000, dport=53))
    replayed.send(OUT / UDP(sport=53, dport=5000))
    replayed.send(IN / UDP(sport=5001, dport=53))
    assert seen == [("inbound", 5000, True), ("outbound", 5000, True), ("inbound", 5001, True)]
    assert calls.gone == []
    replayed.replay.close()
    assert sorted(context for _, _, context in calls.gone) == [5000, 5001]


def test_a_context_ends_with_its_flow_by_the_captures_clock(tmp_path: pathlib.Path) -> None:
    replayed, calls = decided(tmp_path, keeper("datagram_data"), "ale_flow_established")
    replayed.send(IN / UDP(sport=5000, dport=53))
    replayed.at += 59 * SECOND
    replayed.send(IN / UDP(sport=5001, dport=53))
    assert calls.gone == []
    replayed.at += 2 * SECOND
    replayed.send(IP(src="198.51.100.1", dst="198.51.100.2") / UDP())
    assert [(layer, context) for _, layer, context in calls.gone] == [("datagram_data_v4", "kept")]


def test_what_cannot_be_kept_is_refused_with_the_engines_error(tmp_path: pathlib.Path) -> None:
    codes: list[str] = []

    def refused(do: Any, *arguments: Any) -> None:
        with pytest.raises(FwpError) as caught:
            do(*arguments)
        codes.append(caught.value.code)

    def classify(c: Any) -> None:
        refused(c.set_flow_context, "stream_packet", None)
        refused(c.set_flow_context, "no_such", 1)
        refused(c.remove_flow_context, "datagram_data")
        c.set_flow_context("datagram_data", 1)
        refused(c.set_flow_context, "datagram_data_v4", 2)
        c.set_flow_context("datagram_data_v6", 3)
        c.remove_flow_context("datagram_data")
        c.set_flow_context("datagram_data", 4)
        c.block()

    replayed, calls = decided(tmp_path, classify, "inbound_transport")
    assert replayed.send(IN / UDP())["reason"] == "callout", codes
    assert codes == [
        f"FWP_E_{name}" for name in ("INVALID_PARAMETER", "INVALID_PARAMETER", "NOT_FOUND", "ALREADY_EXISTS")
    ]
    assert sorted(one[2] for one in calls.gone) == [1, 3, 4], "the packet was blocked: it made no flow"


def test_without_flow_delete_or_without_a_flow_nothing_is_kept(tmp_path: pathlib.Path) -> None:
    codes: list[str] = []

    def classify(c: Any) -> None:
        try:
            c.set_flow_context("datagram_data", 1)
        except FwpError as error:
            codes.append(error.code)

    class Plain:
        def classify(self, c: Any) -> None:
            classify(c)

    replayed, _ = decided(tmp_path, Plain(), "inbound_transport")
    replayed.send(IN / UDP())
    replayed, _ = decided(tmp_path, classify, "ipforward")
    replayed.send(IP(src="198.51.100.1", dst="198.51.100.2") / UDP())
    assert codes == ["FWP_E_INVALID_PARAMETER", "FWP_E_NOT_FOUND"]


@pytest.mark.parametrize("kind", ["", ", kind: terminating"])
def test_a_callout_conditional_on_flow_is_called_for_flows_with_its_context_only(
    tmp_path: pathlib.Path, kind: str
) -> None:
    class Conditional(Calls):
        conditional_on_flow = True

    seen: list[int] = []

    def classify(c: Any) -> None:
        seen.append(c.values["ip_remote_port"])
        c.permit()

    class Marks:
        """Gives the other's context to every flow from port 5000."""

        def classify(self, c: Any) -> None:
            if c.values["ip_remote_port"] == 5000:
                replayed.replay.flows.contexts.add(c.flow_id, SLOT_DATAGRAM, replayed.items["c"], "x")

    more = "  - {name: two, layer: ale_auth_recv_accept, action: {callout: other}, weight: {range: 15}}\n"
    replayed, _ = decided(tmp_path, Conditional(classify), "datagram_data", kind=kind, more=more, other=Marks())
    lines = [replayed.send(IN / UDP(sport=port, dport=53)) for port in (5001, 5000, 5001)]
    assert [line["verdict"] for line in lines] == ["permit"] * 3
    assert seen == [5000]
    assert [line["layers"][-1]["callouts"] for line in lines] == [[], ["c"], []]


def test_a_reauthorization_that_blocks_ends_the_flows_contexts(tmp_path: pathlib.Path) -> None:
    replayed, calls = decided(tmp_path, keeper("datagram_data"), "ale_flow_established")
    replayed.send(IN / UDP(sport=5000, dport=53))
    path = tmp_path / "other.yaml"
    path.write_text("version: 1\nfilters: [{name: no, layer: ale_auth_recv_accept, action: block}]\n")
    after = Replayer(make_snapshot(load_policy(str(path), trust="warn"), generation=2), replayed.replay.flows)
    assert after.visit(bytes(IN / UDP(sport=5000, dport=53)), "input", 2 * SECOND)["verdict"] == "block"
    replayed.replay.flows.contexts.drain()
    assert [context for _, _, context in calls.gone] == ["kept"]


def test_the_time_is_that_of_the_packet(tmp_path: pathlib.Path) -> None:
    seen: list[int] = []
    replay(tmp_path, lambda c: seen.append(c.now_ns))
    assert seen == [1]

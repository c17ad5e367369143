"""inject() and reinject() of a callout's context, on replay's path, and what replay tells of them."""

from __future__ import annotations

import json
import pathlib
import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.packet import Raw
from scapy.utils import rdpcap, wrpcap

from tests.oracle.checksums import UDP as UDP_NUMBER
from tests.oracle.checksums import right
from tests.registering import Decided
from wfpd import cli
from wfpd.config import load_policy
from wfpd.dataplane import Replayer
from wfpd.dataplane._modify import completed
from wfpd.errors import ActionRefused
from wfpd.injection.handles import Injections
from wfpd.netfilter.marks import Marks, Way
from wfpd.replay import make_snapshot

POLICY = """version: 1
callouts: [{name: c}]
filters: [{name: one, layer: LAYER, action: {callout: c, kind: KIND}}]
"""
IN = IP(src="198.51.100.9", dst="192.0.2.1") / UDP(sport=5000, dport=53) / Raw(b"hello")
OUT = IP(src="192.0.2.1", dst="198.51.100.9") / UDP(sport=53, dport=5000) / Raw(b"bye")
THROUGH = IP(src="198.51.100.9", dst="203.0.113.1") / UDP(sport=5000, dport=53) / Raw(b"hello")
MARKS = Marks()


class Injects:
    injects = True

    def __init__(self, classify: Any) -> None:
        self._classify = classify

    def classify(self, c: Any) -> None:
        self._classify(c)


class Sees(Injects):
    sees_injected = True


def decided(folder: pathlib.Path, classify: Any, layer: str = "inbound_transport", kind: str = "terminating",
            of: type[Injects] = Injects) -> Decided:  # fmt: skip
    made = Decided(folder, POLICY.replace("LAYER", layer).replace("KIND", kind), {"c": of(classify)})
    made.replay.replayer.context.on_error = None
    return made


@pytest.mark.parametrize(
    ("layer", "packet", "way"),
    [("inbound_transport", IN, Way.INBOUND), ("outbound_transport", OUT, Way.OUTBOUND),
     ("ipforward", THROUGH, Way.FORWARD)],
)  # fmt: skip
def test_a_packet_is_absorbed_and_another_takes_its_place(
    tmp_path: pathlib.Path, layer: str, packet: Any, way: Way
) -> None:
    made = decided(tmp_path, lambda c: c.reinject(bytes(c.packet) + b", all"), layer)
    found = made.send(packet)
    assert (found["verdict"], found["injected"], found["layers"][0]["right"]) == ("block", 1, "clear")
    assert made.replay.told["absorb"] == (layer != "ipforward")  # That layer has no absorb.
    (order,) = made.replay.injected
    assert order.packet.endswith(bytes(packet)[28:] + b", all") and right(order.packet, UDP_NUMBER, 20)
    assert IP(order.packet).len == len(order.packet) == len(packet) + 5
    assert order.mark == MARKS.injected(1, way)
    assert made.replay.passed is None


def test_by_default_a_clone_is_reinjected_and_a_new_packet_goes_out(tmp_path: pathlib.Path) -> None:
    def classify(c: Any) -> None:
        assert c.inject(bytes(OUT)) and c.inject(bytes(OUT), direction="inbound")
        assert c.injection_state == "not_injected"
        if c.values["ip_local_port"] == 53:
            c.reinject()

    made = decided(tmp_path, classify)
    found = made.send(IN)
    assert found["injected"] == 3
    assert [order.packet for order in made.replay.injected] == [bytes(OUT), bytes(OUT), bytes(IN)]
    assert [order.mark for order in made.replay.injected] == [
        MARKS.injected(1, way) for way in (Way.OUTBOUND, Way.INBOUND, Way.INBOUND)
    ]
    assert "injected" not in made.send(OUT)  # No filter is at its layer.


@pytest.mark.parametrize("kind", ["terminating", "inspection"])
def test_what_the_callout_has_injected_passes_it_without_a_call(tmp_path: pathlib.Path, kind: str) -> None:
    calls = []
    made = decided(tmp_path, lambda c: (calls.append(1), c.inject(bytes(c.packet)), c.block()), "ipforward", kind)
    visit = made.replay.replayer.visit
    visit(bytes(THROUGH), "forward", 1)
    mark = made.replay.injected[0].mark
    own = visit(bytes(THROUGH), "forward", 2, mark=mark)
    assert (own["verdict"], own["rows"][0][1], len(calls)) == ("permit", "permit" if kind[0] == "t" else "none", 1)
    other = visit(bytes(THROUGH)[:-1] + b"!", "forward", 3, mark=MARKS.injected(9, Way.FORWARD))
    assert (other["verdict"], len(calls)) == ("block" if kind[0] == "t" else "permit", 2)


def test_a_history_that_fails_costs_its_packet_the_filters_on_error_and_is_counted(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> bool:
        raise RuntimeError("no history")

    made = decided(tmp_path, lambda c: c.permit(), "ipforward")
    monkeypatch.setattr(made.replay.replayer.context.injections, "passes", fails)
    mark = MARKS.injected(9, Way.FORWARD)
    assert made.replay.replayer.visit(bytes(THROUGH), "forward", 1, mark=mark)["reason"] == "error"
    assert made.replay.replayer.visit(bytes(THROUGH), "forward", 2)["reason"] == "callout"
    assert made.replay.replayer.context.errors == {"c": 1}


def test_a_class_that_wants_to_sees_its_own_and_is_stopped_by_the_limit(tmp_path: pathlib.Path) -> None:
    states: list[str] = []
    answers: list[bool] = []

    def classify(c: Any) -> None:
        states.append(c.injection_state)
        answers.append(c.reinject())

    made = decided(tmp_path, classify, "ipforward", of=Sees)
    mark = 0
    for _ in range(9):
        found = made.replay.replayer.visit(bytes(THROUGH), "forward", 1, mark=mark)
        assert found["verdict"] == "block"
        mark = made.replay.injected[-1].mark
    assert states == ["not_injected"] + ["injected_by_self"] * 8
    assert answers == [True] * 8 + [False] and len(made.replay.injected) == 8


def refused(folder: pathlib.Path, act: Any, layer: str = "ipforward", packet: Any = THROUGH, of: Any = Injects,
            kind: str = "terminating", **visit: Any) -> str:  # fmt: skip
    said: list[str] = []

    def classify(c: Any) -> None:
        with pytest.raises(ActionRefused) as caught:
            act(c)
        said.append(caught.value.message)
        assert caught.value.hint

    made = decided(folder, classify, layer, kind, of)
    hook = {"ipforward": "forward", "inbound_ippacket": "prerouting"}.get(layer, "input")
    made.replay.replayer.visit(bytes(packet), hook, 1, **visit)
    assert not made.replay.injected
    return said[0]


class Not(Injects):
    injects = False


def test_what_cannot_be_is_refused_and_nothing_is_injected(tmp_path: pathlib.Path) -> None:
    assert "nothing can be injected" in refused(tmp_path, lambda c: c.inject(bytes(OUT)), of=Not)
    assert "nothing can be injected" in refused(tmp_path, lambda c: c.reinject(), of=Not)
    assert "nothing can be injected" in refused(tmp_path, lambda c: c.injection_handle, of=Not)
    assert "cut" in refused(tmp_path, lambda c: c.reinject(), original=2000)
    assert "prerouting" in refused(tmp_path, lambda c: c.reinject(), "inbound_ippacket")
    assert "inspection" in refused(tmp_path, lambda c: c.reinject(), kind="inspection")
    assert "well-formed" in refused(tmp_path, lambda c: c.reinject(b"no packet"))
    assert "well-formed" in refused(tmp_path, lambda c: c.inject(b""))


def test_an_unknown_direction_is_an_error(tmp_path: pathlib.Path) -> None:
    def classify(c: Any) -> None:
        with pytest.raises(ValueError, match="direction"):
            c.inject(bytes(OUT), direction="up")
        c.permit()

    assert decided(tmp_path, classify, "ipforward").send(THROUGH)["reason"] == "callout"


def test_a_refused_reinjection_leaves_the_packet_to_on_error(tmp_path: pathlib.Path) -> None:
    made = decided(tmp_path, lambda c: c.reinject(b"no packet"), "ipforward")
    found = made.send(THROUGH)
    assert (found["verdict"], found["reason"], "injected" in found) == ("permit", "error", False)


@pytest.mark.parametrize("then", ["raise", "permit", "late"])
def test_what_was_reinjected_is_blocked_whatever_the_callout_does_then(tmp_path: pathlib.Path, then: str) -> None:
    def classify(c: Any) -> None:
        c.reinject()
        if then == "raise":
            raise LookupError("as told")
        if then == "late":
            threading.Event().wait(0.6)
        c.permit()

    found = decided(tmp_path, classify, "ipforward").send(THROUGH)
    assert (found["verdict"], found["reason"], found["injected"]) == ("block", "callout", 1)


def test_where_a_higher_callout_has_taken_the_packet_it_is_refused(tmp_path: pathlib.Path) -> None:
    policy = """version: 1
sublayers: [{name: high, weight: 200}, {name: low, weight: 100}]
callouts: [{name: first}, {name: second}]
filters:
  - {name: one, layer: ipforward, sublayer: high, action: {callout: first}}
  - {name: two, layer: ipforward, sublayer: low, action: {callout: second}}
"""
    said: list[str] = []

    def second(c: Any) -> None:
        with pytest.raises(ActionRefused) as caught:
            c.reinject()
        said.append(caught.value.message)

    made = Decided(tmp_path, policy, {"first": Injects(lambda c: c.reinject()), "second": Injects(second)})
    assert made.send(THROUGH)["injected"] == 1
    assert "action right is clear" in said[0]


def test_in_audit_mode_nothing_is_injected(tmp_path: pathlib.Path) -> None:
    def classify(c: Any) -> None:
        assert c.injection_handle.inject(bytes(OUT), direction="outbound")
        assert c.reinject() and c.inject(bytes(OUT))

    made = decided(tmp_path, classify, "ipforward")
    audited = make_snapshot(
        load_policy(tmp_path / "policy.yaml", trust="warn"), callouts=list(made.items.values()), audit=True
    )
    sent: list[Any] = []
    replayer = Replayer(audited)
    replayer.context.injections = Injections(sent.append)
    replayer.visit(bytes(THROUGH), "forward", 1)
    assert not sent and not replayer.context.errors


def test_a_clone_may_be_injected_when_the_call_is_over(tmp_path: pathlib.Path) -> None:
    kept: list[Any] = []

    def classify(c: Any) -> None:
        kept.append((c.injection_handle, bytes(c.packet)))
        c.block(clear_right=True)

    made = decided(tmp_path, classify, "ipforward")
    assert "injected" not in made.send(THROUGH)
    for handle, packet in kept:
        assert handle.inject(memoryview(packet + b"!"), direction="forward")
    assert [order.packet[28:] for order in made.replay.injected] == [b"hello!"]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_whatever_is_completed_is_whole_and_right_or_refused(data: bytes, six: bool) -> None:
    packet = (b"\x60" if six else b"\x45") + data
    try:
        whole = completed(packet)
    except ActionRefused:
        return
    assert len(whole) == len(packet) and completed(whole) == whole


@pytest.mark.parametrize(
    "packet",
    [IN, THROUGH / Raw(bytes(3000)), IP(dst="192.0.2.7") / ICMP() / b"ping", IP(dst="192.0.2.7") / TCP() / b"data",
     IPv6(dst="2001:db8::7") / UDP() / b"six", IPv6(dst="2001:db8::7") / ICMPv6EchoRequest(data=b"odd")],
)  # fmt: skip
def test_lengths_and_checksums_are_set_as_scapy_sets_them(packet: Any) -> None:
    built = bytes(packet)
    wrong = bytearray(built)
    at = 20 if built[0] >> 4 == 4 else 40
    if at == 20:
        wrong[2:4] = wrong[10:12] = b"\x12\x34"
    else:
        wrong[4:6] = b"\x12\x34"
    if UDP in packet:
        wrong[at + 4 : at + 8] = b"\x12\x34\x56\x78"
    elif TCP in packet:
        wrong[at + 16 : at + 18] = b"\x12\x34"
    else:
        wrong[at + 2 : at + 4] = b"\x12\x34"
    assert completed(wrong) == built


def test_fragments_keep_their_transport_and_source_routes_are_refused() -> None:
    fragment = bytes(IP(dst="192.0.2.7", flags="MF", proto=17) / Raw(bytes(IN)[20:] + bytes(11)))
    assert completed(fragment) == fragment
    with pytest.raises(ActionRefused, match="source route"):
        completed(bytes(IP(dst="192.0.2.7", options=b"\x83\x07\x04\xc0\x00\x02\x01\x00") / UDP()))
    with pytest.raises(ActionRefused, match="65531"):
        completed(bytes(IN) + bytes(65535))


def test_replay_tells_of_them_and_writes_them(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "answering.py").write_text(
        "class C:\n    injects = True\n    def classify(self, c):\n"
        "        if c.values['ip_destination_port'] == 53:\n            c.reinject(bytes(c.packet) + b'!')\n"
        "        else:\n            c.inject(bytes(c.packet)[:28] + b'new')\n            c.permit()\n"
    )
    policy, out = tmp_path / "policy.yaml", tmp_path / "out.pcap"
    policy.write_text(
        f"version: 1\ndaemon: {{callout_path: [{tmp_path}]}}\ncallouts: [{{name: c, use: 'answering:C'}}]\n"
        "filters: [{name: one, layer: ipforward, action: {callout: c}, when: {ip_protocol: udp}}]\n"
    )
    capture = str(tmp_path / "in.pcap")
    wrpcap(capture, [THROUGH, OUT], linktype=101)
    assert cli.main(["replay", "--policy", str(policy), "--write", str(out), "--json", capture]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["verdict"], line["injected"]) for line in lines] == [("block", 1), ("permit", 1)]
    assert [bytes(packet)[28:] for packet in rdpcap(str(out))] == [b"hello!", b"bye", b"new"]
    assert cli.main(["replay", "--policy", str(policy), capture]) == 0
    assert capsys.readouterr().out.count("+1 injected") == 2

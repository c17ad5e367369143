"""Packets that callouts have modified before one pends them: the visit goes on as if nobody had pended."""

from __future__ import annotations

import pathlib
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet

from tests.registering import Decided
from wfpd.callouts._told import Told

FOUR = IP(src="198.51.100.9", dst="192.0.2.1", ttl=64) / UDP(sport=5000, dport=53) / b"asked"
SIX = IPv6(src="2001:db8::9", dst="2001:db8::1", hlim=64) / UDP(sport=5000, dport=53) / b"asked"
SYN = IP(src="198.51.100.9", dst="192.0.2.1", ttl=64) / TCP(sport=5000, dport=53, flags="S")
PEND = 8  # WFPD_PEND
NAMES = ("a", "b", "c", "d")
POLICY = """version: 1
faults: {on_late: block, on_error: block, late_after: 2s}
sublayers: [{name: top, weight: 0x9000}, {name: low, weight: 0x100}]
callouts: [{name: a}, {name: b}, {name: c}, {name: d}]
filters:
  - {name: was-64, layer: inbound_ippacket, sublayer: top, action: permit, when: {ip_ttl: 64}}
  - {name: was-other, layer: inbound_ippacket, sublayer: top, action: block}
  - {name: ask-a, layer: inbound_ippacket, sublayer: low, action: {callout: a, kind: unknown}}
  - {name: one, layer: inbound_transport, sublayer: top, action: permit, when: {ip_ttl: 1}}
  - {name: ask-b, layer: inbound_transport, sublayer: top, action: {callout: b, kind: unknown}}
  - {name: ask-c, layer: inbound_transport, sublayer: low, action: {callout: c, kind: unknown}}
  - {name: two, layer: datagram_data, sublayer: top, action: permit, when: {ip_ttl: 2}}
  - {name: short, layer: datagram_data, sublayer: top, action: block, when: {ip_length: 0-32}}
  - {name: ask-d, layer: datagram_data, sublayer: low, action: {callout: d, kind: unknown}}
"""


@dataclass(frozen=True)
class Does:
    """What a callout makes of the packet, what it answers, and whether it pends before it does so."""

    ttl: int | None = None
    payload: bytes | None = None
    answer: str = "permit"
    pends: bool = False

    def edited(self, packet: bytes) -> bytes | None:
        """None: it leaves it."""
        if self.ttl is None and self.payload is None:
            return None
        four = packet[0] >> 4 == 4
        made = bytearray(packet)
        if self.ttl is not None:
            made[8 if four else 7] = self.ttl
        return bytes(made) if self.payload is None else bytes(made[: 28 if four else 48]) + self.payload


class Callout:
    modifies = parks = True

    def __init__(self, does: Does, pending: list[Any], *, pends: bool) -> None:
        self.does, self.pending, self.pends = does, pending, pends and does.pends
        self.seen: list[bytes] = []

    def classify(self, c: Any) -> None:
        self.seen.append(bytes(c.packet))
        edited = self.does.edited(self.seen[-1])
        if self.pends:
            self.pending.append((c.pend(), self.does.answer, edited))
            return
        if edited is not None:
            c.modify(edited)
        getattr(c, "continue_" if self.does.answer == "continue" else self.does.answer)()


def decided(folder: pathlib.Path, packet: Packet, all_do: tuple[Does, ...], *, pends: bool) -> Any:
    """The line, the packet that passed, what each callout saw, and what failed."""
    pending: list[Any] = []
    made = {name: Callout(does, pending, pends=pends) for name, does in zip(NAMES, all_do, strict=True)}
    world = Decided(folder, POLICY, made, parks=True)
    line = world.send(packet)
    while line["verdict"] == "parked":
        handle, answer, edited = pending.pop(0)
        assert handle.complete(answer, packet=edited) and not pending
        (line,) = [*[line for _, line in world.replay.due(world.at)], *([line] if pending else [])]
    return line, world.replay.passed, [one.seen for one in made.values()], world.replay.replayer.context.errors


DOES = st.builds(
    Does,
    ttl=st.none() | st.integers(1, 3),
    payload=st.none() | st.sampled_from([b"", b"abcd", b"other words"]),
    answer=st.sampled_from(["permit", "permit", "continue", "block"]),
    pends=st.booleans(),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.tuples(DOES, DOES, DOES, DOES), st.sampled_from([FOUR, SIX]))
def test_pended_between_changes_it_is_decided_as_at_once(
    tmp_path: pathlib.Path, all_do: tuple[Does, ...], packet: Packet
) -> None:
    assert decided(tmp_path, packet, all_do, pends=True) == decided(tmp_path, packet, all_do, pends=False)


@pytest.mark.parametrize("packet", [FOUR, SIX])
def test_what_each_callout_has_made_is_seen_by_those_behind_it_and_goes_on(
    tmp_path: pathlib.Path, packet: Packet
) -> None:
    all_do = (Does(ttl=1), Does(), Does(ttl=2, payload=b"other words", pends=True), Does(pends=True))
    line, passed, seen, errors = decided(tmp_path, packet, all_do, pends=True)
    at = 8 if packet is FOUR else 7
    assert (line["verdict"], [row["filter"] for row in line["layers"]], errors) == (
        "permit", ["ask-a", "ask-c", "ask-d"], {},
    )  # fmt: skip
    assert [[one[at] for one in some] for some in seen] == [[64], [], [1], [2]]  # `one` permits before b is asked.
    assert passed is not None and (passed[at], passed.endswith(b"other words")) == (2, True)


@pytest.mark.parametrize("first", ["modify", "pend"])
def test_the_call_that_pends_gives_its_packet_to_complete(tmp_path: pathlib.Path, first: str) -> None:
    class Both:
        modifies = parks = True
        handle: Any = None

        def classify(self, c: Any) -> None:
            acts = [lambda: c.write(c.payload_offset, b"A"), c.pend]
            made = [act() for act in (acts if first == "modify" else reversed(acts))]
            self.handle = made[0]

    both, idle = Both(), Callout(Does(), [], pends=False)
    world = Decided(tmp_path, POLICY, {"a": both, "b": idle, "c": idle, "d": idle}, parks=True)
    line = world.send(FOUR)
    if first == "modify":
        assert (line["verdict"], line["reason"], world.replay.replayer.context.errors) == ("block", "error", {"a": 1})
    else:  # What else it answers in that call means nothing.
        both.handle.complete("permit")
        ((_, line),) = list(world.replay.due(world.at))
        assert line["verdict"] == "permit" and world.replay.passed == bytes(FOUR)


def test_what_a_late_packet_was_made_is_forgotten(tmp_path: pathlib.Path) -> None:
    pending: list[Any] = []
    all_do = (Does(ttl=1), Does(), Does(pends=True), Does())
    made = {name: Callout(does, pending, pends=True) for name, does in zip(NAMES, all_do, strict=True)}
    world = Decided(tmp_path, POLICY.replace("on_late: block", "on_late: permit"), made, parks=True)
    world.send(FOUR)
    ((_, line),) = list(world.replay.due())
    assert (line["verdict"], line["reason"], world.replay.passed) == ("permit", "late", bytes(FOUR))


def test_modified_packets_of_a_flow_wait_with_the_first_each_as_it_is(tmp_path: pathlib.Path) -> None:
    policy = POLICY.replace("layer: datagram_data, sublayer: low", "layer: ale_auth_recv_accept")

    class Numbers(Callout):
        def classify(self, c: Any) -> None:
            self.does = Does(ttl=len(self.seen) + 1)
            super().classify(c)

    pending: list[Any] = []
    idle = Callout(Does(), [], pends=False)
    first, asked = Numbers(Does(), pending, pends=False), Callout(Does(pends=True), pending, pends=True)
    world = Decided(tmp_path, policy, {"a": first, "b": idle, "c": idle, "d": asked}, parks=True)
    assert [world.send(SYN)["verdict"] for _ in range(2)] == ["parked"] * 2
    assert len(pending) == 1 and pending[0][0].complete("permit")
    passed = [(line["verdict"], IP(world.replay.passed).ttl) for _, line in world.replay.due(world.at)]
    assert passed == [("permit", 1), ("permit", 2)]


def test_what_a_compiled_callout_has_written_waits_with_the_packet(tmp_path: pathlib.Path) -> None:
    told = Told(steps=[("write", 8, b"\x01"), ("write", 28, b"A")])

    class Compiled:
        modifies = True
        native = told.native

    pending: list[Any] = []
    idle, asked = Callout(Does(), [], pends=False), Callout(Does(pends=True), pending, pends=True)
    world = Decided(tmp_path, POLICY, {"a": Compiled(), "b": idle, "c": idle, "d": asked}, parks=True)
    assert world.send(FOUR)["verdict"] == "parked"
    assert pending[0][0].complete("permit")
    ((_, line),) = list(world.replay.due(world.at))
    assert (line["verdict"], told.calls, [one[28:] for one in asked.seen]) == ("permit", 1, [b"Asked"])
    assert world.replay.passed == asked.seen[0]


def test_a_compiled_callout_that_writes_and_pends_has_failed(tmp_path: pathlib.Path) -> None:
    told = Told(kind=PEND, steps=[("write", 28, b"A")])

    class Compiled:
        parks = modifies = True
        native = told.native

        def pended(self, c: Any, handle: Any) -> None: ...

    idle = Callout(Does(), [], pends=False)
    world = Decided(tmp_path, POLICY, {"a": Compiled(), "b": idle, "c": idle, "d": idle}, parks=True)
    line = world.send(FOUR)
    assert (line["verdict"], line["reason"], world.replay.passed) == ("block", "error", None)


@pytest.mark.parametrize("answered", [False, True])
def test_what_the_layer_stream_has_made_of_a_segment_waits_with_a_later_answer_only(
    tmp_path: pathlib.Path, answered: bool
) -> None:
    """A packet that is visited again does not come to that layer, so nothing would tell where it was changed."""
    policy = """version: 1
faults: {on_error: block}
callouts: [{name: a}, {name: b}, {name: d}]
filters:
  - {name: stream, layer: stream, action: {callout: a, kind: unknown}}
  - {name: out, layer: outbound_transport, action: {callout: b, kind: unknown}, when: {ip_protocol: tcp}}
"""
    if answered:
        policy += "  - {name: answers, layer: stream_packet, action: {callout: d, kind: unknown}}\n"
    ends = {"src": "192.0.2.1", "dst": "198.51.100.9"}
    syn = IP(**ends) / TCP(sport=5000, dport=80, flags="S", seq=6)
    data = IP(**ends) / TCP(sport=5000, dport=80, flags="PA", seq=7, ack=1) / b"data"

    class Writes:
        modifies = True

        def classify(self, c: Any) -> None:
            c.write(len(c.packet) - 1, b"A")
            c.permit()

    class Pends:
        parks = True
        handle: Any = None

        def classify(self, c: Any) -> None:
            if len(c.payload):
                self.handle = c.pend()

    pends = Pends()
    world = Decided(tmp_path, policy, {"a": Writes(), "b": pends, "d": Callout(Does(), [], pends=False)}, parks=True)
    assert world.send(syn)["verdict"] == "permit"
    line = world.send(data)
    if not answered:
        assert line["reason"] == "error" and world.replay.replayer.context.errors == {"b": 1}
        return
    assert line["verdict"] == "parked" and pends.handle.complete("permit")
    ((_, line),) = list(world.replay.due(world.at))
    assert line["verdict"] == "permit" and (world.replay.passed or b"").endswith(b"datA")

"""Every region of a diff that some packet lies in has a witness, and replay of its bytes says what the witness says."""

from __future__ import annotations

import dataclasses
import ipaddress
import itertools
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import a_filter, a_policy, slot, sublayer, when, within
from tests.oracle.matching import condition_holds
from wfpd.candidates import inside
from wfpd.capture import LINK_RAW, CapturedPacket
from wfpd.dataplane import policy_diff
from wfpd.explaining import bare_snapshot
from wfpd.imagined import WITH_PORTS, Imagined
from wfpd.model.conditions import Atom, Op
from wfpd.model.fields import TCP_FLAG_BITS
from wfpd.model.layers import LAYER
from wfpd.model.policy import Action, Filter, Policy
from wfpd.replay import Replay
from wfpd.witness import Witnesses

FIN, SYN, RST, ACK = (TCP_FLAG_BITS[name] for name in ("fin", "syn", "rst", "ack"))
LAYERS = ("ipforward", "inbound_transport", "ale_auth_recv_accept", "ale_auth_connect", "outbound_ippacket")
PROTOCOLS = (6, 17, 1, 47)
TOP = 3
MASKS = ((Op.ALL_SET, FIN), (Op.ALL_SET, SYN), (Op.NONE_SET, ACK), (Op.ANY_SET, FIN | RST))
"""Of tcp_flags: no box holds them."""
BASE = int(ipaddress.ip_address("10.0.0.0"))


def names(layer: str) -> dict[str, tuple[int, int]]:
    """Fields to draw from, with the values that packets have."""
    source, destination = ("ip_source", "ip_destination") if layer == "ipforward" else ("ip_remote", "ip_local")
    found = {f"{source}_address": (BASE, BASE + TOP), f"{destination}_address": (BASE, BASE + TOP)}
    if layer == "outbound_ippacket":
        return {**found, "ip_ttl": (63, 65)}
    return {**found, f"{source}_port": (0, TOP), f"{destination}_port": (0, TOP), "ip_protocol": (1, 47)}


@st.composite
def drawn_filters(draw: st.DrawFn, name: str, layer: str) -> Filter:
    conditions = []
    for field, (low, high) in names(layer).items():
        if draw(st.integers(0, 2)) == 0:
            ends = sorted(draw(st.tuples(st.integers(low, high), st.integers(low, high))))
            conditions.append(when(field, within(*ends)))
    if not layer.startswith("ale") and draw(st.integers(0, 2)) == 0:
        conditions.append(when("tcp_flags", Atom(*draw(st.sampled_from(MASKS)))))
    return a_filter(name, draw(st.sampled_from([Action.PERMIT, Action.BLOCK])), *conditions, at=slot(layer),
                    sublayer=draw(st.sampled_from(["high", "low"])), weight=draw(st.integers(0, 2)))  # fmt: skip


@st.composite
def pairs(draw: st.DrawFn) -> tuple[str, Policy, Policy]:
    layer = draw(st.sampled_from(LAYERS))
    ranks = [sublayer("high", 0x9000), sublayer("low", 0x1000)]
    old, new = ([draw(drawn_filters(f"{side}{number}", layer)) for number in range(draw(st.integers(0, 3)))]
                for side in "ab")  # fmt: skip
    return layer, a_policy(old, ranks), a_policy(new, ranks)


def values(layer: str, packet: Imagined) -> dict[str, Any]:
    """What the packet has at the layer, read off its description."""
    outbound = LAYER[layer].hook == "output"
    ported = packet.protocol in WITH_PORTS
    ends = [(int(packet.source), packet.source_port if ported else None),
            (int(packet.destination), packet.destination_port if ported else None)]  # fmt: skip
    found: dict[str, Any] = {"ip_protocol": packet.protocol, "ip_ttl": packet.ttl}
    found["tcp_flags"] = packet.flags if packet.protocol == 6 else None
    kinds = ("ip_source", "ip_destination") if layer == "ipforward" else (
        ("ip_local", "ip_remote") if outbound else ("ip_remote", "ip_local"))  # fmt: skip
    for kind, (address, port) in zip(kinds, ends, strict=True):
        found[f"{kind}_address"], found[f"{kind}_port"] = address, port
    if packet.protocol == 1 and layer != "ipforward":
        found["ip_local_port"], found["ip_remote_port"] = packet.icmp_type, packet.icmp_code
    return found


def all_packets() -> list[Imagined]:
    addresses = [ipaddress.IPv4Address(BASE + offset) for offset in (0, TOP)]
    few = itertools.product(PROTOCOLS, addresses, addresses, (0, TOP, 9), (0, TOP, 9), (63, 64))
    made = [Imagined(number, source, destination, first, second, ttl=ttl) if number in (6, 17)
            else Imagined(number, source, destination, icmp_type=first, icmp_code=second, ttl=ttl)
            for number, source, destination, first, second, ttl in few]  # fmt: skip
    flagged = [dataclasses.replace(one, flags=flags) for one in made for flags in (SYN, ACK, FIN | ACK, RST)
               if flags == SYN or one.protocol == 6]  # fmt: skip
    return [one for one in flagged if one.protocol != 1 or one.icmp_type == 0]  # Others are errors, or none.


PACKETS = all_packets()


@settings(max_examples=100, deadline=None)
@given(pairs())
def test_a_region_that_a_packet_lies_in_is_confirmed_and_replay_agrees(drawn: tuple[str, Policy, Policy]) -> None:
    layer, old, new = drawn
    policies, snapshots = (old, new), (bare_snapshot(old), bare_snapshot(new))
    witnesses = Witnesses(policies, snapshots)
    found = policy_diff(*snapshots, slot(layer), most=300, tests=16)
    for (was, becomes, where), tests in zip(found["regions"], found["tests"], strict=True):
        witness = witnesses.of(slot(layer), was, becomes, where, tests)
        exists = any(
            all(inside(had.get(name), told) for name, told in where.items())
            and all(condition_holds(one, policies[is_new], slot(layer), had) == holds for one, holds, is_new in tests)
            for had in (values(layer, packet) for packet in PACKETS)
        )
        assert witness["confirmed"] or not exists, (where, witness)
        if witness["confirmed"]:
            data = bytes.fromhex(witness["packet"]["data"])
            packet = CapturedPacket(1, 0, data, len(data), True, None, LINK_RAW[-1])
            lines = [Replay(policy).decide(packet, hooks=tuple(witness["hooks"])) for policy in policies]
            assert [line["verdict"] for line in lines] == [was, becomes] == [witness["old"], witness["new"]]


def test_the_packets_that_are_looked_for_are_of_every_kind() -> None:
    assert {packet.protocol for packet in PACKETS} == set(PROTOCOLS)
    assert {packet.flags for packet in PACKETS if packet.protocol == 6} == {SYN, ACK, FIN | ACK, RST}

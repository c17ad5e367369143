"""No field is called served without a packet that has it: the schema's promise, layer by layer and family by family."""

from __future__ import annotations

from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6EchoRequest, IPv6, IPv6ExtHdrFragment
from scapy.packet import Packet, Raw

from tests.builders import a_filter, a_policy, slot, snapshot
from wfpd.dataplane import Flows, Host, Replayer
from wfpd.model.conditions import Condition, Term
from wfpd.model.fields import FIELD
from wfpd.model.policy import Action, Policy
from wfpd.observe.layers_doc import layers_json

NEAR, FAR = 2, 3
HOST = Host([(NEAR, b"eth0", 6, False, 0), (FAR, b"eth1", 6, False, 0)], compartment=1)


def is_served(field: dict[str, Any]) -> bool:
    return field["status"] in ("served", "extension")


CASES = [
    (layer["name"], family["family"], field["name"])
    for layer in layers_json() if layer["served"]
    for family in layer["families"] for field in layer["fields"] if is_served(field)
]  # fmt: skip


def story(family: str) -> list[tuple[str, Packet]]:
    """Two conversations from each side, an error about each, fragments and a ping: (who sends, packet)."""
    if family == "v4":
        there, back = IP(src="192.0.2.1", dst="198.51.100.2"), IP(src="198.51.100.2", dst="192.0.2.1")
        error, ping, fragment = (
            ICMP(type=3, code=3),
            ICMP(type=8, id=1),
            IP(src="192.0.2.1", dst="198.51.100.2", flags="MF"),
        )
    else:
        there, back = IPv6(src="2001:db8::1", dst="2001:db8::2"), IPv6(src="2001:db8::2", dst="2001:db8::1")
        error, ping = ICMPv6DestUnreach(code=4), ICMPv6EchoRequest(id=1)
        fragment = there / IPv6ExtHdrFragment(m=1, nh=17)
    options: list[Any] = [("MSS", 1400), ("WScale", 7)]
    handshake = [
        (there, TCP(sport=4000, dport=80, flags="S", options=options)),
        (back, TCP(sport=80, dport=4000, flags="SA", options=options)),
        (there, TCP(sport=4000, dport=80, flags="A")),
        (there, TCP(sport=4000, dport=80, flags="PA", options=options) / Raw(b"x")),
    ]
    told = [("there" if ip is there else "back", ip / tcp) for ip, tcp in handshake]
    told += [("there", there / UDP(sport=5000, dport=53)), ("back", back / UDP(sport=53, dport=5000))]
    told += [("back", back / error / (there / UDP(sport=5000, dport=53)).build())]
    told += [("back", back / error / (there / TCP(sport=4000, dport=80)).build())]
    told += [("there", there / ping), ("there", fragment / UDP(sport=1, dport=2) / Raw(b"12345678"))]
    return told


STORIES = {family: [(who, bytes(packet)) for who, packet in story(family)] for family in ("v4", "v6")}


def policy_of(layer: str, family: int, field: str) -> Policy:
    """One filter that matches where the field has a value; a twin is reached by a block of its layer."""
    has_value = Condition(FIELD[field].id, (Term((), negate=True),))
    filters = [a_filter("wanted", Action.PERMIT, has_value, at=slot(layer, family))]
    if layer.endswith("_discard"):
        filters.append(a_filter("block", Action.BLOCK, at=slot(layer.removesuffix("_discard"), family)))
    return a_policy(filters)


def seen(layer: str, family: str, field: str, inbound: str) -> bool:
    """Whether some packet of the story, told with `inbound` coming in, has the field at the layer."""
    number = 6 if family == "v6" else 4
    before = snapshot(a_policy([a_filter("before", Action.PERMIT, at=slot(layer, number))]))
    taken = snapshot(policy_of(layer, number, field), generation=2, previous=before)
    wanted = next(i for i in range(taken.n_filters) if taken.filter_name(i) == "wanted")
    for answers, first in (("output", taken), ("forward", taken), ("output", before)):
        hooks = {True: "forward" if answers == "forward" else "input", False: answers}
        flows = Flows(64, False)
        for when, (who, data) in enumerate(STORIES[family]):
            # A policy that comes after the first packet makes the answer reauthorize the flow.
            replayer = Replayer(taken if when else first, flows, HOST, live=True)
            hook = hooks[who == inbound]
            ends = {"in_interface": NEAR if hook != "output" else 0, "out_interface": FAR if hook != "input" else 0}
            rows = replayer.visit(data, hook, when * 1000, mark=7, **ends)["rows"]
            if replayer.snapshot is taken and any(row[0] == slot(layer, number) and row[3] == wanted for row in rows):
                return True
    return False


@pytest.mark.parametrize("layer", sorted({case[0] for case in CASES}))
def test_every_served_field_has_a_packet(layer: str) -> None:
    missing = [
        f"{name} ({family})" for at, family, name in CASES
        if at == layer and not any(seen(layer, family, name, inbound) for inbound in ("there", "back"))
    ]  # fmt: skip
    assert missing == []


def test_a_field_that_is_not_served_is_had_by_no_packet() -> None:
    """The test above can fail: what the schema calls empty is found nowhere."""
    empty = [
        (layer["name"], family["family"], field["name"])
        for layer in layers_json() if layer["served"] and layer["name"] in ("ipforward", "inbound_transport")
        for family in layer["families"] for field in layer["fields"] if not is_served(field)
    ]  # fmt: skip
    assert len(empty) > 4
    assert not [case for case in empty if seen(*case, "there") or seen(*case, "back")]

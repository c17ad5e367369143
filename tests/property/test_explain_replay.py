"""`wfpd explain` says of every packet what `wfpd replay` says, and its steps lead to it."""

from __future__ import annotations

import dataclasses
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import conditions, equal, filters, policies, slot, snapshot, when
from wfpd.capture import CapturedPacket
from wfpd.explaining import Explainer
from wfpd.imagined import imagine
from wfpd.model.layers import slot_name
from wfpd.model.policy import Policy
from wfpd.replay import Replay

LAYERS = {
    "input": ("inbound_ippacket", "inbound_transport", "ale_auth_recv_accept", "datagram_data", "stream_packet"),
    "output": ("ale_auth_connect", "datagram_data", "outbound_transport", "outbound_ippacket"),
    "forward": ("ipforward",),
}
ABOVE_IP = ((), (when("ip_protocol", equal(6)),), (when("ip_local_port", equal(22)), when("ip_protocol", equal(17))))
"""Conditions of the layers that are not forward's."""


@st.composite
def hosts(draw: st.DrawFn) -> tuple[Policy, str]:
    """A policy at the layers of one hook; its conditions are drawn for fields that the layer has."""
    hook = draw(st.sampled_from(sorted(LAYERS)))
    policy = draw(policies(at=slot(draw(st.sampled_from(LAYERS[hook])), draw(st.sampled_from([4, 6]))), most=0))
    names = [item.name for item in policy.callouts]
    drawn = []
    for index in range(draw(st.integers(1, 8))):
        at = slot(draw(st.sampled_from(LAYERS[hook])), draw(st.sampled_from([4, 6])))
        item = draw(filters(f"f{index}", at, ["high", "universal", "low"], names))
        if hook == "forward":
            field = draw(st.sampled_from(["ip_protocol", "flags", "ip_source_port", "ip_source_address"]))
            wanted = draw(st.sampled_from([(), (draw(conditions(field, 6 if at & 1 else 4)),)]))
        else:
            wanted = draw(st.sampled_from(ABOVE_IP if "ippacket" not in slot_name(at) else ABOVE_IP[:1]))
        drawn.append(dataclasses.replace(item, conditions=wanted, order=index))
    return dataclasses.replace(policy, filters=tuple(drawn)), hook


@st.composite
def packets(draw: st.DrawFn) -> CapturedPacket:
    ends = draw(st.sampled_from([("10.0.0.1", "10.0.0.2"), ("10.0.0.2", "10.0.0.1"), ("::1", "2001:db8::1")]))
    protocol = draw(st.sampled_from(["tcp", "udp", "icmp", "gre"]))
    ports = [draw(st.sampled_from([22, 80, 443])) for _ in range(2)] if protocol in ("tcp", "udp") else []
    source, destination = (
        (f"[{end}]:{port}" if ":" in end else f"{end}:{port}") for end, port in zip(ends, ports, strict=True)
    ) if ports else ends  # fmt: skip
    flags = draw(st.sampled_from(["syn", "ack", "syn,ack", "fin,ack", "rst"])) if protocol == "tcp" else None
    found = imagine(protocol, source, destination, flags=flags).packet()
    data = found.data[: draw(st.sampled_from([len(found.data)] * 5 + [24]))]
    return found._replace(data=data, original_length=draw(st.sampled_from([len(data), len(found.data)])))


@settings(max_examples=150, deadline=None)
@given(hosts(), st.lists(packets(), min_size=1, max_size=6), st.sampled_from(["permit", "block", "continue"]))
def test_explain_gives_replays_line_and_tells_how_it_came_to_it(
    drawn: tuple[Policy, str], captured: list[CapturedPacket], answer: str
) -> None:
    policy, hook = drawn
    given = {item.name: answer for item in policy.callouts if item.use}

    def say(context: Any) -> None:
        {"permit": context.permit, "block": context.block, "continue": context.continue_}[answer]()

    called = snapshot(policy, [say if item.use else None for item in policy.callouts])
    replay = Replay(policy, hook=hook, snapshot=called)
    explainer = Explainer(policy, hook=hook, answers=given)
    for packet in captured:
        line, document = replay.decide(packet), explainer.explain(packet)
        assert document["decision"] == line
        layers = [layer for visit in document["visits"] for layer in visit["layers"]]
        for layer, row in zip(layers, line["layers"], strict=True):
            asked = [item for sublayer in layer["sublayers"] for item in sublayer["filters"]
                     if item["match"] == "match"]  # fmt: skip
            last = asked[-1]["after"] if asked else {"action": "none", "right": "set"}
            assert (last["action"], last["right"]) == (row["action"], row["right"])
            standing = [item["filter"] for item in asked if item["stands"]]
            assert (standing[-1] if standing else None) == row["filter"]
            assert [item["callout"] for item in asked if item["answer"]] == row["callouts"]

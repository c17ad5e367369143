"""Policies and packets for compiled callouts that a test makes of `Told`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment
from scapy.packet import Raw

from tests.builders import a_filter, a_policy, callout, slot, snapshot
from tests.registering import Decided
from tests.streams import Conversation
from wfpd.callouts._told import Told
from wfpd.compiler.pack import pack
from wfpd.config import load_policy
from wfpd.dataplane import Flows, Replayer, Snapshot
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
CONTEXTS = """version: 1
callouts: [{name: c, use: "m:C"}]
filters:
  - {name: authorize, layer: ale_auth_recv_accept, action: permit}
  - {name: ask, layer: inbound_transport, action: {callout: c, kind: unknown}}
"""
TRANSPORT, STREAM_LAYER = LAYER["inbound_transport"].index, LAYER["stream"].index
OK, PARAMETER, NO_FLOW, EXISTS, NOT_FOUND = 0, 10, 11, 12, 14
QUESTION = IP(src="198.51.100.2", dst="192.0.2.1") / UDP(sport=9, dport=53) / Raw(b"question")


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


def decided(folder: Path, told: Told, text: str = CONTEXTS, **members: Any) -> Decided:
    class Owner:
        native = told.native

    for name, value in members.items():
        setattr(Owner, name, value)
    return Decided(folder, text, {"c": Owner()})


def talk(told: Told) -> Conversation:
    filters = [a_filter("f", Action.CALLOUT_UNKNOWN, at=slot("stream"), callout="c")]
    return Conversation(snapshot(a_policy(filters, callouts=[callout("c")]), [told], on_error=Word.BLOCK))

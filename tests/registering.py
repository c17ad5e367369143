"""Policies whose callouts are objects of a test, registered as the daemon registers them."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

from scapy.layers.inet import IP, UDP
from scapy.packet import Packet

from wfpd.callouts.registered import Registered
from wfpd.capture import CapturedPacket
from wfpd.compiler.pack import pack
from wfpd.config import load_policy
from wfpd.dataplane._replay import Replayer
from wfpd.dataplane._table import Snapshot
from wfpd.replay import LocalPrefixes, Replay, make_snapshot, parse_local

SECOND = 1_000_000_000
LOCAL = "192.0.2.1,2001:db8::1"


class Decided:
    """A replay of packets that a test makes; 192.0.2.1 and 2001:db8::1 are the host."""

    def __init__(self, folder: pathlib.Path, text: str, instances: Mapping[str, object], **words: Any) -> None:
        path = folder / "policy.yaml"
        path.write_text(text)
        policy = self.policy = load_policy(str(path), trust="warn")
        items = [Registered(one, instances[one.name]) if one.name in instances else None for one in policy.callouts]
        self.items = {item.name: item for item in items if item is not None}
        self.snapshot = make_snapshot(policy, callouts=items)
        local: LocalPrefixes = parse_local(LOCAL)
        self.replay = Replay(policy, local=local, snapshot=self.snapshot, **words)
        self.at = SECOND
        self._number = 0

    def send(self, packet: Packet, mark: int | None = None) -> dict[str, Any]:
        """Decide a packet at the time that is set."""
        self._number += 1
        data = bytes(packet)
        found: dict[str, Any] = self.replay.decide(
            CapturedPacket(self._number, self.at, data, len(data), True, None, 101), mark=mark
        )
        return found


PACKET = bytes(IP(src="192.0.2.1", dst="198.51.100.2") / UDP(sport=9, dport=53))
POLICY = """version: 1
callouts: [{name: c, use: "wfpd.callouts.fixed:Fixed"}]
filters: [{name: one, layer: ipforward_v4, action: {callout: c}}]
"""


def asked_once(
    tmp_path: pathlib.Path, classify: Any, layer: str = "ipforward", hook: str = "forward"
) -> tuple[dict, Replayer]:
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY.replace("ipforward", layer))
    policy = load_policy(str(path), trust="warn")
    table = Snapshot(pack(policy), [classify], generation=1, on_error=2, on_malformed=1, on_late=1, flows_full=1)
    replayer = Replayer(table)
    return replayer.visit(PACKET, hook, 1), replayer


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

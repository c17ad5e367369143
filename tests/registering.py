"""Policies whose callouts are objects of a test, registered as the daemon registers them."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from typing import Any

from scapy.packet import Packet

from wfpd.callouts.registered import Registered
from wfpd.capture import CapturedPacket
from wfpd.config import load_policy
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

    def send(self, packet: Packet) -> dict[str, Any]:
        """Decide a packet at the time that is set."""
        self._number += 1
        data = bytes(packet)
        found: dict[str, Any] = self.replay.decide(
            CapturedPacket(self._number, self.at, data, len(data), True, None, 101)
        )
        return found

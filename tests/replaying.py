"""Decides described packets by a policy text: the short way from a policy to a verdict in tests."""

from __future__ import annotations

import pathlib
import tempfile
from typing import Any

from scapy.packet import Packet

from wfpd.capture import CapturedPacket
from wfpd.config import load_policy
from wfpd.model.policy import Policy
from wfpd.observe.record import EventRecord
from wfpd.replay import Replay, parse_local


def _policy(text: str) -> Policy:
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "policy.yaml"
        path.write_text(text)
        return load_policy(str(path), trust="warn")


def conversations(
    policy: str, packets: list[Packet | bytes], times: list[float], *, local: str | None = None
) -> list[EventRecord]:
    """The ended flows of a replay whose packets come at `times`, in seconds."""
    replay = Replay(_policy(policy), local=parse_local(local) if local else None, flow_ends=True)
    found: list[EventRecord] = []
    for number, (packet, when) in enumerate(zip(packets, times, strict=True), 1):
        data = bytes(packet)
        replay.decide(CapturedPacket(number, int(when * 1e9), data, len(data), True, None, 101))
        found += replay.ended(number)
    return found + list(replay.ended(len(packets), shutdown=True))


def decide(
    policy: str, packets: list[Packet | bytes], *, hook: str = "forward", local: str | None = None,
    checksums: bool = False, times: list[float] | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """One result a packet, as `wfpd replay --json` prints them; packets are a second apart unless `times` says."""
    replay = Replay(_policy(policy), hook=hook, local=parse_local(local) if local else None, checksums=checksums)
    results = []
    for number, packet in enumerate(packets, 1):
        data = bytes(packet)
        when = times[number - 1] if times else float(number)
        results.append(replay.decide(CapturedPacket(number, int(when * 1e9), data, len(data), True, None, 101)))
    return results

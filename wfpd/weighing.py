"""What a change of policy means for real traffic: a capture decided by both policies, packet by packet.

Each policy has flows of its own.  No callout is called: one is taken to continue, and the packets that
asked one are counted, for their verdicts are not sure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from wfpd.capture import CapturedPacket
from wfpd.dataplane import Snapshot
from wfpd.errors import CaptureError
from wfpd.explaining import answers_of, bare_snapshot
from wfpd.model.policy import Policy
from wfpd.replay import LocalPrefixes, Replay

MOST_KINDS = 10_000
"""Changes that are told apart, by what decides before and after; the packets of further ones are counted together."""
SHOWN = 50
"""Changes that a person is shown."""

Document = dict[str, Any]
Decider = tuple[str, str, str | None, str | None]
"""Verdict, reason, layer and filter."""


@dataclass(slots=True)
class _Change:
    packets: int = 0
    bytes: int = 0
    first: int = 0


def weigh(
    old: Policy, new: Policy, packets: Iterator[CapturedPacket], *, hook: str = "forward",
    local: LocalPrefixes | None = None, snapshots: tuple[Snapshot, Snapshot] | None = None,
) -> Document:  # fmt: skip
    """The packets whose verdict changes, by what decides them before and after.

    `broken`: why the capture could not be read to its end, or None; what came before is weighed.
    """
    before, after = snapshots or (bare_snapshot(old), bare_snapshot(new))
    sides = [
        Replay(policy, hook=hook, local=local, snapshot=snapshot, answers=answers_of(snapshot, {}))
        for policy, snapshot in ((old, before), (new, after))
    ]
    weights = _Weights()
    broken = None
    try:
        for packet in packets:
            lines = [side.decide(packet) for side in sides]
            weights.add(packet, lines[0], lines[1])
    except CaptureError as error:
        broken = error.message
    return {**weights.document(), "broken": broken}


class _Weights:
    """Counts, in memory that does not grow with the capture."""

    def __init__(self) -> None:
        self._changes: dict[tuple[Decider, Decider], _Change] = {}
        self._rest = _Change()
        self._packets = self._changed = self._undecided = 0
        self._bytes = self._bytes_changed = 0

    def add(self, packet: CapturedPacket, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        """One packet and its lines."""
        length = packet.original_length
        self._packets += 1
        self._bytes += length
        self._undecided += any(row["callouts"] for line in (old, new) for row in line["layers"])
        if old["verdict"] == new["verdict"]:
            return
        self._changed += 1
        self._bytes_changed += length
        key = _decider(old), _decider(new)
        change = self._changes.get(key)
        if change is None:
            change = self._rest if len(self._changes) >= MOST_KINDS else self._changes.setdefault(key, _Change())
            change.first = change.first or packet.number
        change.packets += 1
        change.bytes += length

    def document(self) -> Document:
        """The heaviest change first."""
        ordered = sorted(self._changes.items(), key=lambda item: (-item[1].packets, item[1].first))
        return {
            "packets": self._packets, "bytes": self._bytes, "changed": self._changed,
            "unchanged": self._packets - self._changed, "bytes_changed": self._bytes_changed,
            "asked_callouts": self._undecided,
            "changes": [{"old": _told(old), "new": _told(new), "packets": change.packets, "bytes": change.bytes,
                         "first_packet": change.first} for (old, new), change in ordered],
            "other_changes": self._rest.packets,
        }  # fmt: skip


def _decider(line: Mapping[str, Any]) -> Decider:
    return line["verdict"], line["reason"], line["layer"], line["filter"]


def _told(decider: Decider) -> Document:
    return dict(zip(("verdict", "reason", "layer", "filter"), decider, strict=True))


def render(document: Mapping[str, Any]) -> Iterator[str]:
    """Lines for a person."""
    yield (f"capture: the verdict of {document['changed']} of {counted(document['packets'])} changes "
           f"({document['bytes_changed']} of {document['bytes']} bytes)")  # fmt: skip
    for change in document["changes"][:SHOWN]:
        yield (f"  {_say(change['old'])} -> {_say(change['new'])}: {counted(change['packets'])}, "
               f"{change['bytes']} bytes, the first is {change['first_packet']}")  # fmt: skip
    hidden = sum(change["packets"] for change in document["changes"][SHOWN:]) + document["other_changes"]
    if hidden:
        yield f"  and {counted(hidden)} that other filters decide"
    if document["asked_callouts"]:
        yield f"  not decided: {counted(document['asked_callouts'])} with a callout, which was taken to continue"
    if document["broken"] is not None:
        yield f"  the capture breaks off after packet {document['packets']}: {document['broken']}"


def counted(n: int) -> str:
    """`1 packet`, `2 packets`."""
    return f"{n} packet" + ("" if n == 1 else "s")


def _say(decider: Mapping[str, Any]) -> str:
    by = decider["filter"] or decider["reason"]
    at = f" at {decider['layer']}" if decider["layer"] else ""
    return f"{decider['verdict']} ({by}{at})"

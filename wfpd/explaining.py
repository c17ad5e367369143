"""`wfpd explain`: one packet through a policy's tables, with everything that they say of it.

No callout is imported or called: what it answers is said on the command line, or taken to be
"continue".  The packet runs on replay's own path, so that its verdict is what `wfpd replay` prints.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from wfpd.capture import CapturedPacket
from wfpd.compiler.pack import pack
from wfpd.dataplane import Host, Snapshot
from wfpd.errors import UsageError
from wfpd.model.policy import Policy
from wfpd.observe.explain import FORMAT, Document, describe_packet, explain_visit
from wfpd.replay import Answers, LocalPrefixes, Replay

NEAR = 5
"""Near misses a sublayer."""
FEW_FLOWS = 16
"""Room for a packet that is explained by itself."""
KINDS = ("permit", "block", "continue")


def _never_called(context: object) -> None:
    raise AssertionError("explain calls no callout")


MOST_DATA = 16_384
"""Bytes of a packet that the daemon is asked about; what is behind them is cut off."""


def bare_snapshot(policy: Policy, packed: bytes | None = None) -> Snapshot:
    """The policy's tables; callouts with `use` count as registered and are not imported.

    `packed`: the packed policy, where somebody has it already.
    """
    faults = policy.faults
    return Snapshot(
        pack(policy) if packed is None else packed, [_never_called if item.use else None for item in policy.callouts],
        generation=1,
        on_error=int(faults.on_error), on_malformed=int(faults.on_malformed), on_late=int(faults.on_late),
        flows_full=int(policy.daemon.flows_full),
    )  # fmt: skip


def parse_answers(texts: list[str]) -> dict[str, str]:
    """`CALLOUT=permit|block|continue` each; UsageError if one is not."""
    found = {}
    for text in texts:
        name, _, kind = text.rpartition("=")
        if not name or kind not in KINDS:
            raise UsageError(f"{text!r} is no answer of a callout", hint="NAME=permit, NAME=block or NAME=continue")
        found[name] = kind
    return found


def answers_of(snapshot: Snapshot, given: Mapping[str, str]) -> Answers:
    """Answers by callout index.  UsageError where no callout has the name."""
    names = [snapshot.callout_name(index) for index in range(snapshot.n_callouts)]
    for name in given:
        if name not in names:
            raise UsageError(f"the policy has no callout {name!r}", hint=", ".join(names) or "it has none at all")
    return lambda callout: (given.get(names[callout], "continue"), False)


def explanation(replay: Replay, packet: CapturedPacket, line: Document) -> Document:
    """The document of the packet that `replay` has just decided with near misses; `line` is what it said."""
    return {
        "format": FORMAT,
        "generation": replay.snapshot.generation,
        "packet": describe_packet(packet.number, packet.data, packet.original_length),
        "decision": line,
        "visits": [{"hook": hook, "layers": explain_visit(replay.snapshot, visit)} for hook, visit in replay.visits],
    }


class Explainer:
    """One policy and the flows of the packets before the one that is explained."""

    def __init__(
        self, policy: Policy, *, hook: str = "forward", local: LocalPrefixes | None = None, checksums: bool = False,
        answers: Mapping[str, str] | None = None, snapshot: Snapshot | None = None, host: Host | None = None,
    ) -> None:  # fmt: skip
        """`snapshot` and `host`: those in use, in place of the policy's own tables; the flows are none of theirs."""
        self.snapshot = snapshot or bare_snapshot(policy)
        self._replay = Replay(
            policy, hook=hook, local=local, checksums=checksums, snapshot=self.snapshot, host=host,
            answers=answers_of(self.snapshot, answers or {}), live=snapshot is not None,
            flows_max=None if snapshot is None else FEW_FLOWS,
        )  # fmt: skip

    def explain(
        self, packet: CapturedPacket, *, near: int = NEAR, mark: int | None = None, interface: int = 0
    ) -> Document:
        """Decide the packet and say why."""
        return explanation(self._replay, packet, self._replay.decide(packet, near=near, mark=mark, interface=interface))

    def explain_nth(self, packets: Iterator[CapturedPacket], number: int, **options: Any) -> Document:
        """Decide the packets before `number`, then explain it.  UsageError if there are fewer."""
        for packet in itertools.islice(packets, number - 1):
            self._replay.decide(packet)
        for packet in packets:
            return self.explain(packet, **options)
        raise UsageError(f"the capture has no packet {number}")

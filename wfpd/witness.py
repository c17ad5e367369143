"""For a region of a policy diff one concrete packet, which both policies are then asked about on replay's path.

The search for a packet is a guess (`candidates`).  What is said of one is not: it came to the layer, the values that
it had there lie in the region, and the verdicts are those that replay gave.  Where no guess comes so far, that is said.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wfpd.candidates import Candidate, Region, Test, Told, Where, candidates, hints_of, inside
from wfpd.dataplane import Snapshot, explain_values
from wfpd.explaining import FEW_FLOWS, answers_of, bare_snapshot
from wfpd.imagined import WITH_PORTS, Imagined
from wfpd.model.conditions import Condition
from wfpd.model.fields import FIELDS, TCP_FLAG_BITS
from wfpd.model.layers import BY_SLOT, slot_name, why_empty
from wfpd.model.names import ICMP_TYPES, ICMPV6_TYPES
from wfpd.model.policy import Action, Filter, Policy, default_key
from wfpd.observe.explain import describe_packet
from wfpd.replay import Replay

MOST_TRIED = 40
"""Packets of one region."""
MOST_SINGLE = 64
"""Conditions that are kept to be asked about."""
_ECHO = {4: ICMP_TYPES["echo_request"], 6: ICMPV6_TYPES["echo_request"]}
_OF_THE_HOST = "it is the host's to say"

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Asked:
    """What one policy makes of a packet."""

    line: Document
    action: str | None
    """At the layer: permit, block, or None where the packet does not come there."""
    values: Mapping[str, Any]


class Witnesses:
    """Both policies, to be asked about packets.  Callouts are not called: they are taken to continue."""

    def __init__(self, policies: tuple[Policy, Policy], snapshots: tuple[Snapshot, Snapshot]) -> None:
        self._policies = policies
        self._sides = tuple(zip(policies, snapshots, strict=True))
        self._single: dict[tuple[int, Condition, bool], Snapshot] = {}
        """By slot, condition and side: the condition as the only filter of a policy."""

    def of(self, slot: int, old: str | None, new: str | None, where: Where, tests: Sequence[Test] = ()) -> Document:
        """A packet in the region, what both policies decide, and whether it confirms the region; or why not."""
        layer, family = BY_SLOT[slot]
        if layer.twin:
            return _refused("a discard twin tells of a block and changes no verdict")
        lacking = [
            f"{name}: {why_empty(layer, name) or _OF_THE_HOST}" for name in where if _is_hosts(name, where[name])
        ]
        if lacking:
            return _refused(f"no packet carries {'; '.join(lacking)}")
        best: tuple[int, Document] = 0, _refused("no packet was found that comes to this layer with these values")
        undecided = old is None or new is None or bool(tests)
        region = Region(where, family, hints_of(tests, self._policies, family, where))
        for candidate in itertools.islice(candidates(layer, region, undecided), MOST_TRIED):
            rank, found = self._tried(candidate, slot, (old, new), where, tests)
            if rank > best[0]:
                best = rank, found
            if found["confirmed"]:
                break
        return best[1]

    def _tried(
        self, candidate: Candidate, slot: int, told: tuple[str | None, str | None], where: Where, tests: Sequence[Test]
    ) -> tuple[int, Document]:
        """How far the candidate came, and the document."""
        quick = [self._ask(side, candidate, slot, -1) for side in (0, 1)]
        came = [self._action(side, asked, slot) for side, asked in enumerate(quick)]
        if all(asked.action is None for asked in quick) or None in came:
            return _not_there(candidate, quick, slot)
        known = [self._ask(side, candidate, slot, 0).values for side in (0, 1)]
        values = {**known[0], **known[1]}
        apart = [name for name in where if not inside(values.get(name), where[name])]
        apart += [] if apart else self._failing(slot, tests, values)
        if apart:
            return 1, _refused(f"no packet was found with these values of {', '.join(apart)}")
        verdicts = quick[0].line["verdict"], quick[1].line["verdict"]
        if any(said not in (None, action) for said, action in zip(told, came, strict=True)):
            return 4, _document(candidate, quick, "the layer says otherwise of it: a fault of the comparison")
        if verdicts[0] != verdicts[1]:
            return 5, _document(candidate, quick, None)
        if came[0] != came[1]:
            return 3, _document(candidate, quick, f"the layer's answers differ, and {_decided(quick[0].line)}")
        return 2, _document(candidate, quick, f"both policies {verdicts[0]} the packets that were tried")

    def _failing(self, slot: int, tests: Sequence[Test], values: Mapping[str, Any]) -> list[str]:
        """The fields of the tests that are otherwise for these values."""
        failing = [FIELDS[condition.field].name for condition, holds, is_new in tests
                   if self._holds(slot, condition, is_new, values) != holds]  # fmt: skip
        return list(dict.fromkeys(failing))

    def _holds(self, slot: int, condition: Condition, is_new: bool, values: Mapping[str, Any]) -> bool:
        key = slot, condition, is_new
        if key not in self._single:
            if len(self._single) >= MOST_SINGLE:
                self._single.clear()
            self._single[key] = bare_snapshot(_only(self._policies[is_new], slot, condition))
        return bool(explain_values(self._single[key], slot, dict(values), 0)["held"])

    def _action(self, side: int, asked: _Asked, slot: int) -> str | None:
        """At the layer; without filters there it permits."""
        if asked.action is None and not self._sides[side][1].layer_count(slot):
            return "permit"
        return asked.action

    def _ask(self, side: int, candidate: Candidate, slot: int, near: int) -> _Asked:
        policy, snapshot = self._sides[side]
        replay = Replay(policy, snapshot=snapshot, answers=answers_of(snapshot, {}), flows_max=FEW_FLOWS)
        line = replay.decide(candidate.packet(), near=near, mark=candidate.mark, hooks=candidate.hooks)
        for _, visit in replay.visits:
            for place, row in enumerate(visit["rows"]):
                if row[0] == slot:
                    values = visit["layers"][place]["values"] if near >= 0 else {}
                    return _Asked(line, "block" if row[1] == "block" else "permit", values)
        return _Asked(line, None, {})


def _only(policy: Policy, slot: int, condition: Condition) -> Policy:
    """A policy whose only filter has only this condition."""
    named = {atom.set for term in condition.terms for atom in term.atoms}
    sets = tuple(item for item in policy.sets if item.name in named)
    key = default_key("diff", "filter", "only")
    only = Filter("only", key, slot, policy.sublayers[0].name, Action.PERMIT, 0, 0, (condition,))
    return dataclasses.replace(policy, filters=(only,), sets=sets)


def _is_hosts(name: str, told: Told) -> bool:
    """Whether a packet of itself cannot have the field, and the region wants a value of it."""
    if told[1]:
        return False
    return name not in _CARRIED


_CARRIED = frozenset(
    "ip_local_address ip_remote_address ip_source_address ip_destination_address ip_local_address_type "
    "ip_destination_address_type ip_protocol ip_local_port ip_remote_port ip_source_port ip_destination_port icmp_type "
    "icmp_code direction flags embedded_protocol embedded_remote_address embedded_local_address_type "
    "embedded_local_port embedded_remote_port reauthorize_reason ale_reauth_reason original_icmp_type ip_dscp ip_ecn "
    "ip_ttl ip_length ip_fragment tcp_flags tcp_mss tcp_window_scale tcp_window packet_mark interface_name".split()
)


def _not_there(candidate: Candidate, asked: Sequence[_Asked], slot: int) -> tuple[int, Document]:
    """The packet did not come to the layer, under one of the policies at least."""
    for one in asked:
        if one.action is None and one.line["verdict"] == "block":
            why = f"it does not come to {slot_name(slot)}: {_decided(one.line)}"
            return 2, _document(candidate, asked, why)
    return 0, _refused(f"no packet was found that comes to {slot_name(slot)}")


def _decided(line: Document) -> str:
    by = " ".join(str(line[key]) for key in ("layer", "sublayer", "filter") if line[key] is not None)
    return f"{by or line['reason']} decides: {line['verdict']}"


def _refused(why: str) -> Document:
    return {"confirmed": False, "why": why, "command": None, "packet": None}


def _document(candidate: Candidate, asked: Sequence[_Asked], why: str | None) -> Document:
    packet = candidate.packet()
    return {
        "confirmed": why is None, "why": why, "command": command(candidate),
        "packet": describe_packet(1, packet.data, len(packet.data)), "hooks": list(candidate.hooks),
        "mark": candidate.mark,
        "interface": None if candidate.interface is None else candidate.interface.decode("utf-8", "backslashreplace"),
        "old": asked[0].line["verdict"], "new": asked[1].line["verdict"],
    }  # fmt: skip


def command(candidate: Candidate) -> str | None:
    """The `wfpd explain` that describes the packet; None where it has no words for it."""
    made = candidate.imagined
    plain = Imagined(made.protocol, made.source, made.destination, made.source_port, made.destination_port, made.flags,
                     made.icmp_type, made.icmp_code, made.payload)  # fmt: skip
    name = (candidate.interface or b"").decode("utf-8", "backslashreplace")
    if made != plain or len(candidate.hooks) != 1 or not all(letter.isalnum() or letter in ".-_" for letter in name):
        return None
    parts = [f"wfpd explain --hook {candidate.hooks[0]} --proto {_PROTOCOLS.get(made.protocol, made.protocol)}"]
    for option, end, port in (
        ("--src", made.source, made.source_port),
        ("--dst", made.destination, made.destination_port),
    ):
        shown = f"[{end}]" if end.version == 6 and made.protocol in WITH_PORTS else str(end)
        parts.append(f"{option} {shown}" + (f":{port}" if made.protocol in WITH_PORTS else ""))
    if made.protocol == 6 and made.flags != TCP_FLAG_BITS["syn"]:
        names = [flag for flag, bit in TCP_FLAG_BITS.items() if made.flags & bit]
        if not names:
            return None
        parts.append(f"--flags {','.join(names)}")
    if made.protocol in (1, 58) and (made.icmp_type, made.icmp_code) != (_ECHO[made.source.version], 0):
        parts.append(f"--icmp {made.icmp_type}/{made.icmp_code}")
    parts += [f"--payload {made.payload}"] if made.payload else []
    parts += [f"--interface {name}"] if name else []
    parts += [f"--mark {candidate.mark:#x}"] if candidate.mark is not None else []
    return " ".join(parts)


_PROTOCOLS = {6: "tcp", 17: "udp", 1: "icmp", 58: "icmpv6"}

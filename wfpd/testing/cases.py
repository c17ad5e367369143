"""What a file of tests says: frozen cases, each with the packets that it is about and what is expected of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from wfpd.capture import CapturedPacket
from wfpd.config.layer_names import LAYER_NAMES
from wfpd.errors import Location
from wfpd.replay import LocalPrefixes

MEMBERS = ("verdict", "reason", "layer", "sublayer", "filter", "veto", "callouts", "malformed")
"""What can be expected of a packet, in the order in which it is told."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One member of an expectation that is another."""

    member: str
    expected: Any
    came: Any


@dataclass(frozen=True, slots=True)
class Expectation:
    """Some of MEMBERS with the values that they should have."""

    members: Mapping[str, Any]
    location: Location = field(default_factory=Location)

    def differences(self, line: Mapping[str, Any]) -> list[Difference]:
        """Where replay's line is another."""
        found = []
        for member in MEMBERS:
            if member not in self.members:
                continue
            expected, came = self.members[member], came_of(line, member)
            if not (_is_at(expected, came) if member == "layer" else expected == came):
                found.append(Difference(member, expected, came))
        return found


def came_of(line: Mapping[str, Any], member: str) -> Any:
    """The member as replay's line has it; `callouts` are those of all layers, in order."""
    if member == "callouts":
        return [name for row in line["layers"] for name in row["callouts"]]
    return line.get(member)


def _is_at(expected: str, came: str | None) -> bool:
    """A layer without `_v4` or `_v6` is that of either family."""
    layer, families = LAYER_NAMES[expected]
    return came in [layer.full_name(family) for family in families]


@dataclass(frozen=True, slots=True)
class Step:
    """One packet, where it passes, and what is expected of it."""

    packet: CapturedPacket
    hooks: tuple[str, ...] | None
    """None: those of the trial's `local` or `hook`."""
    expected: tuple[Expectation, ...] = ()
    mark: int | None = None


@dataclass(frozen=True, slots=True)
class FromCapture:
    """A capture, what is expected of all of its packets, of some, and of the whole."""

    path: str
    hook: str = "forward"
    local: LocalPrefixes | None = None
    checksums: bool = False
    every: Expectation | None = None
    by_number: Mapping[int, Expectation] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    """By verdict."""
    golden: str = ""
    """A file of the lines that `wfpd replay --json` prints, or nothing."""


@dataclass(frozen=True, slots=True)
class Case:
    """One case."""

    name: str
    location: Location
    steps: tuple[Step, ...] = ()
    together: bool = False
    """The steps are one conversation with one flow table; else each is by itself."""
    capture: FromCapture | None = None
    answers: Mapping[str, str] = field(default_factory=dict)
    run_callouts: bool = False
    skip: str = ""
    """Why the case is passed over, or nothing."""


@dataclass(frozen=True, slots=True)
class Suite:
    """One file of tests."""

    path: str
    policy: str
    cases: tuple[Case, ...] = ()

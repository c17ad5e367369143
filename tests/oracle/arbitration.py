"""One layer's decision from its matching filters, as Microsoft's "Filter Arbitration" reads.

Slow and obvious; shares only the model's values with what it checks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.oracle.matching import Value, matching_filters
from wfpd.model.policy import Action, Filter, FilterFlag, Policy


@dataclass(frozen=True, slots=True)
class Answer:
    """What a callout says."""

    kind: str = "continue"
    """permit, block or continue."""
    clear_right: bool = False


@dataclass(slots=True)
class Outcome:
    """The standing result of a layer."""

    action: str = "none"
    right: bool = True
    """FWPS_RIGHT_ACTION_WRITE is set."""
    reason: str = "no_match"
    filter: str | None = None
    veto: bool = False
    callouts: list[str] = field(default_factory=list)
    """Names of the filters whose callouts were called, in order."""
    seen: list[tuple[str | None, bool]] = field(default_factory=list)
    """What each of them was shown: the action so far, and the right."""
    would_match: int = 0
    """Audit-mode filters that would have matched."""


Callouts = Callable[[Filter], Answer | None]
"""A filter's callout: its answer, or None for one that is not registered."""


def decide_layer(policy: Policy, slot: int, values: Mapping[str, Value], callouts: Callouts) -> Outcome:
    """Visit every sublayer; in each the first terminating result counts."""
    outcome = Outcome()
    by_sublayer: dict[str, list[Filter]] = {}
    for item in matching_filters(policy, slot, values):
        by_sublayer.setdefault(item.sublayer, []).append(item)
    for matching in by_sublayer.values():
        for item in matching:
            if FilterFlag.AUDIT in item.flags:
                outcome.would_match += 1
            elif _visit(item, outcome, callouts):
                break
    return outcome


def _visit(item: Filter, outcome: Outcome, callouts: Callouts) -> bool:
    """Let one filter speak; whether its result ended the sublayer."""
    hard = FilterFlag.CLEAR_ACTION_RIGHT in item.flags
    if item.action is Action.PERMIT:
        merge(outcome, item, "permit", hard, "filter", False)
        return True
    if item.action is Action.BLOCK:
        merge(outcome, item, "block", True, "filter", False)
        return True
    answer = callouts(item)
    if answer is None:
        if item.action is Action.CALLOUT_INSPECTION:
            return False
        if FilterFlag.PERMIT_IF_CALLOUT_UNREGISTERED in item.flags:
            merge(outcome, item, "permit", hard, "missing_callout", False)
        else:
            merge(outcome, item, "block", True, "missing_callout", False)
        return True
    outcome.callouts.append(item.name)
    outcome.seen.append((None if outcome.action == "none" else outcome.action, outcome.right))
    if item.action is Action.CALLOUT_INSPECTION:
        return False
    kind = answer.kind
    if kind == "continue":
        if item.action is Action.CALLOUT_UNKNOWN:
            return False
        kind = "block"
    merge(outcome, item, kind, answer.clear_right, "callout", True)
    return True


def merge(outcome: Outcome, item: Filter, action: str, clear: bool, reason: str, by_callout: bool) -> None:
    """The merge table: while the right is set the newer result stands; then only a veto does."""
    veto = not outcome.right and outcome.action == "permit" and action == "block" and by_callout
    if not outcome.right and not veto:
        return
    outcome.action = action
    outcome.right = not (clear or veto)
    outcome.reason = "veto" if veto else reason
    outcome.filter = item.name
    outcome.veto = veto

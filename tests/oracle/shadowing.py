"""Which filters of a sublayer can never decide, by looking at every point that can matter.

Slow and obvious: for each field the values at which some test changes its answer, and their neighbours; all
combinations of them; at each, the filters in rank order.  Exact for tests of numbers by ranges, and for texts
compared as a whole.  Shares only the model's values and the matching oracle with what it checks.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from tests.oracle.matching import Value, matching_filters
from wfpd.model.conditions import Op
from wfpd.model.fields import FIELDS
from wfpd.model.policy import Action, Filter, FilterFlag, Policy

_STATIC = (Action.PERMIT, Action.BLOCK)


def ends(policy: Policy, item: Filter) -> bool:
    """Whether nothing of its sublayer comes after the filter where it matches."""
    if FilterFlag.AUDIT in item.flags or item.action is Action.CALLOUT_INSPECTION:
        return False
    registered = any(callout.name == item.callout and callout.use for callout in policy.callouts)
    return item.action in _STATIC or item.action is Action.CALLOUT_TERMINATING or not registered


def reached(policy: Policy, slot: int, values: dict[str, Value]) -> list[str]:
    """Names of the filters that are asked at a point: of each sublayer up to the first that ends it."""
    found, ended = [], set()
    for item in matching_filters(policy, slot, values):
        if item.sublayer not in ended:
            found.append(item.name)
            if ends(policy, item):
                ended.add(item.sublayer)
    return found


def points(policy: Policy, slot: int) -> Iterator[dict[str, Value]]:
    """Every point that can matter to filters whose tests are ranges, EMPTY, sets and whole texts."""
    family = 6 if slot & 1 else 4
    values: dict[int, set[Value]] = {}
    for item in policy.filters:
        for condition in item.conditions if item.slot == slot else ():
            bits = FIELDS[condition.field].type_for(family).bits
            known = values.setdefault(condition.field, {None, 0} if bits else {None, b"nobody says this"})
            for atom in (atom for term in condition.terms for atom in term.atoms):
                if not bits:
                    known.add(atom.text)
                elif atom.op is Op.RANGE:
                    edges = (atom.low - 1, atom.low, atom.high, atom.high + 1)
                    known.update(edge for edge in edges if 0 <= edge < 1 << bits)
    for chosen in itertools.product(*values.values()):
        yield {FIELDS[field].name: value for field, value in zip(values, chosen, strict=True)}


def deciding(policy: Policy, slot: int) -> set[str]:
    """Names of the filters that are reached somewhere."""
    return {name for values in points(policy, slot) for name in reached(policy, slot, values)}

"""A change as text, read and ready to be added: objects and filters that name each other and those that are there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from wfpd.bfe.ground import Ground
from wfpd.bfe.objects import KIND_OF, Added, Item, Owner
from wfpd.bfe.working import Working, known
from wfpd.config import load_change
from wfpd.errors import FwpError
from wfpd.model.policy import FILE_PROVIDER, Callout, Filter, Policy, ValueSet


@dataclass(frozen=True, slots=True)
class Fragment:
    """What one call adds."""

    items: tuple[tuple[Item, object], ...]
    """Objects, each with its callable (callouts) or None."""
    filters: tuple[Filter, ...]
    sets: Mapping[str, ValueSet]

    def add_to(self, working: Working, owner: Owner, expires: float | None) -> list[Added]:
        """Add all of it, or nothing where it raises; what the filters became."""
        with working.whole():
            for item, call in self.items:
                working.add(item, owner, call=call)
            working.add_sets(self.sets)
            return [working.add_filter(item, owner, expires) for item in self.filters]


def read(text: str, working: Working, ground: Ground, *, callouts: bool) -> Fragment:
    """Read a change.  PolicyError with every error in it; `callouts`: it may name code."""
    policy = load_change(text, known(working), callouts=callouts)
    items = _declared(policy, working)
    calls = [ground.load(item) if isinstance(item, Callout) and item.use else None for item in items]
    filters = tuple(policy.filters)
    for item in (*items, *filters):
        if getattr(item, "provider", "") == FILE_PROVIDER:
            raise FwpError(
                "FWP_E_INVALID_PARAMETER",
                f"{item.name!r} names the provider {FILE_PROVIDER}, whose objects are those of the policy file",
            )
    return Fragment(tuple(zip(items, calls, strict=True)), filters, {item.name: item for item in policy.sets})


def _declared(policy: Policy, working: Working) -> list[Item]:
    """The objects that were not there before, in the order of what refers to what."""
    found: list[Item] = []
    for items in (policy.providers, policy.provider_contexts, policy.sublayers, policy.callouts):
        found += [item for item in items if working.entries(KIND_OF[type(item)]).get(item.key) is None]
    return found

"""When a callout with a time budget is called, by the description of it: one call after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from wfpd.model.policy import Budget


def admissions(budget: Budget, calls: Iterable[tuple[int, int]]) -> Iterator[str]:
    """For each call (beginning, how long it would take), in order of time: admitted, suspended or probe."""
    slow_since: list[int] = []
    until = None
    for begins, takes in calls:
        ends, slow = begins + takes, takes > budget.time_ns
        if until is not None and begins < until:
            yield "suspended"
            continue
        yield "admitted" if until is None else "probe"
        if until is not None:
            until = ends + budget.suspend_ns if slow else None
        elif slow:
            if slow_since and ends - slow_since[0] > budget.within_ns:
                slow_since = []
            slow_since.append(ends)
            if len(slow_since) == budget.times:
                slow_since, until = [], ends + budget.suspend_ns

"""Tables are made for the slots that have filters, and go with their snapshot."""

from __future__ import annotations

import gc
import resource

from bench import workloads
from tests.builders import a_filter, a_policy, slot, snapshot
from wfpd.dataplane._probe import build_seconds, table_stats
from wfpd.model.policy import Action


def test_only_slots_with_filters_have_tables():
    taken = snapshot(a_policy([a_filter("a", Action.PERMIT), a_filter("b", Action.BLOCK, at=slot(family=6))]))
    assert [index for index in range(64) if table_stats(taken, index)] == [slot(), slot(family=6)]
    assert table_stats(taken, slot())["filters"] == 1


def test_a_table_says_how_large_it_is():
    rules = workloads.rules("access", 2000)
    sizes = table_stats(snapshot(workloads.policy(rules)), slot())
    assert 2000 * 5 * 8 < sizes["bytes"] < 2000 * 300


def test_tables_that_are_freed_leave_no_memory_behind():
    taken = snapshot(workloads.policy(workloads.rules("chain", 2000)))
    for _ in range(5):
        build_seconds(taken)
    gc.collect()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(100):
        build_seconds(taken)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 4096  # KiB; a table here has 300.

"""Time budgets of callouts: when one is suspended, and when it comes back."""

from __future__ import annotations

import uuid
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.builders import a_filter, a_policy, callout
from tests.oracle.budget import admissions
from wfpd.callouts.counting import Counting
from wfpd.callouts.registered import Registered
from wfpd.compiler.pack import pack
from wfpd.dataplane._budget import Watch, drive
from wfpd.dataplane._replay import Replayer
from wfpd.dataplane._table import Snapshot
from wfpd.model.policy import Action, Budget, Callout

BUDGET = Budget(time_ns=10, times=2, within_ns=100, suspend_ns=50)
SLOW, QUICK = 11, 10


class Permits:
    def classify(self, c: Any) -> None:
        c.permit()


def registered(made: object, budget: Budget | None, watch: Watch | None = None) -> Registered:
    one = Registered(Callout("c", uuid.UUID(int=1), "tests:made", {}, budget=budget), made)
    one.watch = watch
    return one


def said(*calls: tuple[int, int]) -> list[str]:
    """What was said of calls that begin at a time and take so long."""
    return drive(BUDGET, [(begins, begins + takes) for begins, takes in calls])[:-1]


def test_the_second_slow_call_within_the_window_suspends_and_a_quick_probe_ends_it() -> None:
    calls = (1000, SLOW), (1020, SLOW), (1030, QUICK), (1080, QUICK), (1081, QUICK), (1090, QUICK)
    assert said(*calls) == ["admitted", "admitted", "suspended", "suspended", "probe", "admitted"]


def test_a_slow_probe_suspends_again_for_the_whole_time() -> None:
    calls = (1000, SLOW), (1020, SLOW), (1081, SLOW), (1141, QUICK), (1142, QUICK)
    assert said(*calls) == ["admitted", "admitted", "probe", "suspended", "probe"]


def test_slow_calls_that_are_far_apart_suspend_nothing() -> None:
    assert said(*((1000 * n, SLOW) for n in range(1, 9))) == ["admitted"] * 8


def test_what_happened_is_counted() -> None:
    calls = (1000, 1011), (1020, 1031), (1040, 1050), (1090, 1120), (1200, 1205)
    watch = drive(BUDGET, calls)[-1]
    found = watch.counters()
    assert {name: found[name] for name in ("suspended", "overruns", "suspensions", "probes", "skipped", "failed")} == {
        "suspended": False, "overruns": 3, "suspensions": 1, "probes": 2, "skipped": 1, "failed": 0,
    }  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from([1, 5, 30, 60, 120]), st.sampled_from([1, QUICK, SLOW, 40])), max_size=40))
def test_it_agrees_with_the_description(gaps: list[tuple[int, int]]) -> None:
    calls, now = [], 1000
    for gap, takes in gaps:
        calls.append((now, takes))
        now += takes + gap
    assert said(*calls) == list(admissions(BUDGET, calls))


def test_replay_knows_no_budget() -> None:
    policy = a_policy([a_filter("one", Action.CALLOUT_UNKNOWN, callout="c")], callouts=[callout("c")])
    watch = Watch()
    made = registered(Permits(), Budget(time_ns=0, times=1), watch)
    tables = Snapshot(pack(policy), [made], generation=1, on_error=2, on_malformed=1, on_late=1, flows_full=1)
    replayer = Replayer(tables)
    packet = bytes.fromhex("4500001c00010000401100000a0000010a000002000900350008ffff")
    assert {replayer.visit(packet, "forward", n)["verdict"] for n in range(5)} == {"permit"}
    assert watch.counters()["overruns"] == 0


def test_tables_that_are_made_anew_go_on_with_the_same_counts() -> None:
    policy = a_policy([a_filter("one", Action.CALLOUT_UNKNOWN, callout="c")], callouts=[callout("c")])
    made = registered(Permits(), BUDGET)
    words = {"on_error": 2, "on_malformed": 1, "on_late": 1, "flows_full": 1}
    Snapshot(pack(policy), [made], generation=1, **words)
    first = made.watch
    tables = Snapshot(pack(policy), [made], generation=2, **words)
    assert isinstance(first, Watch) and made.watch is first
    assert tables.root.watches()["c"]["budget"] is True


def test_without_its_budget_a_callout_is_not_suspended_any_more() -> None:
    policy = a_policy([a_filter("one", Action.CALLOUT_UNKNOWN, callout="c")], callouts=[callout("c")])
    watch = drive(BUDGET, [(1000, 1011), (1020, 1031)])[-1]
    assert watch.counters()["suspended"]
    for budget in (BUDGET, None):
        made = registered(Counting(), budget, watch)
        tables = Snapshot(pack(policy), [made], generation=1, on_error=2, on_malformed=1, on_late=1, flows_full=1)
        assert tables.root.watches()["c"]["suspended"] is (budget is not None)

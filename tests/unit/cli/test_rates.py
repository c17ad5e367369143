import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.cli.readings import START, hot, queue, reading
from wfpd.cli.rates import View, rates


def test_rates_are_what_was_added_in_the_time_between() -> None:
    old = reading(10, 100, 10, filters=[hot("a", 5), hot("b", 1)])
    new = reading(12, 300, 11, filters=[hot("a", 9), hot("c", 8)])
    found = rates(old, new)
    assert found is not None
    assert (found.seconds, found.packets, found.bytes) == (
        2, {"permit": 100.0, "block": 0.5}, {"permit": 10_000.0, "block": 50.0})  # fmt: skip
    assert found.queues == {0: {"permitted": 100.0, "blocked": 0.5, "lost": 0.0}}
    assert found.filters == {"key of a": 2.0}, "what was not in both has no rate"


def test_another_daemon_or_no_time_between_has_no_rates() -> None:
    assert rates(None, reading(1)) is None
    assert rates(reading(1, 100), reading(2, 101, started=START + 1)) is None
    assert rates(reading(2), reading(2)) is rates(reading(2), reading(1)) is None


def test_a_counter_that_fell_began_anew() -> None:
    found = rates(reading(1, 100, filters=[hot("a", 70)]), reading(2, 30, filters=[hot("a", 7)]))
    assert found is not None
    assert (found.packets["permit"], found.filters["key of a"]) == (30.0, 7.0)


def test_a_queue_that_came_or_went_is_no_error() -> None:
    found = rates(reading(1, queues=[queue(0), queue(1)]), reading(2, queues=[queue(1, permitted=5), queue(2)]))
    assert found is not None
    assert found.queues == {1: {"permitted": 5.0, "blocked": 0.0, "lost": 0.0}}


def test_a_view_remembers_the_rates_and_not_those_across_a_restart() -> None:
    view = View()
    for seconds, permit, more in (
        (1, 10, {}),
        (2, 30, {}),
        (3, 5, {"started": START + 2}),
        (4, 8, {"started": START + 2}),
    ):
        view.take(reading(seconds, permit, **more))
    assert list(view.history["permit"]) == [20.0, 3.0]
    view.problem = "away"
    view.take(reading(5, 9, started=START + 2))
    assert (view.problem, view.rates is not None and view.rates.packets["permit"]) == ("", 1.0)


@pytest.mark.timeout(60)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1 << 63), st.integers(0, 2)), max_size=20))
def test_whatever_the_counters_do_no_rate_is_negative(steps: list[tuple[int, int, int]]) -> None:
    view = View()
    for seconds, count, daemon in steps:
        view.take(reading(seconds, count, count, started=START - daemon))
        if view.rates is not None:
            assert min(*view.rates.packets.values(), *view.rates.bytes.values()) >= 0
    assert all(rate >= 0 for rate in view.history["permit"])

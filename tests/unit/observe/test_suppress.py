from hypothesis import given
from hypothesis import strategies as st

from wfpd.observe.record import EventRecord
from wfpd.observe.suppress import WINDOW_NS, Suppressor

SECOND = 1_000_000_000


def drop(when: int, flow: int = 1, filter: str = "f", verdict: str = "block") -> EventRecord:
    return EventRecord(when, verdict, "filter", filter=filter, flow_id=flow)


def run(suppressor: Suppressor, records: list[EventRecord]) -> list[tuple[int, int]]:
    sent = [event for record in records for event in suppressor.feed(record)]
    sent += suppressor.finish()
    return [(event.timestamp_ns, event.suppressed) for event in sent]


def test_live_the_first_drop_is_sent_at_once() -> None:
    suppressor = Suppressor()
    assert [e.suppressed for e in suppressor.feed(drop(0))] == [0]
    assert list(suppressor.feed(drop(SECOND))) == []


def test_live_the_others_are_sent_as_one_when_the_window_is_over() -> None:
    suppressor = Suppressor()
    for when in range(4):
        list(suppressor.feed(drop(when * SECOND)))
    assert [(e.timestamp_ns, e.suppressed) for e in suppressor.tick(WINDOW_NS)] == [(3 * SECOND, 2)]


def test_in_replay_the_first_drop_carries_the_count() -> None:
    assert run(Suppressor(hold=True), [drop(0), drop(1), drop(2), drop(WINDOW_NS)]) == [(0, 2), (WINDOW_NS, 0)]


def test_another_flow_or_filter_is_another_event() -> None:
    assert len(run(Suppressor(), [drop(0), drop(0, flow=2), drop(0, filter="g")])) == 3


def test_in_replay_the_order_of_the_capture_is_kept() -> None:
    records = [drop(0), drop(1, verdict="permit"), drop(2, flow=2), drop(3)]
    assert run(Suppressor(hold=True), records) == [(0, 1), (1, 0), (2, 0)]


def test_a_clock_that_steps_back_counts_as_standing_still() -> None:
    assert run(Suppressor(hold=True), [drop(5), drop(0)]) == [(5, 1)]


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 2), st.sampled_from(["f", "g"]))), st.booleans(),
       st.integers(1, 3))  # fmt: skip
def test_sent_and_suppressed_add_up_to_the_drops(rows, hold, max_windows) -> None:
    records = [drop(when * SECOND, flow, filter) for when, flow, filter in sorted(rows)]
    sent = run(Suppressor(hold=hold, max_windows=max_windows), records)
    assert sum(1 + suppressed for _, suppressed in sent) == len(records)


def test_what_waits_behind_a_held_drop_is_bounded_even_when_the_clock_stands_still() -> None:
    suppressor = Suppressor(hold=True, max_windows=4)
    sent = [event for number in range(20) for event in suppressor.feed(drop(0, flow=number % 2, verdict="permit"))]
    sent += [event for number in range(20) for event in suppressor.feed(drop(0, flow=number))]
    sent += [event for _ in range(20) for event in suppressor.feed(drop(0, verdict="permit"))]
    assert len(sent) == 60 - 4
    assert len(list(suppressor.finish())) == 4

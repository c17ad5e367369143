"""Event rings lose the newest when full; equal drops are sent once in ten seconds."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wfpd.dataplane._ring import RingProbe

SECOND = 1_000_000_000


def test_records_come_out_in_order() -> None:
    ring = RingProbe(4)
    assert [ring.push(i) for i in (1, 2, 3)] == [True] * 3
    assert [ring.pop(), ring.pop(), ring.pop(), ring.pop()] == [1, 2, 3, None]


def test_a_full_ring_refuses_and_keeps_what_it_has() -> None:
    ring = RingProbe(2)
    assert [ring.push(i) for i in (1, 2, 3)] == [True, True, False]
    assert ring.pop() == 1
    assert ring.push(4)
    assert [ring.pop(), ring.pop(), ring.pop()] == [2, 4, None]


@given(st.lists(st.one_of(st.none(), st.integers(0, 99)), max_size=60))
def test_a_ring_is_a_bounded_queue(story: list[int | None]) -> None:
    ring, model = RingProbe(8), list[int]()
    for step in story:
        if step is None:
            assert ring.pop() == (model.pop(0) if model else None)
        else:
            assert ring.push(step) is (len(model) < 8)
            if len(model) < 8:
                model.append(step)


def test_the_first_drop_is_sent_and_the_next_one_after_ten_seconds_counts_the_others() -> None:
    ring = RingProbe(2)
    assert ring.admit(5, 1 * SECOND) == 0
    assert [ring.admit(5, t * SECOND) for t in (2, 5, 10)] == [None, None, None]
    assert ring.admit(5, 11 * SECOND) == 3
    assert ring.admit(5, 12 * SECOND) is None


def test_different_flows_do_not_suppress_each_other() -> None:
    ring = RingProbe(2)
    assert [ring.admit(key << 33, SECOND) for key in range(1, 50)] == [0] * 49

"""The rings of a staged policy: what does not fit is counted, and flows are sampled as a whole."""

from __future__ import annotations

from collections import Counter

from tests.builders import a_policy, snapshot
from wfpd.dataplane import Flows, Stage
from wfpd.imagined import imagine


def stage(**options: int) -> Stage:
    return Stage(snapshot(a_policy([])), Flows(64), workers=2, **options)


def put(one: Stage, port: int = 1000, *, back: bool = False, now: int = 1, ring: int = 0) -> None:
    ends = [f"192.0.2.1:{port}", "198.51.100.2:53"]
    packet = imagine("udp", *(reversed(ends) if back else ends)).packet()
    one.put(packet.data, "forward", now, verdict="permit", ring=ring)


def test_a_full_ring_leaves_packets_out_and_counts_them() -> None:
    one = stage(slots=4)
    for _ in range(7):
        put(one)
    put(one, ring=1)
    before = one.totals()
    assert (before["seen"], before["ring_full"], before["waiting"], before["compared"]) == (8, 3, 5, 0)
    assert one.turn() == 5
    put(one)  # There is room again.
    assert one.turn() == 1
    after = one.totals()
    assert (after["seen"], after["ring_full"], after["waiting"], after["compared"], after["same"]) == (9, 3, 0, 6, 6)


def test_a_ring_that_does_not_exist_is_nobody_s() -> None:
    one = stage()
    put(one, ring=2)
    assert one.totals()["seen"] == 0


def test_flows_are_sampled_in_both_directions_or_not_at_all() -> None:
    taken: Counter[int] = Counter()
    one = stage(sample=4, slots=1024)
    for port in range(1000, 1200):
        for back in (False, True, False):
            put(one, port, back=back)
        taken[one.turn()] += 1
    assert set(taken) == {0, 3} and 20 < taken[3] < 100
    found = one.totals()
    assert found["seen"] == 600 and found["left_out"] == 3 * taken[0] and found["compared"] == 3 * taken[3]


def test_packets_are_taken_in_the_order_of_their_receipt_whatever_ring_they_are_in() -> None:
    one = stage()
    put(one, now=30)
    put(one, now=10, ring=1)
    put(one, now=20, ring=1)
    assert one.turn(limit=2) == 2  # Both of the other ring.
    assert one.totals()["waiting"] == 1
    put(one, now=40, ring=1)
    assert one.turn(limit=1) == 1
    assert one.turn() == 1


def test_what_is_received_from_now_on_waits_for_the_next_turn() -> None:
    one = stage()
    put(one, now=2**62)
    assert one.turn() == 0 and one.totals()["waiting"] == 1

"""A staged policy: what it counts of packets that it decides otherwise, and how it comes and goes beside a worker."""

from __future__ import annotations

import gc
import pathlib
import threading
import time
import weakref
from typing import Any

import pytest

from tests.builders import a_filter, a_policy, callout, equal, slot, snapshot, when
from tests.unit.dataplane.kernel import ACCEPT, DROP, Kernel, packet, serving
from wfpd.dataplane import Flows, Stage
from wfpd.imagined import imagine
from wfpd.model.policy import Action, Policy, Reply

PERMIT, BLOCK = Action.PERMIT, Action.BLOCK
PORT = "ip_destination_port"


def blocking(*ports: int) -> Policy:
    return a_policy([a_filter(f"no-{port}", BLOCK, when(PORT, equal(port))) for port in ports])


def stage(policy: Policy, **options: Any) -> Stage:
    return Stage(snapshot(policy), Flows(1024), workers=2, **options)


def put(one: Stage, port: int, verdict: str, **more: Any) -> bytes:
    data = imagine("udp", "192.0.2.1:9", f"198.51.100.2:{port}").packet().data
    one.put(data, "forward", more.pop("now", 1), verdict=verdict, **more)
    return data


def test_verdicts_that_differ_are_counted_by_the_filters_of_both() -> None:
    one = stage(blocking(53, 80))
    first = put(one, 53, "permit", now=5, slot=slot(), filter=7)
    put(one, 53, "permit", now=9, slot=slot(), filter=7)
    put(one, 80, "block", filter=3, slot=slot())
    put(one, 90, "block", filter=3, slot=slot(), generation=4)
    put(one, 90, "permit")
    assert one.turn() == 5
    found = one.totals()
    assert [found[name] for name in ("seen", "compared", "same", "would_block", "would_permit")] == [5, 5, 2, 2, 1]
    assert one.n_differences == 2
    rows = {row["verdict"]: row for row in map(one.difference, range(2))}
    would_block, would_permit = rows["block"], rows["permit"]
    assert (would_block["active"], would_block["staged"], would_block["staged_slot"]) == (7, 0, slot())
    assert (would_block["packets"], would_block["bytes"]) == (2, 2 * len(first))
    assert (would_block["first_ns"], would_block["last_ns"]) == (5, 9)
    assert would_block["example"]["bytes"] == first and would_block["example"]["hook"] == "forward"
    assert (would_permit["active"], would_permit["staged"], would_permit["staged_reason"]) == (3, None, "no_match")
    assert would_permit["generation"] == 4
    with pytest.raises(IndexError):
        one.difference(2)


def test_pairs_beyond_the_table_are_counted_together() -> None:
    one = stage(blocking(*range(1, 6)), rows=3)
    for port in (1, 2, 3, 4, 5, 5, 1):
        size = len(put(one, port, "permit"))
    one.turn()
    assert one.n_differences == 3 and one.totals()["would_block"] == 7
    assert one.totals()["other"] == {"packets": 3, "bytes": 3 * size}
    assert [one.difference(i)["packets"] for i in range(3)] == [2, 1, 1]


def test_the_audit_mode_of_the_daemon_is_no_difference() -> None:
    one = stage(blocking(53))
    put(one, 53, "permit", would_block=True)
    one.turn()
    assert one.totals()["same"] == 1


def test_another_filter_or_reply_with_the_same_verdict_is_no_difference() -> None:
    answering = a_filter("resets", BLOCK, when(PORT, equal(53)), reply=Reply.ICMP_UNREACHABLE)
    one = stage(a_policy([answering]))
    put(one, 53, "block", filter=9, slot=slot())
    put(one, 80, "permit", filter=8, slot=slot())
    one.turn()
    assert (one.totals()["same"], one.n_differences) == (2, 0)


@pytest.mark.parametrize(("answer", "counted"), [("block", "would_block"), ("permit", "same"), ("continue", "same")])
def test_what_a_callout_answers_is_given_or_the_packet_is_not_decided(answer: str, counted: str) -> None:
    asks = a_policy(
        [a_filter("asks", Action.CALLOUT_UNKNOWN, when(PORT, equal(53)), callout="c")], callouts=[callout("c")]
    )
    silent, told = stage(asks), stage(asks, answers={0: answer})
    for one in (silent, told):
        put(one, 53, "permit")
        put(one, 80, "permit")
        one.turn()
    assert silent.not_decided() == {"c": 1} and silent.totals()["not_decided"] == 1
    assert silent.totals()["compared"] == 1
    assert told.not_decided() == {} and told.totals()["compared"] == 2
    assert told.totals()[counted] == (1 if counted == "would_block" else 2)


def test_a_callout_that_only_inspects_decides_nothing_whatever_it_would_say() -> None:
    looks = a_filter("looks", Action.CALLOUT_INSPECTION, callout="c", weight=9)
    one = stage(a_policy([looks, a_filter("no", BLOCK, when(PORT, equal(53)))], callouts=[callout("c")]))
    put(one, 53, "permit")
    put(one, 80, "permit")
    one.turn()
    assert (one.totals()["would_block"], one.totals()["same"], one.not_decided()) == (1, 1, {})


def test_a_callout_of_a_discard_twin_leaves_the_block_decided() -> None:
    filters = [
        a_filter("no", BLOCK),
        a_filter("twin", Action.CALLOUT_INSPECTION, callout="c", at=slot("ipforward_discard")),
    ]
    one = stage(a_policy(filters, callouts=[callout("c")]))
    put(one, 53, "permit")
    one.turn()
    assert (one.totals()["would_block"], one.not_decided()) == (1, {})
    assert one.difference(0)["staged"] == 0


def test_a_packet_whose_headers_do_not_fit_is_not_compared() -> None:
    one = stage(blocking(53))
    chain = b"\x3c" + b"\x12" + bytes(150)  # A long destination options header ahead of the next.
    long = b"\x60\0\0\0" + (len(chain) + 300).to_bytes(2, "big") + b"\x3c\x40" + bytes(32) + chain + bytes(300)
    one.put(long, "forward", 1, verdict="permit")
    data = imagine("udp", "192.0.2.1:9", "198.51.100.2:53", payload=1000).packet().data
    one.put(data, "forward", 1, verdict="permit")  # Cut as well, with all its headers.
    one.turn()
    assert (one.totals()["unparsable"], one.totals()["compared"], one.totals()["would_block"]) == (1, 1, 1)


def test_flows_that_began_before_are_told_apart() -> None:
    at = slot("ale_auth_recv_accept")
    one = stage(a_policy([a_filter("no-22", BLOCK, when("ip_local_port", equal(22)), at=at)]))
    ends = "198.51.100.2:4000", "192.0.2.1:22"
    for now, flags in enumerate(("syn", "ack", "ack"), 1):
        one.put(imagine("tcp", *ends, flags=flags).packet().data, "input", now, verdict="permit")
    one.turn()
    assert one.totals()["would_block"] == 3
    assert one.totals()["older_flows"] == one.difference(0)["older_flows"] == 2


@pytest.mark.parametrize("options", [{"workers": 0}, {"slots": 0}, {"sample": 0}, {"rows": 0}, {"workers": 1026}])
def test_sizes_out_of_range_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError):
        Stage(snapshot(blocking(1)), Flows(16), **{"workers": 1, **options})
    with pytest.raises(IndexError):
        Stage(snapshot(blocking(1)), Flows(16), workers=1, answers={0: "permit"})


def test_a_stage_sees_what_the_worker_decides_and_changes_none_of_it(tmp_path: pathlib.Path) -> None:
    one = stage(blocking(5000))
    with serving(tmp_path) as (engine, kernel, _):
        kernel.say(packet(1))
        assert kernel.hear() == [(0x0301, ACCEPT, 1)]
        engine.stage(one)
        with pytest.raises(RuntimeError):
            engine.stage(stage(blocking(1)))
        kernel.say(packet(2), packet(3, 5001), packet(4, 80))
        heard = kernel.hear()
        assert (0x0301, DROP, 3) in heard and heard[-1][1:] == (ACCEPT, 4)
        assert engine.unstage()
        kernel.say(packet(5))
        kernel.hear()
        one.turn()
        assert engine.unstage()  # Nothing is staged: nothing to wait for.
    found = one.totals()
    assert [found[name] for name in ("seen", "compared", "same", "would_block", "would_permit")] == [3, 3, 1, 1, 1]
    row = next(row for row in map(one.difference, range(2)) if row["verdict"] == "permit")
    assert (row["active"], row["active_slot"], row["generation"]) == (0, slot(), 1)


def test_an_engine_refuses_a_stage_with_too_few_rings(tmp_path: pathlib.Path) -> None:
    few = Stage(snapshot(blocking(1)), Flows(16), workers=1)
    with serving(tmp_path) as (engine, _, _), pytest.raises(ValueError, match="rings"):
        engine.stage(few)


def test_a_stage_is_kept_while_a_worker_may_write_to_it_and_freed_after(tmp_path: pathlib.Path) -> None:
    entered, leave = threading.Event(), threading.Event()

    def slow(context: Any) -> None:
        entered.set()
        leave.wait(5)

    with serving(tmp_path, callout=slow) as (engine, kernel, _):
        one, gone = a_stage_that_is_watched()
        engine.stage(one)
        kernel.say(packet(1), packet(2))
        assert entered.wait(5)
        assert not engine.unstage(timeout=0.01)
        del one
        gc.collect()
        assert gone() is not None
        leave.set()
        kernel.hear()
        deadline = time.monotonic() + 5
        while not engine.reap():
            assert time.monotonic() < deadline
            time.sleep(0.001)
        gc.collect()
        assert gone() is None


def a_stage_that_is_watched() -> tuple[Stage, weakref.ref[Any]]:
    def call(context: object) -> None:
        """Lives as long as the stage's snapshot."""

    policy = a_policy([a_filter("asks", Action.CALLOUT_UNKNOWN, callout="c")], callouts=[callout("c")])
    return Stage(snapshot(policy, [call]), Flows(16), workers=2), weakref.ref(call)


def test_stages_come_and_go_while_a_worker_decides(tmp_path: pathlib.Path) -> None:
    ended = threading.Event()

    def feed(kernel: Kernel, given: list[int]) -> None:
        number = 1
        while not ended.is_set():
            kernel.say(packet(number), packet(number + 1, 5001))
            heard: set[int] = set()
            while not {number, number + 1} <= heard:
                heard |= {one for _, _, one in kernel.hear()}
            given.append(number)
            number += 2

    given: list[int] = []
    with serving(tmp_path) as (engine, kernel, _):
        thread = threading.Thread(target=feed, args=(kernel, given), daemon=True)
        thread.start()
        seen = 0
        try:
            for _ in range(60):
                one = stage(blocking(5000), slots=2)
                engine.stage(one)
                time.sleep(0.001)
                one.turn()
                assert engine.unstage()
                one.turn()
                found = one.totals()
                assert found["waiting"] == 0
                assert found["seen"] == found["compared"] + found["ring_full"]
                assert found["compared"] == found["same"] + found["would_block"] + found["would_permit"]
                seen += found["seen"]
        finally:
            ended.set()
            thread.join(5)
    assert given and 0 < seen <= 2 * len(given) + 2

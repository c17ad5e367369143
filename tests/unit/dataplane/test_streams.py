"""The layer `stream`: what callouts are shown, what their answers do, and how a connection ends."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.builders import a_filter, a_policy, callout, slot, snapshot, sublayer
from tests.streams import HELD, PASSED, RESET, Conversation, Recorder, a_snapshot, block_keyword
from wfpd.dataplane import Replayer
from wfpd.dataplane._streams import Streams
from wfpd.model.policy import Action, Word


@pytest.mark.parametrize("family", [4, 6])
def test_bytes_are_indicated_in_order_with_their_offset_and_direction(family):
    seen = Recorder()
    talk = Conversation(a_snapshot(seen), family=family)
    talk.open()
    assert seen.seen == []
    assert talk.send(0, b"GET ") == PASSED
    assert talk.send(4, b"/ ") == PASSED
    assert talk.send(0, b"200 ", server=True) == PASSED
    assert talk.send(6, flags="FA") == PASSED
    assert seen.seen == [
        ("in", 0, b"GET ", {"RECEIVE"}),
        ("in", 4, b"/ ", {"RECEIVE"}),
        ("out", 0, b"200 ", {"SEND"}),
        ("in", 6, b"", {"RECEIVE", "RECEIVE_DISCONNECT", "NO_MORE_DATA"}),
    ]


def test_a_segment_beyond_a_gap_waits_and_passes_when_it_comes_again():
    seen = Recorder()
    talk = Conversation(a_snapshot(seen))
    talk.open()
    assert talk.send(3, b"def") == HELD
    assert talk.send(0, b"abc") == PASSED
    assert talk.send(3, b"def") == PASSED
    assert [(offset, data) for _, offset, data, _ in seen.seen] == [(0, b"abcdef")]
    assert talk.counters()["held"] == 1


def test_a_segment_that_is_held_is_a_drop_of_the_flow():
    talk = Conversation(a_snapshot(Recorder()))
    talk.open()
    found = talk.visit(talk.packet(3, b"def", "PA", ack=0))
    assert (found["verdict"], found["reason"], found["filter"]) == ("block", "flow", None)
    assert found["slot"] == slot("stream")


def test_a_callout_that_passes_lets_segments_go_and_decides_when_it_knows():
    talk = Conversation(a_snapshot(block_keyword, mode="pass"))
    talk.open()
    assert talk.send(2, b"il") == HELD  # Nothing is known of the flow's callouts before the first bytes in order.
    assert talk.send(0, b"e") == PASSED
    assert talk.send(2, b"il") == PASSED
    assert talk.send(1, b"v") == RESET


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("outbound", [False, True])
def test_a_keyword_in_pieces_is_blocked_and_both_sides_are_reset(family, outbound):
    talk = Conversation(a_snapshot(block_keyword), family=family, outbound=outbound)
    talk.open()
    assert talk.send(0, b"ev") == HELD
    found = talk.visit(talk.packet(2, b"il\n", "PA", ack=0))
    assert (found["verdict"], found["reply"], found["reason"]) == ("block", "tcp_reset", "callout")
    assert found["filter"] == (0 if family == 4 else 1)
    later = talk.visit(talk.packet(0, b"", "A", server=True, ack=0), server=True)
    assert (later["verdict"], later["reply"], later["reason"]) == ("block", "tcp_reset", "flow")
    assert (later["filter"], later["slot"]) == (found["filter"], found["slot"])
    assert later["filter"] == found["filter"]
    assert talk.send(0, b"ok\n") == RESET
    assert talk.send(0, flags="RA", server=True) == PASSED
    assert talk.counters()["cut"] == 1


def test_a_new_connection_on_the_ports_begins_anew_when_both_ends_were_answered():
    talk = Conversation(a_snapshot(block_keyword))
    talk.open()
    assert talk.send(0, b"evil\n") == RESET
    assert talk.send(-1, flags="S", ack=None) == RESET
    assert talk.send(0, b"x", server=True) == RESET
    talk.initial = (70000, 80000)
    talk.open()
    assert talk.send(0, b"good\n") == PASSED


def test_static_filters_work_too():
    talk = Conversation(a_snapshot(Action.BLOCK))
    talk.open()
    assert talk.send(0, b"data") == RESET
    assert talk.send(0, b"data", server=True) == RESET
    talk = Conversation(a_snapshot(Action.PERMIT))
    talk.open()
    assert talk.send(0, b"data") == PASSED
    assert len(talk.flows.streams) == 0


def test_the_waterfall_shows_lower_callouts_only_what_was_permitted_above():
    upper = Recorder(lambda c: c.need_more(3) if len(c.stream) < 3 else (c.permit(), c.enforce(2)))
    lower = Recorder()
    order = (sublayer("up", 900), sublayer("down", 100))
    talk = Conversation(a_snapshot(upper, lower, sublayers=order))
    talk.open()
    assert talk.send(0, b"ab") == HELD
    assert lower.seen == []
    assert talk.send(2, b"cde") == HELD
    assert [(offset, data) for _, offset, data, _ in upper.seen] == [(0, b"ab"), (0, b"abcde"), (2, b"cde"), (4, b"e")]
    assert [(offset, data) for _, offset, data, _ in lower.seen] == [(0, b"ab"), (2, b"cd")]


def test_a_callout_that_goes_on_leaves_the_bytes_to_the_next_of_its_sublayer_at_the_end_too():
    first, second = Recorder(lambda c: c.continue_()), Recorder(block_keyword)
    talk = Conversation(a_snapshot(first, second))
    talk.open()
    assert talk.send(0, b"ev") == HELD
    assert talk.send(0, b"ev") == HELD
    assert talk.send(2, b"il", "FPA") == RESET
    assert [data for _, _, data, _ in second.seen] == [b"ev", b"evil"]
    talk = Conversation(
        a_snapshot(first, Recorder(lambda c: c.block() if "NO_MORE_DATA" in c.stream_flags else c.need_more()))
    )
    talk.open()
    assert talk.send(0, b"abc") == HELD
    assert talk.send(3, flags="FA") == RESET


@pytest.mark.parametrize("kind", [Action.CALLOUT_UNKNOWN, Action.CALLOUT_TERMINATING])
def test_a_conditional_callout_that_is_not_called_leaves_the_bytes_to_the_next_of_its_sublayer(kind):
    class Conditional:
        conditional_on_flow = True

        def classify(self, c):
            raise AssertionError("it is called")

    def lines(c):
        data = bytes(c.stream)
        if b"\n" not in data:
            return c.need_more()
        c.permit()
        return c.enforce(data.index(b"\n") + 1)

    second = Recorder(lines)
    filters = [a_filter("first", kind, at=slot("stream"), callout="a", weight=9),
               a_filter("second", Action.CALLOUT_UNKNOWN, at=slot("stream"), callout="b", weight=1)]  # fmt: skip
    policy = a_policy(filters, callouts=[callout("a"), callout("b")])
    talk = Conversation(snapshot(policy, [Conditional().classify, second], on_error=Word.BLOCK))
    talk.open()
    assert talk.send(0, b"one\nev") == HELD
    assert talk.send(0, b"one\nev") == HELD
    assert talk.send(6, b"il\n") == PASSED
    assert [data for _, _, data, _ in second.seen] == [b"one\nev", b"ev", b"evil\n"]


def test_the_write_right_has_no_meaning():
    hard = Recorder(lambda c: c.permit(clear_right=True))
    order = (sublayer("up", 900), sublayer("down", 100))
    talk = Conversation(a_snapshot(hard, Action.BLOCK, sublayers=order))
    talk.open()
    assert talk.send(0, b"abc") == RESET
    soft, lower = Recorder(lambda c: c.block()), Recorder()
    talk = Conversation(a_snapshot(soft, lower, sublayers=order))
    talk.open()
    assert talk.send(0, b"abc") == RESET
    assert lower.seen == []


def test_an_inspection_callout_sees_everything_decides_nothing_and_holds_nothing():
    seen = Recorder(lambda c: c.need_more(3) if len(c.stream) < 5 else c.block())
    talk = Conversation(a_snapshot((seen, Action.CALLOUT_INSPECTION)))
    talk.open()
    assert talk.send(0, b"ab") == PASSED
    assert talk.send(2, b"cde") == PASSED
    assert [data for _, _, data, _ in seen.seen] == [b"ab", b"abcde"]


def test_a_callout_that_raises_is_decided_by_on_error():
    def fails(c: Any) -> None:
        raise ValueError(c.layer)

    for word, verdict in ((Word.BLOCK, RESET), (Word.PERMIT, PASSED)):
        talk = Conversation(a_snapshot(fails, on_error=word))
        talk.open()
        assert talk.send(0, b"abc") == verdict


def test_streams_end_with_their_flows():
    talk = Conversation(a_snapshot(Recorder()))
    talk.open()
    talk.send(0, b"abc")
    assert len(talk.flows.streams) == 1 and talk.counters()["memory"] == 4096
    talk.flows.sweep(talk.now, all=True)
    assert len(talk.flows.streams) == 0 and talk.counters()["memory"] == 0


def test_a_connection_is_picked_up_in_its_middle():
    seen = Recorder()
    talk = Conversation(a_snapshot(seen))
    assert talk.send(50000, b"abc") == PASSED
    assert talk.send(49990, b"0123456789abc") == PASSED
    assert talk.send(50003, b"d") == PASSED
    assert [(offset, data) for _, offset, data, _ in seen.seen] == [(0, b"abc"), (3, b"d")]


def test_bytes_that_the_receiver_has_and_nobody_saw_are_missed():
    missed: list[int] = []
    talk = Conversation(a_snapshot(lambda c: (missed.append(c.missed_bytes), c.permit())))
    talk.open()
    assert talk.send(0, b"abc") == PASSED
    assert talk.send(0, b"", "A", server=True, ack=100) == PASSED
    assert talk.send(100, b"def") == PASSED
    assert missed == [0, 97]
    assert talk.counters()["skipped"] == 97


def test_a_limit_is_decided_by_on_error():
    for word, verdict in ((Word.BLOCK, HELD), (Word.PERMIT, PASSED)):
        talk = Conversation(a_snapshot(block_keyword, on_error=word), streams=Streams(16, memory=4096))
        talk.open()
        assert talk.send(0, b"x" * 5000) == verdict
        assert talk.counters()["limit"] == 1
        assert talk.counters()["lost"] == (word == Word.PERMIT)


def test_a_policy_that_changes_asks_its_filters_anew():
    first, second = Recorder(lambda c: c.allow_connection()), Recorder()
    talk = Conversation(a_snapshot(first))
    talk.open()
    talk.send(0, b"abc")
    talk.swap(a_snapshot(second, generation=2))
    talk.send(3, b"def")
    assert [data for _, _, data, _ in second.seen] == [b"def"]


def test_audit_lets_through_what_is_blocked_and_goes_on():
    seen = Recorder(lambda c: c.block())
    talk = Conversation(a_snapshot(seen, audit=True))
    talk.open()
    talk.send(0, b"abc")
    talk.send(3, b"def")
    assert [data for _, _, data, _ in seen.seen] == [b"abc", b"def"]
    assert talk.counters()["cut"] == 0


def test_a_keep_alive_may_carry_any_byte_once_the_receiver_has_acknowledged():
    talk = Conversation(a_snapshot(Recorder()))
    talk.open()
    assert talk.send(0, b"abc") == PASSED
    assert talk.send(2, b"\0") == HELD
    assert talk.send(0, b"", "A", server=True, ack=3) == PASSED
    assert talk.send(2, b"\0") == PASSED
    assert talk.counters()["inconsistent"] == 1


@pytest.mark.parametrize("opened", [True, False])
def test_bytes_of_a_callout_that_was_late_are_shown_again(opened):
    seen = Recorder(lambda c: (time.sleep(0.25 if b"c" not in bytes(c.stream) else 0), c.permit()))
    tables = a_snapshot(seen, on_late=Word.PERMIT)
    talk = Conversation(tables)
    if opened:
        talk.open()
    talk.replayer = Replayer(tables, talk.flows, late_after=0.2)
    found = talk.visit(talk.packet(0, b"ab", "PA", ack=0))
    assert (found["verdict"], found["reason"]) == ("permit", "late")
    assert talk.send(2, b"c") == PASSED
    assert [data for _, _, data, _ in seen.seen] == [b"ab", b"abc" if opened else b"c"]
    assert len(talk.flows.streams) == 1
    talk.flows.sweep(talk.now, all=True)
    assert len(talk.flows.streams) == 0


# ------------------------------------------------------------------------------------------- evasions


@pytest.mark.parametrize("first", [b"evil", b"good"])
@pytest.mark.parametrize("mode", ["hold", "pass"])
def test_of_two_copies_only_the_first_gets_through(first, mode):
    # Endpoints keep the first copy or the last: the second never comes to them.
    second = b"good" if first == b"evil" else b"evil"
    talk = Conversation(a_snapshot(block_keyword, mode=mode))
    talk.open()
    assert talk.send(0, b"x\n") == PASSED
    talk.send(6, first[2:] + b"\n")  # Beyond a gap.
    assert talk.send(6, second[2:] + b"\n") == HELD
    assert talk.counters()["inconsistent"] == 1
    assert talk.send(2, b"  " + first[:2]) == (RESET if first == b"evil" else PASSED)


def test_a_segment_that_would_not_arrive_is_the_copy_that_counts():
    # A packet of small TTL, that is seen here and not at the other end, then the real one.
    talk = Conversation(a_snapshot(block_keyword))
    talk.open()
    assert talk.send(0, b"harmless\n") == PASSED
    assert talk.send(0, b"evil....\n") == HELD
    assert talk.counters()["inconsistent"] == 1


def test_tiny_segments_in_reverse_are_one_stream():
    talk = Conversation(a_snapshot(block_keyword))
    talk.open()
    word = b"this is evil\n"
    for at in range(len(word) - 1, 0, -1):
        assert talk.send(at, word[at : at + 1]) == HELD
    assert talk.send(0, word[:1]) == RESET


def test_a_bad_checksum_hides_nothing():
    talk = Conversation(a_snapshot(block_keyword), checksums=True)
    talk.open()
    bad = bytearray(talk.packet(0, b"good", "PA", ack=0))
    bad[36] ^= 0xFF
    found = talk.visit(bytes(bad))
    assert found["malformed"] == "bad_transport_checksum"
    assert talk.send(0, b"evil") == RESET


def test_an_rst_outside_the_window_ends_nothing_and_one_inside_stops_no_inspection():
    seen = Recorder(block_keyword)
    talk = Conversation(a_snapshot(seen))
    talk.open()
    assert talk.send(0, b"good\n") == PASSED
    assert talk.send(100000, flags="R") == PASSED
    assert talk.counters()["bad_reset"] == 1
    assert not any("RECEIVE_ABORT" in flags for *_, flags in seen.seen)
    assert talk.send(5, b"ev") == HELD
    assert talk.send(7, flags="R") == PASSED
    assert "RECEIVE_ABORT" in seen.seen[-1][3] and talk.counters()["bad_reset"] == 1
    assert talk.send(7, b"il\n") == RESET


def test_a_fin_in_the_wrong_place_ends_nothing():
    talk = Conversation(a_snapshot(block_keyword))
    talk.open()
    assert talk.send(0, b"good\nev") == HELD
    assert talk.send(2, flags="FA") == HELD  # Before bytes that are known.
    assert talk.send(50, flags="FA") == HELD  # Beyond a gap.
    assert talk.send(7, b"il\n") == RESET


def test_bytes_behind_the_end_do_not_pass():
    talk = Conversation(a_snapshot(block_keyword))
    talk.open()
    assert talk.send(0, b"good\n", "FPA") == PASSED
    assert talk.send(5, b"evil\n") == HELD
    assert talk.counters()["inconsistent"] == 1


def test_data_on_a_syn_are_looked_at():
    talk = Conversation(a_snapshot(block_keyword))
    assert talk.send(-1, b"evil\n", "S", ack=None) == RESET
    assert len(talk.flows) == len(talk.flows.streams) == 0
    assert talk.send(-1, b"good\n", "S", ack=None) == PASSED
    assert talk.send(-1, flags="SA", server=True, ack=5) == PASSED
    assert talk.send(5, b"more\n") == PASSED


def test_urgent_bytes_stay_in_their_place():
    seen = Recorder()
    talk = Conversation(a_snapshot(seen))
    talk.open()
    assert talk.send(0, b"abc", "PAU") == PASSED
    assert seen.seen == [("in", 0, b"abc", {"RECEIVE", "RECEIVE_EXPEDITED"})]


def test_sequence_numbers_that_wrap_around_are_one_stream():
    talk = Conversation(a_snapshot(block_keyword), initial=(2**32 - 3, 2**32 - 1))
    talk.open()
    assert talk.send(0, b"ev") == HELD
    assert talk.send(2, b"il\n") == RESET


# ------------------------------------------------------------------------------------------- the table


def test_a_direction_that_another_worker_has_is_not_waited_for():
    other: list[str] = []

    def meanwhile(c: Any) -> None:
        if not other:
            second = Replayer(tables, talk.flows)
            other.append(second.visit(talk.packet(3, b"def", "PA", ack=0), "input", talk.now)["verdict"])
            other.append(second.visit(talk.packet(0, b"xyz", "PA", server=True, ack=0), "output", talk.now)["verdict"])
        c.permit()

    tables = a_snapshot(meanwhile)
    talk = Conversation(tables)
    talk.open()
    assert talk.send(0, b"abc") == PASSED
    assert other == ["block", "permit"]
    assert talk.counters()["busy"] == 1
    assert talk.send(3, b"def") == PASSED


def test_a_stream_whose_flow_ends_meanwhile_is_freed_by_who_has_it():
    left: list[int] = []

    def ends(c: Any) -> None:
        if c.stream_offset:
            talk.flows.sweep(talk.now, all=True)
            left.append(len(talk.flows.streams))
        c.permit()

    talk = Conversation(a_snapshot(ends))
    talk.open()
    assert talk.send(0, b"abc") == PASSED
    assert talk.send(3, b"def") == PASSED
    assert left == [1] and len(talk.flows.streams) == 0 and talk.counters()["memory"] == 0


def test_a_full_table_is_a_limit():
    for word, verdict in ((Word.BLOCK, HELD), (Word.PERMIT, PASSED)):
        streams = Streams(1)  # One place in each shard.
        tables = a_snapshot(Recorder(), on_error=word)
        talk = Conversation(tables, streams=streams)
        results = set()
        for number in range(60):
            talk.initial = (number * 1000, 0)
            packet = bytearray(talk.packet(0, b"abc", "PA", ack=0))
            packet[20:22] = (20000 + number).to_bytes(2, "big")
            found = talk.visit(bytes(packet))
            results.add((found["verdict"], found["reply"]))
        assert results == {PASSED, verdict} and len(streams) <= 16


@pytest.mark.parametrize(
    "wrong",
    [{"maximum": 0}, {"pending": 1 << 24}, {"window": 1}, {"history": 1 << 24}],
    ids=lambda given: next(iter(given)),
)
def test_sizes_beyond_the_bounds_are_refused(wrong):
    with pytest.raises(ValueError, match="Streams"):
        Streams(**wrong)


def test_a_mode_that_is_none_is_refused_with_the_policy():
    with pytest.raises(ValueError, match="stream_mode is 'maybe'"):
        a_snapshot(Recorder(), mode="maybe")

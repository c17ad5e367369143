"""Messages from the kernel are read within their bytes; verdicts never release an uninspected packet."""

from __future__ import annotations

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wfpd.dataplane._netlink import plan_verdicts, read_datagram

DROP, ACCEPT, QUEUE = 0, 1, 3
PARK = QUEUE | 9 << 16 | 0x8000
VERDICT, BATCH = 0x0301, 0x0303
Item = tuple[int, int, "int | None", bool]


def attribute(kind: int, value: bytes) -> bytes:
    """One netlink attribute, padded."""
    raw = struct.pack("=HH", 4 + len(value), kind) + value
    return raw + b"\0" * (-len(raw) % 4)


def message(kind: int, body: bytes, sequence: int = 0) -> bytes:
    """One netlink message, padded."""
    raw = struct.pack("=IHHII", 16 + len(body), kind, 0, sequence, 0) + body
    return raw + b"\0" * (-len(raw) % 4)


def packet_message(*attributes: bytes, queue: int = 3, family: int = 2) -> bytes:
    """NFQNL_MSG_PACKET."""
    return message(0x0300, struct.pack(">BBH", family, 0, queue) + b"".join(attributes))


HEADER = attribute(1, struct.pack(">IHB", 7, 0x0800, 2))


def test_every_attribute_of_a_packet_is_read() -> None:
    found = read_datagram(
        packet_message(
            HEADER,
            attribute(3, struct.pack(">I", 0xDEADBEEF)),
            attribute(4, struct.pack(">QQ", 1700000000, 123456)),
            attribute(5, struct.pack(">I", 2)),
            attribute(6, struct.pack(">I", 3)),
            attribute(7, struct.pack(">I", 4)),
            attribute(8, struct.pack(">I", 5)),
            attribute(14, struct.pack(">I", 3)),
            attribute(16, struct.pack(">I", 1000)),
            attribute(17, struct.pack(">I", 100)),
            attribute(13, struct.pack(">I", 1500)),
            attribute(10, b"E" * 21),
        )
    )
    assert found == [
        {
            "kind": "packet",
            "id": 7,
            "queue": 3,
            "hw_protocol": 0x0800,
            "hook": 2,
            "family": 2,
            "has_mark": 1,
            "has_uid": 1,
            "mark": 0xDEADBEEF,
            "in_interface": 2,
            "out_interface": 3,
            "physical_in": 4,
            "physical_out": 5,
            "skb_info": 3,
            "original": 1500,
            "captured": 21,
            "data": b"E" * 21,
            "timestamp_ns": 1700000000123456000,
            "uid": 1000,
            "gid": 100,
        }
    ]


def test_a_packet_without_payload_has_none() -> None:
    (found,) = read_datagram(packet_message(HEADER))
    assert (found["kind"], found["data"], found["captured"], found["original"]) == ("packet", None, 0, 0)


def test_a_packet_without_its_header_is_malformed() -> None:
    assert read_datagram(packet_message(attribute(10, b"E" * 20)))[0]["kind"] == "malformed"


def test_an_attribute_beyond_the_message_is_malformed_unless_the_datagram_was_cut() -> None:
    raw = packet_message(HEADER, attribute(10, b"E" * 1400))
    cut = raw[: len(raw) - 1000]
    assert read_datagram(cut)[0]["kind"] == "malformed"
    (found,) = read_datagram(cut, cut=True)
    assert (found["kind"], found["id"], found["captured"], found["original"]) == ("packet", 7, 400, 1400)


def test_several_messages_of_one_datagram_are_read_in_order() -> None:
    error = message(2, struct.pack("=i", -2) + struct.pack("=IHHII", 32, BATCH, 1, 0, 0))
    acknowledgment = message(2, struct.pack("=i", 0) + struct.pack("=IHHII", 32, 0x0302, 5, 77, 0))
    found = read_datagram(error + acknowledgment + message(3, b"") + packet_message(HEADER))
    assert [one["kind"] for one in found] == ["answer", "answer", "other", "packet"]
    assert (found[0]["error"], found[0]["type"], found[0]["sequence"]) == (2, BATCH, 0)
    assert (found[1]["error"], found[1]["sequence"]) == (0, 77)


@given(st.binary(max_size=300), st.booleans())
@example(b"", False)
@example(message(2, b"\0" * 8), False)
@example(struct.pack("=IHHII", 0, 0x300, 0, 0, 0), False)
@example(struct.pack("=IHHII", 0xFFFFFFFF, 0x300, 0, 0, 0), True)
def test_any_bytes_give_known_kinds_and_payloads_inside_the_datagram(data: bytes, cut: bool) -> None:
    for found in read_datagram(data, cut=cut):
        assert found["kind"] in {"packet", "answer", "other", "malformed"}
        if found["kind"] == "packet" and found["data"] is not None:
            assert found["data"] in data


@given(st.lists(st.tuples(st.integers(0, 20), st.binary(max_size=24)), max_size=12), st.integers(0, 40), st.booleans())
def test_any_attributes_are_read_within_the_message(attributes: list[tuple[int, bytes]], lost: int, cut: bool) -> None:
    raw = packet_message(HEADER, *(attribute(kind, value) for kind, value in attributes))
    for found in read_datagram(raw[: max(len(raw) - lost, 0)], cut=cut):
        assert found["kind"] in {"packet", "malformed"}


def messages_of(raw: bytes) -> list[tuple[int, int, int, int, int | None]]:
    """Verdict messages as (type, queue, verdict, id, mark)."""
    found = []
    while raw:
        length, kind, flags, sequence, _ = struct.unpack_from("=IHHII", raw)
        assert (flags, sequence) == (1, 0)
        _, _, queue = struct.unpack_from(">BBH", raw, 16)
        assert struct.unpack_from("=HH", raw, 20) == (12, 2)
        verdict, packet_id = struct.unpack_from(">II", raw, 24)
        mark = None
        if length == 40:
            assert struct.unpack_from("=HH", raw, 32) == (8, 3)
            (mark,) = struct.unpack_from(">I", raw, 36)
        found.append((kind, queue, verdict, packet_id, mark))
        raw = raw[length:]
    return found


class KernelQueue:
    """What the kernel does with verdicts, slowly: ids in order, batch up to an id compared signed."""

    def __init__(self, ids: list[int]) -> None:
        self.waiting = list(ids)
        self.given: dict[int, tuple[int, int | None]] = {}

    def apply(self, raw: bytes) -> None:
        for kind, _, verdict, last, mark in messages_of(raw):
            if kind == VERDICT:
                hit = [one for one in self.waiting if one == last]
            else:
                assert verdict in (ACCEPT, DROP)
                hit = [one for one in self.waiting if ((one - last + 2**31) % 2**32) - 2**31 <= 0]
            for one in hit:
                self.waiting.remove(one)
                self.given[one] = (verdict, mark)


def test_equal_verdicts_are_one_batch() -> None:
    raw, through, gaps = plan_verdicts([(i, ACCEPT, None, False) for i in range(1, 65)], queue=5)
    assert messages_of(raw) == [(BATCH, 5, ACCEPT, 64, None)]
    assert (through, gaps) == (64, 0)


def test_exceptions_go_singly_and_before_the_batch() -> None:
    items: list[Item] = [(i, DROP if i in (2, 5) else ACCEPT, None, False) for i in range(1, 7)]
    raw, _, _ = plan_verdicts(items)
    assert messages_of(raw) == [(VERDICT, 0, DROP, 2, None), (VERDICT, 0, DROP, 5, None), (BATCH, 0, ACCEPT, 6, None)]


def test_a_batch_carries_a_mark_only_for_packets_with_that_mark() -> None:
    items: list[Item] = [(1, ACCEPT, 8, False), (2, ACCEPT, 8, False), (3, ACCEPT, 9, False), (4, ACCEPT, None, False)]
    raw, _, _ = plan_verdicts(items)
    assert messages_of(raw) == [(VERDICT, 0, ACCEPT, 3, 9), (VERDICT, 0, ACCEPT, 4, None), (BATCH, 0, ACCEPT, 4, 8)]


def test_parked_packets_always_go_singly() -> None:
    raw, _, _ = plan_verdicts([(1, PARK, None, False), (2, PARK, None, False)])
    assert messages_of(raw) == [(VERDICT, 0, PARK, 1, None), (VERDICT, 0, PARK, 2, None)]


def test_a_gap_gets_the_error_verdict_before_the_batch_runs_over_it() -> None:
    items: list[Item] = [(4, ACCEPT, None, False), (5, ACCEPT, None, False), (9, ACCEPT, None, False)]
    raw, through, gaps = plan_verdicts(items, decided_through=3, unseen_verdict=DROP)
    assert messages_of(raw) == [(BATCH, 0, ACCEPT, 5, None), (BATCH, 0, DROP, 8, None), (VERDICT, 0, ACCEPT, 9, None)]
    assert (through, gaps) == (9, 3)


def test_packets_before_the_first_one_seen_get_the_error_verdict_and_are_no_gap() -> None:
    raw, through, gaps = plan_verdicts([(6, ACCEPT, None, False)], unseen_verdict=DROP)
    assert messages_of(raw) == [(BATCH, 0, DROP, 5, None), (VERDICT, 0, ACCEPT, 6, None)]
    assert (through, gaps) == (6, 0)


def test_packets_that_have_their_verdict_get_no_second_one() -> None:
    raw, through, _ = plan_verdicts([(1, ACCEPT, None, True), (2, ACCEPT, None, False), (3, ACCEPT, None, False)])
    assert messages_of(raw) == [(BATCH, 0, ACCEPT, 3, None)]
    raw, through, _ = plan_verdicts([(1, ACCEPT, None, True)])
    assert (raw, through) == (b"", 1)


def test_ids_wrap() -> None:
    last = 2**32 - 1
    items: list[Item] = [(last, ACCEPT, None, False), (0, ACCEPT, None, False)]
    raw, through, gaps = plan_verdicts(items, decided_through=last - 1)
    assert messages_of(raw) == [(BATCH, 0, ACCEPT, 0, None)]
    assert (through, gaps) == (0, 0)


def test_an_id_behind_the_sequence_is_decided_singly() -> None:
    raw, through, _ = plan_verdicts([(3, ACCEPT, None, False)], decided_through=10)
    assert messages_of(raw) == [(VERDICT, 0, ACCEPT, 3, None)]
    assert through == 10


outcomes = st.tuples(
    st.sampled_from([ACCEPT, ACCEPT, DROP, PARK]),
    st.sampled_from([None, None, 1, 2]),
    st.sampled_from([True] + [False] * 5),
)


@given(
    st.lists(st.tuples(outcomes, st.sampled_from(["seen"] * 4 + ["lost", "stolen"])), max_size=24),
    st.sampled_from([0, 5, 2**31 - 8, 2**32 - 8]),
    st.integers(1, 7),
    st.sampled_from([ACCEPT, DROP]),
)
def test_every_packet_gets_its_own_verdict_and_stolen_ones_that_for_errors(
    story: list[tuple[tuple[int, int | None, bool], str]], base: int, size: int, unseen: int
) -> None:
    """`stolen`: queued and read by somebody else; `lost`: never queued."""
    ids = [(base + 1 + i) % 2**32 for i in range(len(story))]
    kernel = KernelQueue([packet for packet, (_, fate) in zip(ids, story, strict=True) if fate != "lost"])
    expected: dict[int, tuple[int, int | None]] = {}
    seen: list[Item] = []
    for packet, ((verdict, mark, given_), fate) in zip(ids, story, strict=True):
        expected[packet] = (verdict, mark)
        if fate == "seen":
            seen.append((packet, verdict, mark, given_))
            if given_:
                kernel.waiting.remove(packet)
    through: int | None = base
    for start in range(0, len(seen), size):
        raw, through, _ = plan_verdicts(seen[start : start + size], decided_through=through, unseen_verdict=unseen)
        kernel.apply(raw)
    last = seen[-1][0] if seen else None
    for packet, (_, fate) in zip(ids, story, strict=True):
        if fate == "stolen":
            behind = last is None or (packet - last) % 2**32 < 2**31
            assert (packet in kernel.waiting) if behind else kernel.given[packet] == (unseen, None)
        elif packet in kernel.given:
            assert kernel.given[packet] == expected[packet]
    assert all(fate == "stolen" for packet, (_, fate) in zip(ids, story, strict=True) if packet in kernel.waiting)


@pytest.mark.parametrize("n", [0, 1, 1000])
def test_the_buffer_holds_the_longest_plan(n: int) -> None:
    items: list[Item] = [(3 * i + 2, PARK, i, False) for i in range(n)]
    raw, _, _ = plan_verdicts(items)
    assert len(messages_of(raw)) == 2 * n

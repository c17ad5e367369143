"""Reassembly and its slow twin agree, whatever segments come in whatever order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.oracle.reassembly import Reassembly
from wfpd.dataplane._reassembly import Reassembler

INITIALS = st.sampled_from([0, 1, 2**31 - 20, 2**31, 2**32 - 30, 2**32 - 1]) | st.integers(0, 2**32 - 1)
SEGMENTS = st.lists(
    st.tuples(
        st.integers(-40, 140),
        st.integers(0, 40),
        st.sampled_from([0, 0, 0, 1]),
        st.booleans(),
        st.sampled_from([False] * 9 + [True]),
        st.sampled_from([False] * 19 + [True]),
        st.booleans(),
    ),
    max_size=60,
)


def content(start: int, length: int, other: int) -> bytes:
    """Bytes that say where they belong; `other` makes them the wrong ones."""
    return bytes((at * 7 + other) & 0xFF for at in range(start, start + length))


@given(INITIALS, SEGMENTS, st.integers(0, 60), st.integers(1, 200))
def test_every_segment_gives_the_same_facts_and_bytes(initial, segments, history, window):
    fast = Reassembler(initial, history=history, window=window)
    slow = Reassembly(initial, history=history, window=window)
    for start, length, other, near, fin, syn, take in segments:
        # Near what is awaited, so that long streams are made too.
        at = start if not near else slow.next + start // 8
        sequence = (initial + at) % 2**32
        given_ = {"syn": syn, "fin": fin, "take": take}
        data = content(at, length, other)
        assert fast.segment(sequence, data, **given_) == slow.segment(sequence, data, **given_), (at, length)
        assert (fast.next, fast.fin) == (slow.next, slow.fin)


@given(INITIALS, SEGMENTS, st.lists(st.integers(0, 160), max_size=5))
def test_going_on_behind_a_gap_agrees(initial, segments, skips):
    fast = Reassembler(initial, history=16, window=150)
    slow = Reassembly(initial, history=16, window=150)
    for index, (start, length, other, near, _, _, take) in enumerate(segments):
        at = start if not near else slow.next + start // 8
        sequence = (initial + at) % 2**32
        data = content(at, length, other)
        assert fast.segment(sequence, data, take=take) == slow.segment(sequence, data, take=take)
        if index % 9 == 8 and skips:
            to = (initial + skips.pop()) % 2**32
            assert fast.skip(to) == slow.skip(to)


@given(st.binary(min_size=1, max_size=3000), INITIALS, st.randoms(use_true_random=False))
def test_any_cut_in_any_order_with_repeats_gives_the_stream(stream, initial, random):
    segments = []
    for _ in range(2):
        at = 0
        while at < len(stream):
            length = random.randint(1, 1 + len(stream) // 8)
            segments.append((at, stream[at : at + length]))
            at += length
    random.shuffle(segments)
    fast, found = Reassembler(initial, window=1 << 20), b""
    while fast.next < len(stream):  # A run too many is refused, and comes again.
        for at, data in segments:
            facts, fresh = fast.segment((initial + at) % 2**32, data)
            assert not facts & {"inconsistent", "after_fin"}
            found += fresh
    assert found == stream

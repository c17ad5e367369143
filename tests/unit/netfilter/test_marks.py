"""The mark layout."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfpd.errors import PolicyError
from wfpd.model.policy import Reply
from wfpd.netfilter.marks import BITS, HANDLES, Decided, Marks, Plane, Way, can_reply

MASKS = st.integers(0, 32 - BITS).map(lambda shift: 0xFFF << shift)
WORDS = st.integers(0, 0xFFFFFFFF)


@given(MASKS, WORDS, WORDS)
def test_merging_keeps_foreign_bits_and_replaces_ours(mask: int, arrived: int, ours: int) -> None:
    marks = Marks(mask)
    whole = marks.merge(arrived, ours)
    assert whole & ~mask == arrived & ~mask & 0xFFFFFFFF
    assert whole & mask == ours & mask


@given(
    MASKS, st.sampled_from([Plane.INPUT, Plane.FORWARD, Plane.OUTPUT]), st.sampled_from(Decided), st.integers(1, 255)
)
def test_a_flow_mark_splits_into_what_it_was_made_of(
    mask: int, plane: Plane, decided: Decided, generation: int
) -> None:
    marks = Marks(mask)
    mark = marks.flow(plane, decided, generation)
    assert mark & ~mask == 0
    assert marks.split(mark | (~mask & 0xFFFFFFFF)) == (plane, decided, generation)


@given(MASKS)
def test_reply_marks_are_distinct_within_the_mask_and_never_flow_marks(mask: int) -> None:
    marks = Marks(mask)
    replies = {marks.reply(reply) for reply in Reply}
    assert len(replies) == len(Reply)
    assert 0 not in replies
    for mark in replies:
        plane, _, generation = marks.split(mark)
        assert mark & ~mask == 0
        assert (plane, generation) == (Plane.REPLY, 0)


@pytest.mark.parametrize("mask", [0, -1, 0xFF, 0x1FFF, 0xFFFF0000, 0xF0FF0000, 0xFFF << 24, 0xFFF00001])
def test_a_mask_without_twelve_contiguous_bits_is_refused(mask: int) -> None:
    with pytest.raises(PolicyError, match="12 contiguous bits"):
        Marks(mask)


@pytest.mark.parametrize(("plane", "generation"), [(Plane.REPLY, 1), (Plane.INPUT, 0), (Plane.INPUT, 256)])
def test_a_flow_mark_needs_a_hook_and_a_generation(plane: Plane, generation: int) -> None:
    with pytest.raises(ValueError):
        Marks().flow(plane, Decided.PERMIT, generation)


def test_generations_run_from_1_to_255_and_start_over() -> None:
    assert [Marks().generation_of(number) for number in (1, 255, 256, 510, 511)] == [1, 255, 1, 255, 1]


def test_blocks_can_be_answered_everywhere_but_at_postrouting() -> None:
    assert [hook for hook in ("prerouting", "input", "forward", "output", "postrouting") if not can_reply(hook)] == [
        "postrouting"
    ]


@given(MASKS, st.integers(1, HANDLES), st.sampled_from(Way), WORDS)
def test_the_mark_of_an_injected_packet_holds_its_handle_and_is_no_other_mark(
    mask: int, handle: int, way: Way, foreign: int
) -> None:
    marks = Marks(mask)
    ours = marks.injected(handle, way)
    assert ours & ~mask == 0 and marks.injected_by(marks.merge(foreign, ours)) == handle
    assert marks.split(ours) == (Plane.REPLY, Decided.NONE, way << 6 | handle)
    assert ours & marks.without(8) == 0 and (ours & marks.without(6) == 0) is (way is Way.OUTBOUND)
    assert not marks.injected_by(marks.merge(foreign, 0))


@given(MASKS, st.sampled_from([Plane.INPUT, Plane.FORWARD, Plane.OUTPUT]), st.sampled_from(Decided),
       st.integers(1, 255))  # fmt: skip
def test_flow_marks_and_reply_marks_are_of_no_injected_packet(
    mask: int, plane: Plane, decided: Decided, generation: int
) -> None:
    marks = Marks(mask)
    assert not marks.injected_by(marks.flow(plane, decided, generation))
    assert not any(marks.injected_by(marks.reply(reply)) for reply in Reply)


@pytest.mark.parametrize("handle", [0, HANDLES + 1])
def test_there_are_63_handles(handle: int) -> None:
    with pytest.raises(ValueError):
        Marks().injected(handle, Way.INBOUND)

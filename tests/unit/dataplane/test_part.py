"""Part: what it refuses of a packed policy, and that whatever it takes can be used."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders import a_filter, a_policy, callout, equal, snapshot, when
from tests.unit.dataplane.rich import PERMIT, WORDS, rich_bytes
from wfpd.compiler.pack import pack
from wfpd.dataplane import Part, Snapshot
from wfpd.model.conditions import Atom, Op


@pytest.mark.parametrize("size", [0, 1, 16, 200, 223])
def test_a_buffer_that_breaks_off_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="packed policy"):
        Snapshot(rich_bytes()[:size], [None, None], generation=1, **WORDS)


@pytest.mark.parametrize(
    ("field", "atom"),
    [("ip_protocol", Atom(Op.TEXT_EQUAL, text=b"tcp")), ("interface_name", equal(1))],
)
def test_a_test_that_is_not_for_its_fields_type_is_refused(field: str, atom: Atom) -> None:
    with pytest.raises(ValueError, match="type"):
        snapshot(a_policy([a_filter("a", PERMIT, when(field, atom))]))


def test_a_slot_at_which_no_layer_is_is_refused() -> None:
    with pytest.raises(ValueError, match="no layer"):
        snapshot(a_policy([a_filter("a", PERMIT, at=30)]))


def _use_everything(taken: Snapshot) -> None:
    for index in range(taken.n_filters):
        taken.filter_info(index)
    for at in range(64):
        for values in ({}, {"ip_source_port": 22, "ip_source_address": 1, "interface_name": b"eth0"}):
            taken.match(at, values)
            taken.matches_slow(at, values)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_any_changed_bytes_give_a_usable_snapshot_or_value_error(data: st.DataObject) -> None:
    content = bytearray(rich_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        if data.draw(st.booleans()):
            content[at] = data.draw(st.integers(0, 255))
        else:
            at = min(at & ~3, len(content) - 4)
            word = data.draw(st.sampled_from([0, 1, 2, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF]))
            struct.pack_into("<I", content, at, word)
    try:
        taken = Snapshot(bytes(content), [None, None], generation=1, **WORDS)
    except ValueError:
        return
    _use_everything(taken)


def test_every_byte_changed_alone_gives_a_usable_snapshot_or_value_error() -> None:
    sound = rich_bytes()
    for at in range(len(sound)):
        for change in (1, 0x80, 0xFF):
            content = bytearray(sound)
            content[at] ^= change
            try:
                taken = Snapshot(bytes(content), [None, None], generation=1, **WORDS)
            except ValueError:
                continue
            _use_everything(taken)


def test_a_writable_buffer_is_copied() -> None:
    content = bytearray(rich_bytes())
    taken = Snapshot(content, [None, None], generation=1, **WORDS)
    content[:] = bytes(len(content))
    assert taken.filter_name(1) == "port"


def test_a_buffer_that_is_not_aligned_is_copied() -> None:
    taken = Snapshot(memoryview(b"x" + rich_bytes())[1:], [None, None], generation=1, **WORDS)
    assert taken.filter_name(1) == "port"


def test_a_part_tells_the_keys_of_its_filters_and_callouts() -> None:
    filters = [a_filter(f"f{number}", PERMIT) for number in range(20)]
    part = Part(pack(a_policy(filters, callouts=[callout("c")])), search=False)
    part.prepare()
    assert part.n_filters == 20
    assert sorted(part.keys()) == sorted(item.key.bytes for item in filters)
    assert part.callout_keys() == [callout("c").key.bytes]


def test_policies_of_many_like_keys_are_indexed_in_no_time_that_grows_with_their_square() -> None:
    from uuid import UUID

    filters = [a_filter(f"f{number}", PERMIT, key=UUID(int=number)) for number in range(100_000)]
    part = Part(pack(a_policy(filters)), search=False)
    part.prepare()  # Ends.
    assert part.n_filters == 100_000

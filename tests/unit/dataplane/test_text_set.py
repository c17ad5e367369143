"""Large sets of texts: every text has the answer of a plain scan, whatever hashes the names share."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from wfpd.dataplane._text_set import TextSetDoor, hash_of


def names(count, of=b"host%d.example.org"):
    """Sorted host names."""
    return sorted(of % number for number in range(count))


def test_every_member_is_found_and_nothing_else():
    for count in (0, 1, 7, 8, 9, 31, 64, 1000, 20_000):
        members = names(count)
        door = TextSetDoor(members)
        assert all(name in door for name in members)
        assert not any(name in door for name in names(count, b"Host%d.example.org"))
        assert b"" not in door and b"host" not in door


def test_a_text_that_differs_in_case_only_is_another():
    members = sorted(b"Name%d" % number for number in range(100))
    door = TextSetDoor(members)
    assert hash_of(b"NAME7") == hash_of(b"Name7")
    assert b"Name7" in door and b"NAME7" not in door and b"name7" not in door


def test_texts_are_dealt_evenly():
    for of in (b"host%d.example.org", b"%08d", b"/usr/bin/program-%d", b"DOMAIN\\\\user%d"):
        assert 1 <= TextSetDoor(names(50_000, of)).largest_bucket <= 32


def test_names_chosen_to_share_a_hash_are_still_told_apart():
    letters = b"abcdefghijklmn"
    members = sorted(  # 2 ** 14 names that differ in case only.
        bytes(byte ^ 0x20 if bit else byte for byte, bit in zip(letters, bits, strict=True))
        for bits in itertools.product((0, 1), repeat=len(letters))
    )
    left_out = members[::7]
    kept = [name for name in members if name not in set(left_out)]
    door = TextSetDoor(kept)
    assert door.largest_bucket == len(kept)
    assert all(name in door for name in kept)
    assert not any(name in door for name in left_out)


@settings(max_examples=100, deadline=None)
@given(st.sets(st.binary(max_size=12), max_size=60), st.lists(st.binary(max_size=12), max_size=20))
def test_any_bytes_agree_with_a_plain_scan(members, others):
    door = TextSetDoor(sorted(members))
    for text in [*members, *others, *(text[:-1] for text in members)]:
        assert (text in door) == (text in members)

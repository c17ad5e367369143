"""A mapping that is never edited."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wfpd.bfe.shelves import Shelves

KEYS = st.binary(min_size=1, max_size=2)


@given(st.lists(st.tuples(st.dictionaries(KEYS, st.integers(), max_size=5), st.lists(KEYS, max_size=5))))
def test_it_is_what_a_dict_would_be_and_none_before_it_changes(
    steps: list[tuple[dict[bytes, int], list[bytes]]],
) -> None:
    shelves: Shelves[int] = Shelves()
    plain: dict[bytes, int] = {}
    for added, removed in steps:
        before, then = shelves, dict(plain)
        shelves = shelves.changed(added, removed)
        plain = {key: value for key, value in plain.items() if key not in removed} | added
        assert dict(shelves) == plain
        assert len(shelves) == len(plain) and set(shelves) == set(plain)
        assert dict(before) == then and len(before) == len(then)
        for key in (*added, *removed):
            assert shelves.get(key) == plain.get(key) and (key in shelves) == (key in plain)

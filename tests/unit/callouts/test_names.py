"""Host name lists: what an entry speaks of, and that the table agrees with a scan of the entries."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.oracle.names import listed
from wfpd.callouts._names import NameList

LABELS = st.sampled_from(["a", "B", "a-b", "x" * 63, "_t"])
NAMES = st.lists(LABELS, min_size=1, max_size=4).map(".".join).filter(lambda name: len(name) <= 250)
ENTRIES = st.tuples(st.sampled_from(["", ".", "*."]), NAMES, st.sampled_from(["", "."])).map("".join)


@pytest.mark.parametrize(
    ("entry", "name", "found"),
    [
        ("example.org", b"example.org", True),
        ("example.org", b"www.example.org", False),
        ("Example.ORG.", b"eXaMpLe.org", True),
        ("example.org", b"example.org.", True),
        ("example.org", b"example.org..", False),
        (".example.org", b"example.org", True),
        (".example.org", b"a.b.example.org", True),
        (".example.org", b"badexample.org", False),
        ("*.example.org", b"example.org", False),
        ("*.example.org", b"a.b.example.org", True),
        ("*.example.org", b".example.org", True),
        ("bücher.example", b"xn--bcher-kva.example", True),
        ("*.bücher.example", b"www.xn--bcher-kva.example", True),
        ("org", b"", False),
        ("org", b".", False),
        ("org", b"\xff.org", False),
        (".org", b"\xff\x00.org", True),
        (".org", b"a" * 250 + b".org", False),
    ],
)  # fmt: skip
def test_an_entry_speaks_of_a_name(entry: str, name: bytes, found: bool) -> None:
    assert (NameList([entry]).match(name) is not None) is found


@pytest.mark.parametrize(
    "entry",
    ["", ".", "*", "*.", "a..b", "-." * 130, "a b", "w*.org", "*.*.org", "a/24", "x" * 64, "..a", "a\x00", "ü" * 64],
)  # fmt: skip
def test_what_is_no_name_is_refused_by_its_text(entry: str) -> None:
    with pytest.raises(ValueError, match="is no host name"):
        NameList(["fine.example", entry])


def test_entries_have_to_be_texts() -> None:
    with pytest.raises(ValueError, match="'7' is no host name: it is no text"):
        NameList([7])  # type: ignore[list-item]


def test_the_longest_entry_is_told_in_the_way_it_was_listed() -> None:
    names = NameList([".org", "*.example.org", "www.example.org", "both.example", ".both.example"])
    told = [names.match(name) for name in (b"a.org", b"a.example.org", b"www.example.org", b"both.example")]
    assert told == [".org", "*.example.org", "www.example.org", ".both.example"]
    assert len(names) == 4


@given(st.lists(ENTRIES, max_size=12), NAMES)
def test_the_table_agrees_with_a_scan(entries: list[str], name: str) -> None:
    found = NameList(entries).match(name.encode())
    assert (None if found is None else found.lstrip("*.")) == listed(entries, name)


def test_many_names_take_little_memory_and_each_is_found() -> None:
    entries = [f"{'*.' if i % 3 == 0 else ''}host{i}.zone{i % 97}.example.org" for i in range(30_000)]
    names = NameList(entries)
    assert len(names) == 30_000 and names.size < 100 * 30_000
    for i in range(0, 30_000, 7):
        asked = f"{'a.' if i % 3 == 0 else ''}host{i}.zone{i % 97}.example.org"
        assert names.match(asked.encode()) == entries[i]
        assert names.match(b"x" + asked.encode()) == (entries[i] if i % 3 == 0 else None)

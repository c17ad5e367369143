"""The names of DNS queries."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.dns import DNS, DNSQR

from tests.oracle import question as oracle
from wfpd.callouts._question import read_question

TYPE = b"\x00\x01\x00\x01"
WWW = b"\x03www\x07example\x03org\x00"


def query(questions: bytes, count: int = 1, flags: bytes = b"\x01\x00") -> bytes:
    return b"\x12\x34" + flags + count.to_bytes(2, "big") + bytes(6) + questions


TABLE = {
    "one": (query(WWW + TYPE), "names", (b"www.example.org",)),
    "upper case is kept": (query(WWW.upper() + TYPE), "names", (b"WWW.EXAMPLE.ORG",)),
    "the root": (query(b"\x00" + TYPE), "names", (b"",)),
    "two": (query(WWW + TYPE + b"\x01a\x00" + TYPE, 2), "names", (b"www.example.org", b"a")),
    "the second one compressed": (
        query(WWW + TYPE + b"\x01a\xc0\x10" + TYPE, 2), "names", (b"www.example.org", b"a.example.org"),
    ),
    "records behind": (query(WWW + TYPE) + bytes(30), "names", (b"www.example.org",)),
    "an underscore": (query(b"\x05_http\x01a\x00" + TYPE), "names", (b"_http.a",)),
    "no question": (query(b"", 0), "none", ()),
    "an answer": (query(WWW + TYPE, flags=b"\x81\x80"), "other", ()),
    "nothing": (b"", "malformed", ()),
    "half a header": (bytes(11), "malformed", ()),
    "cut in a label": (query(WWW[:6]), "malformed", ()),
    "cut before the type": (query(WWW + TYPE[:3]), "malformed", ()),
    "a pointer to itself": (query(b"\xc0\x0c" + TYPE), "malformed", ()),
    "pointers in a circle": (query(b"\x01a\xc0\x0e\xc0\x0c" + TYPE), "malformed", ()),
    "a pointer forwards": (query(b"\xc0\x12" + TYPE + WWW), "malformed", ()),
    "a pointer into the header": (query(b"\xc0\x02" + TYPE), "malformed", ()),
    "half a pointer": (query(b"\xc0"), "malformed", ()),
    "a reserved kind of label": (query(b"\x41\x00" + TYPE), "malformed", ()),
    "a dot in a label": (query(b"\x0bexample.org\x00" + TYPE), "malformed", ()),
    "NUL in a label": (query(b"\x03a\x00b\x00" + TYPE), "malformed", ()),
    "a name of 254 bytes": (query((b"\x3f" + b"a" * 63) * 3 + b"\x3e" + b"a" * 62 + b"\x00" + TYPE), "malformed", ()),
    "17 questions": (query((b"\x00" + TYPE) * 17, 17), "malformed", ()),
}  # fmt: skip


@pytest.mark.parametrize(("message", "word", "names"), TABLE.values(), ids=TABLE)
def test_a_message_has_its_names(message: bytes, word: str, names: tuple[bytes, ...]) -> None:
    assert read_question(message) == (word, names) == oracle.read(message)


def test_the_longest_name_is_one() -> None:
    longest = (b"\x3f" + b"a" * 63) * 3 + b"\x3d" + b"a" * 61 + b"\x00"
    assert len(read_question(query(longest + TYPE))[1][0]) == 253


def test_a_query_made_by_scapy_is_read() -> None:
    message = bytes(DNS(rd=1, qd=DNSQR(qname="mail.example.net", qtype="MX")))
    assert read_question(message) == ("names", (b"mail.example.net",))


PIECES = st.sampled_from([WWW, b"\x01a", b"\xc0\x0c", b"\xc0\x10", b"\x00", TYPE, b"\x3f", b"\x40", b"\xff"])


@given(st.lists(PIECES, max_size=8).map(b"".join), st.integers(0, 17), st.integers(0, 60))
def test_spoilt_messages_have_the_slow_readers_answer(questions: bytes, count: int, size: int) -> None:
    for message in (query(questions, count), query(questions, count)[:size]):
        assert read_question(message) == oracle.read(message)


@given(st.binary(max_size=200))
def test_any_bytes_have_the_slow_readers_answer(data: bytes) -> None:
    for message in (data, query(data), query(data, 2)):
        assert read_question(message) == oracle.read(message)

"""The server name of a ClientHello, whatever pieces it comes in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.oracle import client_hello as oracle
from tests.unit.callouts.hellos import ECH, GREASE, VERSIONS, extension, hello, message, records, server_name, vector
from wfpd.callouts._client_hello import read_client_hello

NAME = b"www.example.org"
FINE = message(GREASE + server_name(NAME) + VERSIONS)
TABLE = {
    "a browser's": (hello(NAME), "name", NAME),
    "upper case is kept": (hello(b"WWW.example.ORG"), "name", b"WWW.example.ORG"),
    "no server name": (records(message(GREASE + VERSIONS)), "no_name", None),
    "no extension": (records(message(b"")), "no_name", None),
    "no extensions at all": (records(message(None)), "no_name", None),
    "only a name of another kind": (records(message(server_name(NAME, kind=7))), "no_name", None),
    "data behind the message": (hello(NAME) + b"\x14\x03\x03\x00\x01\x01", "name", NAME),
    "two messages in one record": (records(FINE + FINE), "name", NAME),
    "records of one byte": (records(FINE, [1] * len(FINE)), "name", NAME),
    "a name that is cut by records": (records(FINE, [90, 1, 3, 2]), "name", NAME),
    "the oldest version of a record": (b"\x16\x03\x00" + hello(NAME)[3:], "name", NAME),
    "nothing": (b"", "more", None),
    "HTTP": (b"GET / HTTP/1.1\r\n", "other", None),
    "SSL 2": (b"\x80\x2e\x01\x00\x02", "other", None),
    "a server's answer": (records(message(b"", kind=2)), "other", None),
    "an alert": (b"\x15\x03\x03\x00\x02\x02\x28", "other", None),
    "an alert amidst the message": (records(FINE[:20]) + b"\x15\x03\x03\x00\x02\x02\x28", "malformed", None),
    "an empty record": (b"\x16\x03\x01\x00\x00", "malformed", None),
    "a record that is too long": (b"\x16\x03\x01\x40\x01", "malformed", None),
    "two names": (records(message(server_name(NAME, NAME))), "malformed", None),
    "the extension twice": (records(message(server_name(NAME) * 2)), "malformed", None),
    "an empty extension": (records(message(extension(0, b""))), "malformed", None),
    "an empty list": (records(message(server_name())), "malformed", None),
    "an empty name": (records(message(server_name(b""))), "malformed", None),
    "a name with NUL": (records(message(server_name(b"a\x00.org"))), "malformed", None),
    "a name with letters beyond ASCII": (records(message(server_name("ä.org".encode()))), "malformed", None),
    "a name of 254 bytes": (records(message(server_name(b"a" * 254))), "malformed", None),
    "a list that lies": (records(message(extension(0, vector(2, b"\x00\x00\x09abc")))), "malformed", None),
    "bytes behind the list": (records(message(extension(0, vector(2, b"\x00\x00\x01a") + b"b"))), "malformed", None),
    "a session of 33 bytes": (records(message(b"", session=bytes(33))), "malformed", None),
    "no cipher suite": (records(message(b"", suites=b"")), "malformed", None),
    "half a cipher suite": (records(message(b"", suites=b"\x13\x01\x13")), "malformed", None),
    "no compression": (records(message(b"", compression=b"")), "malformed", None),
    "an extension that is cut": (records(message(b"\x00\x0a\x00\x09\x00")), "malformed", None),
    "a message of a few bytes": (records(b"\x01\x00\x00\x02\x03\x03"), "malformed", None),
    "a message that is too long": (records(b"\x01\x00\x40\x00"), "too_long", None),
}  # fmt: skip


@pytest.mark.parametrize(("stream", "word", "name"), TABLE.values(), ids=TABLE)
def test_a_stream_has_its_answer(stream: bytes, word: str, name: bytes | None) -> None:
    assert read_client_hello(stream)[:2] == (word, name) == oracle.read(stream)


def test_the_outer_name_of_an_encrypted_hello_is_told_with_it() -> None:
    assert read_client_hello(records(message(server_name(b"outer.example") + ECH)))[:3] == (
        "name",
        b"outer.example",
        True,
    )
    assert read_client_hello(records(message(ECH)))[:3] == ("no_name", None, True)
    assert read_client_hello(hello())[2] is False


def asked_by_need(stream: bytes) -> tuple[str, bytes | None, int]:
    """The answer of a caller that brings as many bytes as are needed at least, and how often it asked."""
    size = times = 0
    while True:
        word, name, _, needed = read_client_hello(stream[:size])
        times += 1
        if word != "more" or size >= len(stream):
            return word, name, times
        assert needed > 0
        size += needed


@pytest.mark.parametrize("stream", [case[0] for case in TABLE.values()], ids=TABLE)
def test_no_beginning_has_another_answer_and_never_more_is_asked_for_than_decides(stream: bytes) -> None:
    final = read_client_hello(stream)[:2]
    earlier = [read_client_hello(stream[:size]) for size in range(len(stream) + 1)]
    first = next((size for size, found in enumerate(earlier) if found[0] != "more"), len(stream) + 1)
    assert all(found[:2] == final for found in earlier[first:])
    assert all(size + earlier[size][3] <= first for size in range(first) if final[0] in ("name", "no_name"))


def test_a_long_message_in_the_smallest_records_is_asked_for_a_few_times() -> None:
    long = message(extension(21, bytes(16000)) + server_name(NAME))
    assert asked_by_need(records(long, [1] * len(long))) == (
        "name",
        NAME,
        asked_by_need(records(long, [1] * len(long)))[2],
    )
    assert asked_by_need(records(long, [1] * len(long)))[2] < 60


def test_the_longest_message_is_declared() -> None:
    long = records(message(extension(21, bytes(200)) + server_name(NAME)))
    assert read_client_hello(long, 128)[0] == "too_long" and read_client_hello(long, 512)[0] == "name"
    for most in (63, 1 << 25):
        with pytest.raises(ValueError, match="most"):
            read_client_hello(long, most)


SPOILT = st.tuples(
    st.sampled_from([case[0] for case in TABLE.values()]),
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=3),
    st.integers(0, 400),
)


@given(SPOILT)
def test_spoilt_bytes_have_the_slow_readers_answer(given_: tuple[bytes, list[tuple[int, int]], int]) -> None:
    data = bytearray(given_[0])
    for place, byte in given_[1]:
        if place < len(data):
            data[place] = byte
    stream = bytes(data[: given_[2]])
    assert read_client_hello(stream)[:2] == oracle.read(stream)


@given(st.lists(st.integers(1, 40), max_size=30), st.binary(max_size=20))
def test_records_of_any_size_have_one_answer(sizes: list[int], behind: bytes) -> None:
    assert read_client_hello(records(FINE, sizes) + behind)[:2] == ("name", NAME)


@given(st.binary(max_size=300))
def test_any_bytes_have_the_slow_readers_answer(data: bytes) -> None:
    for stream in (data, b"\x16\x03\x01" + data, records(b"\x01\x00\x00" + data)):
        assert read_client_hello(stream, 64)[:2] == oracle.read(stream, 64)

"""Hosts of HTTP/1 requests, however the connection's bytes are cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfpd.callouts.builtin.http_requests import Found, Requests

GET = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"
A, B = ("names", (b"a.example",)), ("names", (b"b.example",))
MALFORMED, OTHER, NO_NAME = ("malformed", ()), ("other", ()), ("no_name", ())


def head(*lines: bytes, first: bytes = b"GET / HTTP/1.1") -> bytes:
    return b"".join(line + b"\r\n" for line in (first, *lines)) + b"\r\n"


HOST = b"Host: a.example"
TABLE: dict[str, tuple[bytes, list[Found]]] = {
    "one request": (GET, [A]),
    "two requests": (GET + GET.replace(b"a.", b"b."), [A, B]),
    "a port": (head(b"Host: a.example:8080"), [A]),
    "a port without a number": (head(b"Host: a.example:"), [A]),
    "an IPv6 address": (head(b"Host: [2001:db8::1]:80"), [("names", (b"[2001:db8::1]",))]),
    "blanks around": (head(b"hOsT:\t a.example \t"), [A]),
    "no blank": (head(b"Host:a.example"), [A]),
    "line ends without CR": (b"GET / HTTP/1.1\nHost: a.example\n\n", [A]),
    "empty lines before": (b"\r\n\n\r\n" + GET, [A]),
    "absolute form": (head(HOST, first=b"GET http://a.example/x HTTP/1.1"), [A]),
    "absolute form with a user and a port": (head(HOST, first=b"GET http://b.example@a.example:80?q HTTP/1.1"), [A]),
    "absolute form beside another host": (
        head(HOST, first=b"GET http://b.example HTTP/1.1"), [("names", (b"b.example", b"a.example"))],
    ),
    "absolute form in HTTP/1.0 without a host": (head(first=b"GET http://a.example/ HTTP/1.0"), [A]),
    "asterisk form": (head(HOST, first=b"OPTIONS * HTTP/1.1"), [A]),
    "CONNECT and what the tunnel carries": (head(HOST, first=b"CONNECT a.example:443 HTTP/1.1") + b"\x16\x03\x01", [A]),
    "an upgrade and what it carries": (head(HOST, b"Upgrade: websocket") + b"\x81\x05", [A]),
    "an upgrade that was not taken": (head(HOST, b"Upgrade: h2c") + GET.replace(b"a.", b"b."), [A, B]),
    "HTTP/1.0 without a host": (head(first=b"GET / HTTP/1.0"), [NO_NAME]),
    "an empty host": (head(b"Host:"), [NO_NAME]),
    "a folded host": (head(b"Host:", b"  a.example"), [A]),
    "a fold elsewhere": (head(b"X: a", b"\tb", HOST), [A]),
    "a body that looks like a request": (
        head(HOST, b"Content-Length: %d" % len(GET)) + GET + GET.replace(b"a.", b"b."), [A, B],
    ),
    "a body": (head(HOST, b"Content-Length: 3") + b"GET" + GET.replace(b"a.", b"b."), [A, B]),
    "an empty body": (head(HOST, b"Content-Length: 0") + GET.replace(b"a.", b"b."), [A, B]),
    "chunks": (
        head(HOST, b"Transfer-Encoding: gzip, Chunked") + b"3\r\nGET\r\n0A ;x=1\r\n" + b"\r\n" * 5
        + b"\r\n0\r\nT: 1\r\n\r\n" + GET.replace(b"a.", b"b."), [A, B],
    ),
    "a chunk that is not a number": (head(HOST, b"Transfer-Encoding: chunked") + b"x\r\n", [A, MALFORMED]),
    "a chunk without its end": (head(HOST, b"Transfer-Encoding: chunked") + b"1\r\naa\r\n", [A, MALFORMED]),
    "length and chunks": (head(HOST, b"Content-Length: 3", b"Transfer-Encoding: chunked"), [MALFORMED]),
    "a coding that has no end": (head(HOST, b"Transfer-Encoding: chunked, gzip"), [MALFORMED]),
    "chunks in HTTP/1.0": (head(HOST, b"Transfer-Encoding: chunked", first=b"GET / HTTP/1.0"), [MALFORMED]),
    "two lengths": (head(HOST, b"Content-Length: 3", b"Content-Length: 3"), [MALFORMED]),
    "a length with a sign": (head(HOST, b"Content-Length: +3"), [MALFORMED]),
    "two hosts": (head(HOST, HOST), [MALFORMED]),
    "no host": (head(), [MALFORMED]),
    "a host with a path": (head(b"Host: a.example/b"), [MALFORMED]),
    "a host of two": (head(b"Host: a.example, b.example"), [MALFORMED]),
    "a folded host of two": (head(HOST, b" b.example"), [MALFORMED]),
    "a host with an escape": (head(b"Host: %61.example"), [MALFORMED]),
    "a blank behind a name": (head(b"Host : a.example"), [MALFORMED]),
    "a fold before the first field": (head(b" Host: a.example"), [MALFORMED]),
    "a line that is no field": (head(HOST, b"nothing"), [MALFORMED]),
    "a lone CR": (head(b"Host: a.example\rX: y"), [MALFORMED]),
    "NUL": (head(b"Host: a\x00.example"), [MALFORMED]),
    "a target that is none": (head(HOST, first=b"GET a.example/ HTTP/1.1"), [MALFORMED]),
    "no request behind one": (GET + b"\x16\x03\x01", [A, MALFORMED]),
    "TLS": (b"\x16\x03\x01\x02\x00\x01", [OTHER]),
    "SSH": (b"SSH-2.0-OpenSSH_9\r\n", [OTHER]),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [OTHER]),
    "HTTP/0.9": (b"GET /\r\n", [OTHER]),
    "CR first": (b"\rGET / HTTP/1.1\r\n", [OTHER]),
    "a long word": (b"A" * 33, [OTHER]),
    "a head that is too long": (b"GET / HTTP/1.1\r\nX: " + b"a" * 300 + b"\r\n\r\n", [MALFORMED]),
    "a line that is too long": (b"GET /" + b"a" * 300, [MALFORMED]),
    "many short fields": (b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 60, [MALFORMED]),
    "a head that is not whole": (GET[:-2], []),
    "nothing": (b"", []),
}  # fmt: skip


def fed(stream: bytes, cuts: list[int], most: int = 256) -> list[Found]:
    """What is found where pieces end at `cuts`; what is not done with comes again."""
    requests, found, done = Requests(most), list[Found](), 0
    for cut in [*sorted(cut for cut in set(cuts) if cut < len(stream)), len(stream)]:
        passed, now = requests.scan(stream[done:cut])
        assert 0 <= passed <= cut - done
        assert cut - done - passed <= most + 4
        found += now
        done += passed
    return found


@pytest.mark.parametrize(("stream", "found"), TABLE.values(), ids=TABLE)
def test_a_connection_has_its_names_whole_and_byte_by_byte(stream: bytes, found: list[Found]) -> None:
    assert fed(stream, []) == found
    assert fed(stream, list(range(len(stream)))) == found


@given(st.sampled_from([case[0] for case in TABLE.values()]), st.lists(st.integers(1, 400), max_size=8),
       st.lists(st.tuples(st.integers(0, 120), st.sampled_from(b"\r\n :a\x00,1")), max_size=3))  # fmt: skip
def test_the_cuts_change_nothing_of_spoilt_bytes_either(
    stream: bytes, cuts: list[int], spoilt: list[tuple[int, int]]
) -> None:
    data = bytearray(stream)
    for place, byte in spoilt:
        if place < len(data):
            data[place] = byte
    assert fed(bytes(data), cuts) == fed(bytes(data), [])


@given(st.binary(max_size=200), st.lists(st.integers(1, 200), max_size=5))
def test_any_bytes_are_no_fault(data: bytes, cuts: list[int]) -> None:
    for stream in (data, GET + data, head(HOST, b"Transfer-Encoding: chunked") + data):
        assert fed(stream, cuts) == fed(stream, [])


def test_a_body_is_passed_without_being_kept() -> None:
    requests = Requests(256)
    assert requests.scan(head(HOST, b"Content-Length: 100000000")) == (62, [A])
    for _ in range(100):
        assert requests.scan(bytes(1_000_000)) == (1_000_000, [])
    assert requests.scan(GET) == (len(GET), [A])

"""Netlink framing."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wfpd.errors import KernelError
from wfpd.netfilter import rtnetlink


def attribute(kind: int, value: bytes) -> bytes:
    return rtnetlink.ATTRIBUTE.pack(4 + len(value), kind) + value + bytes(-len(value) % 4)


def message(kind: int, body: bytes = b"", flags: int = 0) -> bytes:
    return rtnetlink.HEADER.pack(16 + len(body), kind, flags, 0, 0) + body + bytes(-len(body) % 4)


def test_attributes_are_read_by_type_without_their_flag_bits() -> None:
    assert rtnetlink.attributes(attribute(3, b"lo\0") + attribute(0x8001, b"abcd")) == {3: b"lo\0", 1: b"abcd"}


@given(st.binary(max_size=64))
def test_any_bytes_are_some_attributes_and_some_messages_and_nothing_else(data: bytes) -> None:
    assert all(len(value) <= len(data) for value in rtnetlink.attributes(data).values())
    assert all(len(payload) <= len(data) for _, _, payload in rtnetlink.messages(data))


class FakeSocket:
    """Answers each request with the next list of datagrams."""

    def __init__(self, *answers: list[bytes]) -> None:
        self.answers = list(answers)
        self.requests: list[bytes] = []
        self.pending: list[bytes] = []

    def send(self, data: bytes) -> None:
        self.requests.append(data)
        self.pending = self.answers.pop(0) if len(self.answers) > 1 else list(self.answers[0])

    def recv(self, _: int) -> bytes:
        return self.pending.pop(0)


def dump(sock: FakeSocket) -> list[bytes]:
    return rtnetlink.dump(sock, 18, b"body", 16)  # type: ignore[arg-type]


def test_a_dump_ends_at_done_and_keeps_only_answers() -> None:
    sock = FakeSocket([message(16, b"one!") + message(99, b"else"), message(16, b"two!"), message(3, bytes(4))])
    assert dump(sock) == [b"one!", b"two!"]
    assert sock.requests[0] == struct.pack("=IHHII", 20, 18, 0x301, 0, 0) + b"body"


def test_an_interrupted_dump_is_asked_for_again() -> None:
    torn = [message(16, b"torn", flags=0x10), message(3, bytes(4), flags=0x10)]
    assert dump(FakeSocket(torn, [message(16, b"good"), message(3, bytes(4))])) == [b"good"]
    with pytest.raises(KernelError, match="faster"):
        dump(FakeSocket([message(16, b"torn", flags=0x10) + message(3, bytes(4))]))


def test_a_refused_dump_is_a_kernel_error() -> None:
    with pytest.raises(KernelError, match="refused"):
        dump(FakeSocket([message(2, struct.pack("=i", -95))]))

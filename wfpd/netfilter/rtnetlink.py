"""Dumps and notices of rtnetlink: just enough of it to know this host's interfaces and addresses."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

from wfpd.errors import KernelError

NLMSG_ERROR, NLMSG_DONE, NLMSG_OVERRUN = 2, 3, 4
NLM_F_REQUEST, NLM_F_DUMP, NLM_F_DUMP_INTR = 0x1, 0x300, 0x10
RTM_NEWLINK, RTM_GETLINK, RTM_NEWROUTE, RTM_GETROUTE = 16, 18, 24, 26
RTMGRP_LINK, RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE = 0x1, 0x10, 0x40
RTMGRP_IPV6_IFADDR, RTMGRP_IPV6_ROUTE = 0x100, 0x400
HEADER = struct.Struct("=IHHII")
"""nlmsghdr: length, type, flags, sequence, port."""
ATTRIBUTE = struct.Struct("=HH")
"""rtattr: length, type."""
ATTRIBUTE_TYPE_MASK = 0x3FFF
RECEIVE = 1 << 18
"""Bytes; above the largest part of a dump the kernel sends."""
ATTEMPTS = 5
"""A dump that a change interrupted is asked for again."""


def attributes(data: bytes) -> dict[int, bytes]:
    """Attributes by type; a broken one ends the list."""
    found: dict[int, bytes] = {}
    at = 0
    while at + ATTRIBUTE.size <= len(data):
        length, kind = ATTRIBUTE.unpack_from(data, at)
        if length < ATTRIBUTE.size or at + length > len(data):
            break
        found[kind & ATTRIBUTE_TYPE_MASK] = data[at + ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3
    return found


def messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Type, flags and payload of each message of one datagram."""
    at = 0
    while at + HEADER.size <= len(data):
        length, kind, flags, _, _ = HEADER.unpack_from(data, at)
        if length < HEADER.size or at + length > len(data):
            return
        yield kind, flags, data[at + HEADER.size : at + length]
        at += (length + 3) & ~3


def open_socket(groups: int = 0) -> socket.socket:
    """A route socket in the calling thread's namespace, close-on-exec, subscribed to `groups`."""
    try:
        made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        made.bind((0, groups))
    except OSError as error:
        raise KernelError(f"rtnetlink: {error.strerror}") from error
    return made


def dump(sock: socket.socket, request: int, body: bytes, answer: int) -> list[bytes]:
    """Payloads of every `answer` message of a dump."""
    for _ in range(ATTEMPTS):
        found = _dump_once(sock, request, body, answer)
        if found is not None:
            return found
    raise KernelError("rtnetlink: the interfaces change faster than they can be read")


def _dump_once(sock: socket.socket, request: int, body: bytes, answer: int) -> list[bytes] | None:
    """One try; None if a change interrupted it."""
    header = HEADER.pack(HEADER.size + len(body), request, NLM_F_REQUEST | NLM_F_DUMP, 0, 0)
    found: list[bytes] = []
    interrupted = False
    try:
        sock.send(header + body)
        while True:
            for kind, flags, payload in messages(sock.recv(RECEIVE)):
                interrupted |= bool(flags & NLM_F_DUMP_INTR)
                if kind == NLMSG_DONE:
                    return None if interrupted else found
                if kind == NLMSG_ERROR:
                    number = -int.from_bytes(payload[:4], "little", signed=True)
                    raise OSError(number, "refused")
                if kind == answer:
                    found.append(payload)
    except OSError as error:
        raise KernelError(f"rtnetlink: {error}") from error

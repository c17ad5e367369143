"""The names of a DNS query, read slowly and by recursion (RFC 1035 4.1)."""

from __future__ import annotations


class Malformed(Exception):
    """What no query is."""


def _labels(message: bytes, at: int, begun: int) -> tuple[list[bytes], int]:
    """The labels from `at` on, and where the name's own bytes end."""
    if at >= len(message):
        raise Malformed
    length = message[at]
    if length == 0:
        return [], at + 1
    if length < 64:
        label = message[at + 1 : at + 1 + length]
        if len(label) < length or any(not 0x21 <= byte <= 0x7E for byte in label) or b"." in label:
            raise Malformed
        rest, end = _labels(message, at + 1 + length, begun)
        return [label, *rest], end
    if length < 192 or at + 2 > len(message):
        raise Malformed
    target = int.from_bytes(message[at : at + 2], "big") & 0x3FFF
    if not 12 <= target < begun:
        raise Malformed
    return _labels(message, target, target)[0], at + 2


def read(message: bytes) -> tuple[str, tuple[bytes, ...]]:
    """The word and the names."""
    if len(message) < 12:
        return "malformed", ()
    if message[2] & 0x80:
        return "other", ()
    count, at, names = int.from_bytes(message[4:6], "big"), 12, []
    if count == 0:
        return "none", ()
    try:
        if count > 16:
            raise Malformed
        for _ in range(count):
            labels, at = _labels(message, at, at)
            names.append(b".".join(labels))
            at += 4
            if len(names[-1]) > 253 or at > len(message):
                raise Malformed
    except Malformed:
        return "malformed", ()
    return "names", tuple(names)

"""The name of a ClientHello, read slowly: all payloads joined, then one slice after the other (RFC 8446, 6066)."""

from __future__ import annotations


class Malformed(Exception):
    """A length that lies, or what the RFCs forbid."""


def _vector(data: bytes, width: int) -> tuple[bytes, bytes]:
    if len(data) < width:
        raise Malformed
    length = int.from_bytes(data[:width], "big")
    if len(data) < width + length:
        raise Malformed
    return data[width : width + length], data[width + length :]


def _name(content: bytes) -> bytes | None:
    names, rest = _vector(content, 2)
    if rest or not names:
        raise Malformed
    found = None
    while names:
        kind, (name, names) = names[0], _vector(names[1:], 2)
        if not name:
            raise Malformed
        if kind == 0:
            if found is not None or len(name) > 253 or any(not 0x21 <= byte <= 0x7E for byte in name):
                raise Malformed
            found = name
    return found


def _body(body: bytes) -> bytes | None:
    if len(body) < 34:
        raise Malformed
    session, rest = _vector(body[34:], 1)
    suites, rest = _vector(rest, 2)
    compression, rest = _vector(rest, 1)
    if len(session) > 32 or len(suites) < 2 or len(suites) % 2 or not compression:
        raise Malformed
    if not rest:
        return None
    extensions, rest = _vector(rest, 2)
    if rest:
        raise Malformed
    found, seen = None, False
    while extensions:
        kind, (content, extensions) = extensions[:2], _vector(extensions[2:], 2)
        if len(kind) < 2:
            raise Malformed
        if kind == b"\0\0":
            if seen:
                raise Malformed
            found, seen = _name(content), True
    return found


def read(stream: bytes, most: int = 16384) -> tuple[str, bytes | None]:
    """The word and the name."""
    message = b""
    first = True
    while True:
        if (stream[:1] or b"\x16") != b"\x16" or (stream[1:2] or b"\x03") != b"\x03":
            return ("other" if first else "malformed"), None
        if len(stream) < 5:
            return "more", None
        length = int.from_bytes(stream[3:5], "big")
        if not 0 < length <= 16384:
            return "malformed", None
        message += stream[5 : 5 + length]
        if message and message[0] != 1:
            return "other", None
        if len(message) >= 4:
            whole = 4 + int.from_bytes(message[1:4], "big")
            if whole > most:
                return "too_long", None
            if len(message) >= whole:
                try:
                    name = _body(message[4:whole])
                except Malformed:
                    return "malformed", None
                return ("no_name", None) if name is None else ("name", name)
        if len(stream) < 5 + length:
            return "more", None
        stream, first = stream[5 + length :], False

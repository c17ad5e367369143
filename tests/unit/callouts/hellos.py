"""ClientHellos in the form of RFC 8446 and RFC 6066, and records around them."""

from __future__ import annotations

from collections.abc import Iterable


def vector(width: int, content: bytes) -> bytes:
    return len(content).to_bytes(width, "big") + content


def extension(kind: int, content: bytes) -> bytes:
    return kind.to_bytes(2, "big") + vector(2, content)


def server_name(*names: bytes, kind: int = 0) -> bytes:
    return extension(0, vector(2, b"".join(bytes([kind]) + vector(2, name) for name in names)))


GREASE = extension(0x2A2A, b"") + extension(0xBABA, b"\x00")
VERSIONS = extension(43, vector(1, b"\x7a\x7a\x03\x04\x03\x03"))
ECH = extension(0xFE0D, b"\x00\x00\x01\x00\x01\x07" + vector(2, bytes(32)) + vector(2, bytes(144)))


def message(
    extensions: bytes | None = b"", *, session: bytes = bytes(32), suites: bytes = b"\x1a\x1a\x13\x01\x13\x02",
    compression: bytes = b"\x00", kind: int = 1,
) -> bytes:  # fmt: skip
    """The handshake message; without extensions at all where they are None."""
    body = b"\x03\x03" + bytes(range(32)) + vector(1, session) + vector(2, suites) + vector(1, compression)
    if extensions is not None:
        body += vector(2, extensions)
    return bytes([kind]) + vector(3, body)


def records(data: bytes, sizes: Iterable[int] = ()) -> bytes:
    """The message in records of the sizes given, the rest in one."""
    out, at = b"", 0
    for size in sizes:
        if part := data[at : at + size]:
            out += b"\x16\x03\x01" + vector(2, part)
        at += size
    return out + (b"\x16\x03\x01" + vector(2, data[at:]) if at < len(data) else b"")


def hello(name: bytes = b"www.example.org", padding: int = 0) -> bytes:
    """A stream that begins as a browser's."""
    extra = extension(21, bytes(padding)) if padding else b""
    return records(message(GREASE + extra + server_name(name) + VERSIONS))

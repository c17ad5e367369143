"""The hosts that the requests of an HTTP/1 connection name, one request after the other (RFC 9110, RFC 9112).

Fed with what the connection has next, it says how much of that is done with, so that a caller holds back only the head
that is not whole yet.  What RFC 9112 lets two servers read in two ways is malformed here: two Host fields, a length
told twice or beside a transfer coding, a field name with a blank behind it, a lone CR, a fold before the first field.
"""

from __future__ import annotations

import re

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]"
_BEGINNING = re.compile(_TOKEN + rb"{0,32}\Z|" + _TOKEN + rb"{1,32} ")
_REQUEST = re.compile(rb"(" + _TOKEN + rb"{1,32}) ([\x21-\xff]+) HTTP/1\.(\d)")
_FIELD = re.compile(rb"(" + _TOKEN + rb"+):(.*)", re.DOTALL)
_ABSOLUTE = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)")
_AUTHORITY = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+;=-]*)(?::\d*)?")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?", re.DOTALL)
_LENGTH = re.compile(rb"\d{1,18}")
_LINE_END = re.compile(rb"\r?\n")
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_BLANK = b" \t"

Found = tuple[str, tuple[bytes, ...]]
"""A word, `names`, `no_name`, `other` or `malformed`, and the names of one request."""


class Malformed(ValueError):
    """What RFC 9112 forbids, or lets two readers read in two ways."""


class Requests:
    """The client's direction of one connection."""

    __slots__ = ("_expected", "_left", "_may_be_tunnel", "_most", "_n_requests", "opaque")

    def __init__(self, most: int) -> None:
        """`most`: bytes of a request's head, and of a line in a body."""
        self._most = most
        self._expected = Requests._head
        self._left = 0
        """Bytes of a body or chunk that are still to come."""
        self._n_requests = 0
        self._may_be_tunnel = False
        self.opaque = False
        """What comes is no HTTP/1 that can be followed: nothing more will be found."""

    def scan(self, data: bytes) -> tuple[int, list[Found]]:
        """Bytes of `data` that are done with, and what was found; the rest is given again, with more behind it."""
        at, found = 0, list[Found]()
        try:
            while at < len(data) and not self.opaque:
                before = at
                at = self._expected(self, data, at, found)
                if at == before:
                    break
        except Malformed:
            self.opaque = True
            found.append(("malformed", ()))
        return (len(data) if self.opaque else at), found

    # Each of these passes one part and says what comes next; it gives `at` back where the part is not whole.

    def _head(self, data: bytes, at: int, found: list[Found]) -> int:
        if data[at : at + 2] == b"\r\n":  # Before a request an empty line is passed over, RFC 9112 2.2.
            return at + 2
        if data[at : at + 1] == b"\n":
            return at + 1
        if data[at:] == b"\r":
            return at
        line = self._line(data, at) if _BEGINNING.match(data[at : at + 33]) else (b"", at)
        if line is None:
            return at
        request = _REQUEST.fullmatch(line[0])
        if request is None:
            self._no_request(found)
            return at
        end = _HEAD_END.search(data, line[1] - 2)
        if (len(data) - 4 if end is None else end.start()) - at > self._most:
            raise Malformed
        if end is None:
            return at
        names = self._read(request, _LINE_END.split(data[line[1] : end.start()]) if end.start() > line[1] else [])
        found.append(("names", names) if names else ("no_name", ()))
        return end.end()

    def _body(self, data: bytes, at: int, found: list[Found]) -> int:
        passed = min(self._left, len(data) - at)
        self._left -= passed
        if not self._left:
            self._expected = Requests._head
        return at + passed

    def _chunk(self, data: bytes, at: int, found: list[Found]) -> int:
        line = self._line(data, at)
        if line is None:
            return at
        size = _CHUNK.fullmatch(line[0])
        if size is None:
            raise Malformed
        self._left = int(size[1], 16)
        self._expected = Requests._chunk_data if self._left else Requests._trailer
        return line[1]

    def _chunk_data(self, data: bytes, at: int, found: list[Found]) -> int:
        if self._left:
            passed = min(self._left, len(data) - at)
            self._left -= passed
            return at + passed
        line = self._line(data, at)
        if line is None:
            return at
        if line[0]:
            raise Malformed
        self._expected = Requests._chunk
        return line[1]

    def _trailer(self, data: bytes, at: int, found: list[Found]) -> int:
        line = self._line(data, at)
        if line is None:
            return at
        if not line[0]:
            self._expected = Requests._head
        return line[1]

    def _line(self, data: bytes, at: int) -> tuple[bytes, int] | None:
        """The line at `at` and where the next one begins, or None if it is not whole."""
        end = data.find(b"\n", at, at + self._most)
        if end < 0:
            if len(data) - at >= self._most:
                raise Malformed
            return None
        return data[at:end].removesuffix(b"\r"), end + 1

    def _no_request(self, found: list[Found]) -> None:
        """Something else: all of the connection, what a tunnel carries, or a fault."""
        self.opaque = True
        if not self._n_requests:
            found.append(("other", ()))
        elif not self._may_be_tunnel:
            raise Malformed

    def _read(self, request: re.Match[bytes], lines: list[bytes]) -> tuple[bytes, ...]:
        """The names of a whole head; what its body is comes next."""
        self._n_requests += 1
        fields = _fields(lines)
        method, target, minor = request.groups()
        hosts = fields.get(b"host", [])
        if len(hosts) > 1 or (not hosts and minor != b"0"):
            raise Malformed
        self._may_be_tunnel = self._may_be_tunnel or method == b"CONNECT" or b"upgrade" in fields
        self._expect_body(fields, minor)
        named = [_named(method, target), *(_authority(host) for host in hosts)]
        return tuple(dict.fromkeys(name for name in named if name))

    def _expect_body(self, fields: dict[bytes, list[bytes]], minor: bytes) -> None:
        codings, lengths = fields.get(b"transfer-encoding"), fields.get(b"content-length")
        if codings:
            if lengths or minor == b"0" or b",".join(codings).rpartition(b",")[2].strip(_BLANK).lower() != b"chunked":
                raise Malformed
            self._expected = Requests._chunk
        elif lengths:
            if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
                raise Malformed
            self._left = int(lengths[0])
            self._expected = Requests._body if self._left else Requests._head


def _fields(lines: list[bytes]) -> dict[bytes, list[bytes]]:
    """Values by lower-case name; a folded value has one blank for the fold."""
    found: dict[bytes, list[bytes]] = {}
    values: list[bytes] | None = None
    for line in lines:
        if b"\r" in line or b"\0" in line:
            raise Malformed
        if line[:1] in (b" ", b"\t"):
            if values is None:
                raise Malformed
            values[-1] = (values[-1] + b" " + line.strip(_BLANK)).strip(_BLANK)
            continue
        field = _FIELD.fullmatch(line)
        if field is None:
            raise Malformed
        values = found.setdefault(field[1].lower(), [])
        values.append(field[2].strip(_BLANK))
    return found


def _named(method: bytes, target: bytes) -> bytes:
    """The host that a request's target names; empty: none."""
    if method == b"CONNECT":
        return _authority(target)
    if target[:1] == b"/" or target == b"*":
        return b""
    absolute = _ABSOLUTE.match(target)
    if absolute is None:
        raise Malformed
    return _authority(absolute[1].rpartition(b"@")[2])


def _authority(text: bytes) -> bytes:
    """The host of `host[:port]`."""
    found = _AUTHORITY.fullmatch(text)
    if found is None:
        raise Malformed
    return found[1]

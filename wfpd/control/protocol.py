"""The control socket's language: JSON-RPC 2.0, one document a line, `hello` first."""

from __future__ import annotations

import enum
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

VERSION = 1
"""The only version of the protocol; later work adds methods."""
DEFAULT_PATH = "/run/wfpd/control.sock"
"""Where the daemon listens unless its policy names another place."""
MAX_LINE = 65536
"""Bytes of one request, its newline included."""
MAX_ANSWER = 64 * 1024 * 1024
"""Bytes of one answer."""

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
NOT_ALLOWED = -32001
"""The caller's role does not reach."""
HELLO_FIRST = -32002
WRONG_VERSION = -32003
REFUSED = -32010
"""The answer is no: a policy that does not load, nothing to confirm."""


class Role(enum.IntEnum):
    """What a peer may do; each includes those below."""

    NONE = 0
    READ = 1
    OPERATE = 2
    ADMINISTER = 3


class RpcError(Exception):
    """An error of JSON-RPC."""

    def __init__(self, code: int, message: str, data: object = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data


@dataclass(frozen=True, slots=True)
class Request:
    """One call.  Without an id it is a notification: no answer.  `params` is None where they are not by name."""

    method: str
    params: Mapping[str, Any] | None = field(default_factory=dict)
    id: int | str | None = None
    notification: bool = False


def parse_request(line: bytes) -> Request:
    """One line to a request; RpcError, nothing else, whatever the bytes."""
    try:
        document = json.loads(line.decode("utf-8"), parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError):
        raise RpcError(PARSE_ERROR, "not one JSON document a line") from None
    if not isinstance(document, dict) or document.get("jsonrpc") != "2.0":
        raise RpcError(INVALID_REQUEST, "not a JSON-RPC 2.0 request")
    method, params, ident = document.get("method"), document.get("params", {}), document.get("id")
    if not isinstance(method, str):
        raise RpcError(INVALID_REQUEST, "method is not a text")
    if ident is not None and (isinstance(ident, bool) or not isinstance(ident, (int, str))):
        raise RpcError(INVALID_REQUEST, "id is neither a number nor a text")
    return Request(method, params if isinstance(params, dict) else None, ident, "id" not in document)


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(text)
    return number


def _no_constant(word: str) -> object:
    raise ValueError(word)


def encode(document: Mapping[str, object]) -> bytes:
    """One line of pure ASCII."""
    return json.dumps(document, separators=(",", ":")).encode("ascii") + b"\n"


def request_line(method: str, params: Mapping[str, object], ident: int) -> bytes:
    """A call."""
    return encode({"jsonrpc": "2.0", "id": ident, "method": method, "params": params})


def result_line(ident: int | str | None, result: object) -> bytes:
    """An answer."""
    return encode({"jsonrpc": "2.0", "id": ident, "result": result})


def notification_line(method: str, params: Mapping[str, object]) -> bytes:
    """What nobody asked for and nobody answers."""
    return encode({"jsonrpc": "2.0", "method": method, "params": params})


def error_line(ident: int | str | None, error: RpcError) -> bytes:
    """A refusal."""
    body: dict[str, object] = {"code": error.code, "message": error.message}
    if error.data is not None:
        body["data"] = error.data
    return encode({"jsonrpc": "2.0", "id": ident, "error": body})


def event_line(line: bytes) -> bytes:
    """A notification that carries one event line."""
    return b'{"jsonrpc":"2.0","method":"event","params":' + line.rstrip(b"\n") + b"}\n"

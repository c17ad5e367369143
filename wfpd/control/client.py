"""The command line's end of the control socket: blocking, one call after the other."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

from wfpd.control.protocol import VERSION, RpcError, request_line
from wfpd.errors import ControlError

DEFAULT_PATH = "/run/wfpd/control.sock"
MAX_ANSWER = 64 * 1024 * 1024


class Client:
    """A connection that has said hello.  ControlError if the daemon cannot be reached."""

    def __init__(self, path: str = DEFAULT_PATH, timeout: float | None = 120.0) -> None:
        self._ident = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._socket.settimeout(timeout)
        try:
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            hint = "is wfpd running? systemctl status wfpd"
            if isinstance(error, PermissionError):
                hint = "daemon: control: names the groups that may; root always may"
            raise ControlError(f"cannot reach wfpd at {path}: {error.strerror or error}", hint=hint) from error
        self._file = self._socket.makefile("rb")
        try:
            self.hello: dict[str, Any] = self.call("hello", version=VERSION)
        except RpcError as refused:
            self.close()
            raise ControlError(f"wfpd at {path} refuses: {refused.message}") from refused
        except ControlError:
            self.close()
            raise

    def call(self, method: str, **params: object) -> Any:
        """The result; RpcError if the daemon says no."""
        self._ident += 1
        try:
            self._socket.sendall(request_line(method, params, self._ident))
        except OSError as error:
            raise ControlError(f"wfpd closed the connection: {error.strerror or error}") from error
        while True:
            answer = self._read()
            if answer.get("id") == self._ident or (answer.get("id") is None and "error" in answer):
                break
        if "error" in answer:
            refusal = answer["error"]
            raise RpcError(int(refusal.get("code", 0)), str(refusal.get("message", "")), refusal.get("data"))
        return answer.get("result")

    def events(self) -> Iterator[dict[str, Any]]:
        """Subscribe at once; then events until the connection ends."""
        self.call("events.subscribe")
        self._socket.settimeout(None)
        return self._events()

    def _events(self) -> Iterator[dict[str, Any]]:
        while True:
            try:
                message = self._read()
            except ControlError:
                return
            if message.get("method") == "event":
                yield message["params"]

    def _read(self) -> dict[str, Any]:
        try:
            line = self._file.readline(MAX_ANSWER)
        except OSError as error:
            raise ControlError(f"wfpd does not answer: {error}", hint="systemctl status wfpd") from error
        if not line.endswith(b"\n"):
            raise ControlError("wfpd closed the connection")
        try:
            document = json.loads(line)
        except ValueError as error:
            raise ControlError("what answers is not wfpd") from error
        if not isinstance(document, dict):
            raise ControlError("what answers is not wfpd")
        return document

    def close(self) -> None:
        """Close the connection."""
        if hasattr(self, "_file"):
            self._file.close()
        self._socket.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

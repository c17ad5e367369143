"""A scripted daemon: what it answers to each method, and what it was asked."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Answer = dict[str, Any] | bytes | Callable[[dict[str, Any]], "Answer"]
HELLO = {"version": 1, "wfpd": "9.9", "role": "administer"}


def refusal(code: int, message: str = "no", /, **data: object) -> dict[str, Any]:
    """An error as an answer's body."""
    return {"error": {"code": code, "message": message, **({"data": data} if data else {})}}


class Fake:
    """Serves connections, one after the other; each method's answers in order, the last one for ever.

    An answer is a result, a body with "error", raw bytes, or a function from the parameters to one of these.
    """

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.answers: dict[str, list[Answer]] = {"hello": [HELLO]}
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.ended = threading.Event()
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(self.path)
        self._listening.listen()
        self.peer: socket.socket | None = None
        threading.Thread(target=self._serve, daemon=True).start()

    def on(self, method: str, *answers: Answer) -> None:
        """What it answers."""
        self.answers[method] = list(answers)

    def say(self, method: str, **params: object) -> None:
        """Send a notification."""
        assert self.peer is not None
        self.peer.sendall(line_of({"method": method, "params": params}))

    def methods(self) -> list[str]:
        """What it was asked for, without hello."""
        return [method for method, _ in self.asked if method != "hello"]

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self.peer, _ = self._listening.accept()
                with contextlib.suppress(OSError, ValueError):
                    for line in self.peer.makefile("rb"):
                        self.peer.sendall(self._answer(json.loads(line)))
                self.peer.close()
                self.ended.set()

    def _answer(self, request: dict[str, Any]) -> bytes:
        method, params = request["method"], request["params"]
        self.asked.append((method, params))
        answers = self.answers.get(method, [refusal(-32601, f"there is no method '{method}'")])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        while callable(answer):
            answer = answer(params)
        if isinstance(answer, bytes):
            return answer
        return line_of({"id": request["id"], **(answer if "error" in answer else {"result": answer})})

    def close(self) -> None:
        """End."""
        self._listening.close()
        if self.peer is not None:
            with contextlib.suppress(OSError):
                self.peer.shutdown(socket.SHUT_RDWR)


def line_of(document: dict[str, Any]) -> bytes:
    """One line of the protocol."""
    return json.dumps({"jsonrpc": "2.0", **document}).encode() + b"\n"


@contextlib.contextmanager
def faked(path: Path) -> Iterator[Fake]:
    """A running one."""
    fake = Fake(path)
    try:
        yield fake
    finally:
        fake.close()

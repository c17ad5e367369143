"""Clients that mean harm to a control socket, as a program: `python3 -I -c TEXT ATTACK SOCKET SECONDS CALLS`.

It needs nothing but the standard library, so it runs as any user.  Each attack goes on for its time over as many
connections as it gets.  CALLS is a JSON object that says by which calls a server does what is meant: {"burn": [method,
params]}.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

HELLO = b'{"jsonrpc":"2.0","id":1,"method":"hello","params":{"version":1}}\n'
N = 40
"""Connections that most attacks try to have."""
AT_ONCE = 256
"""Filters of one request."""


CALLS: dict[str, tuple[str, dict[str, object]]] = {}


def call(meant: str) -> bytes:
    """One request."""
    method, params = CALLS.get(meant, (meant, {}))
    return json.dumps({"jsonrpc": "2.0", "id": 2, "method": method, "params": params}).encode() + b"\n"


def connected(path: str, hello: bool = True) -> socket.socket | None:
    """A connection that does not block; None if there is none to be had."""
    made = socket.socket(socket.AF_UNIX)
    try:
        made.connect(path)
        if hello:
            made.sendall(HELLO)
        made.setblocking(False)
        return made
    except OSError:
        made.close()
        return None


def attack(path: str, until: float, data: Callable[[], bytes], *, hello: bool = True, read: bool = True) -> None:
    """Keep N connections and send `data` on each as fast as it is taken; come again when thrown out."""
    held: dict[socket.socket, bytes] = {}
    while time.monotonic() < until:
        if len(held) < N and (made := connected(path, hello)) is not None:
            held[made] = b""
        progress = False
        for one in list(held):
            try:
                with contextlib.suppress(BlockingIOError):
                    held[one] = held[one] or data()
                    if held[one]:
                        held[one] = held[one][one.send(held[one]) :]
                        progress = True
                with contextlib.suppress(BlockingIOError):
                    if read and not one.recv(65536):
                        raise ConnectionError
            except OSError:
                one.close()
                del held[one]
        if not progress:
            time.sleep(0.001)


def garbage(path: str, until: float) -> None:
    """Random bytes, lines among them."""
    attack(path, until, lambda: os.urandom(4096), hello=False)


def half_lines(path: str, until: float) -> None:
    """The beginning of a request, never its end."""
    begun = [HELLO + call("status")[:-5]] * N
    attack(path, until, lambda: begun.pop() if begun else b"", hello=False)


def unread_answers(path: str, until: float) -> None:
    """A megabyte is asked for again and again, and nothing is read."""
    attack(path, until, lambda: call("large"), read=False)


def unread_notifications(path: str, until: float) -> None:
    """Events and notifications are asked for, and nothing is read."""
    attack(path, until, lambda: call("events.subscribe") + call("notify"), read=False)


def connections(path: str, until: float) -> None:
    """Five thousand connections at once, kept as long as they are let."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    held = [one for one in (connected(path, hello=False) for _ in range(5000)) if one is not None]
    print(len(held), flush=True)
    while time.monotonic() < until:
        for place, one in enumerate(held):
            with contextlib.suppress(BlockingIOError):
                if not one.recv(10):
                    one.close()
                    held[place] = connected(path, hello=False) or one
        time.sleep(0.01)


def reconnecting(path: str, until: float) -> None:
    """Connect and go, as fast as it can be done."""
    while time.monotonic() < until:
        made = connected(path, hello=False)
        if made is not None:
            made.close()


def huge_request(path: str, until: float) -> None:
    """A request without an end."""
    attack(path, until, lambda: b"x" * 1_000_000)


def slow_loris(path: str, until: float) -> None:
    """A byte at a time, each as soon as it is taken."""
    endless = iter(lambda: b"x", None)
    attack(path, until, lambda: next(endless))


def pipelined(path: str, until: float) -> None:
    """Thousands of requests without waiting for answers, which are read."""
    requests = (call("status") + call("version") + call("nothing")) * 1000
    attack(path, until, lambda: requests)


def subscriptions(path: str, until: float) -> None:
    """Every connection subscribes a thousand times over."""
    requests = call("events.subscribe") * 1000
    attack(path, until, lambda: requests)


def slow_calls(path: str, until: float) -> None:
    """Calls that sleep and calls that use a processor, on every connection."""
    attack(path, until, lambda: call("slow") + call("burn"))


def operating(path: str, until: float) -> None:
    """The same with calls of a higher role, each with a thread of its own."""
    attack(path, until, lambda: call("wait") + call("work"))


def dying(path: str, until: float) -> None:
    """Processes that are killed in the middle of everything."""
    beginnings = [b"", HELLO[:20], HELLO, HELLO + call("slow"), HELLO + call("large") * 50, HELLO + call("wait"),
                  HELLO + call("events.subscribe") + call("notify"), HELLO + call("status")[:-3]]  # fmt: skip
    while time.monotonic() < until:
        for text in beginnings:
            child = os.fork()
            if child:
                time.sleep(0.01)
                os.kill(child, 9)
                os.waitpid(child, 0)
            else:
                held = [connected(path, hello=False) for _ in range(4)]
                for one in held:
                    if one is not None:
                        with contextlib.suppress(OSError):
                            one.send(text)
                time.sleep(10)
                os._exit(0)


class Session:
    """A connection with a dynamic session."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._answers = self._socket.makefile("rb")
        self._socket.sendall(HELLO)
        self._answers.readline()
        self.ask("session.open", dynamic=True)

    def ask(self, method: str, **params: object) -> bool:
        """Call and wait; False if it was refused."""
        line = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        self._socket.sendall(json.dumps(line).encode() + b"\n")
        return "result" in json.loads(self._answers.readline())

    def add(self, first: int) -> bool:
        """Add AT_ONCE filters that no packet of the probe matches; False if there are too many."""
        found = [{"name": f"f{n}", "layer": "ipforward_v4", "action": "block", "when": {"ip_destination_port": n}}
                 for n in range(first, first + AT_ONCE)]  # fmt: skip
        return self.ask("filters.add", policy=json.dumps({"version": 1, "filters": found}))

    def close(self) -> None:
        """The session ends, and all that it has added."""
        self._answers.close()
        self._socket.close()


def huge_transaction(path: str, until: float) -> None:
    """As many filters as one transaction takes, which then come to nothing; again and again."""
    while time.monotonic() < until:
        session, n = Session(path), 0
        session.ask("transaction.begin")
        while time.monotonic() < until and session.add(n):
            n += AT_ONCE
        session.ask("transaction.abort")
        session.close()


def large_commits(path: str, until: float) -> None:
    """Transactions of two thousand filters that are committed, and go again with their session."""
    while time.monotonic() < until:
        session = Session(path)
        session.ask("transaction.begin")
        for n in range(0, 8 * AT_ONCE, AT_ONCE):
            session.add(n)
        session.ask("transaction.commit")
        session.close()


def dead_holders(path: str, until: float) -> None:
    """Processes that are killed while they hold the turn to write and have a thousand filters pending."""
    while time.monotonic() < until:
        told, tell = os.pipe()
        parent, child = os.getpid(), os.fork()
        if not child:
            session = Session(path)
            session.ask("transaction.begin")
            for n in range(0, 4 * AT_ONCE, AT_ONCE):
                session.add(n)
            os.write(tell, b"x")
            while os.getppid() == parent:
                time.sleep(0.05)
            os._exit(0)
        os.close(tell)
        os.read(told, 1)
        os.kill(child, 9)
        os.waitpid(child, 0)
        os.close(told)


ATTACKS = (garbage, half_lines, unread_answers, unread_notifications, connections, reconnecting, huge_request,
           slow_loris, pipelined, subscriptions, slow_calls, operating, dying)  # fmt: skip
OF_ADMINISTRATORS = (huge_transaction, large_commits, dead_holders)
"""Those that need the role administer."""


def start(name: str, path: str, seconds: float, user: int, calls: object = None) -> subprocess.Popen[bytes]:
    """The attack as a process of that user."""
    text = Path(__file__).read_text()
    return subprocess.Popen(["/usr/bin/python3", "-I", "-c", text, name, path, str(seconds), json.dumps(calls or {})],
                            user=user, group=user, extra_groups=[], stdout=subprocess.PIPE)  # fmt: skip


def main() -> None:
    """Run the attack."""
    name, path, seconds, calls = sys.argv[-4:]
    CALLS.update(json.loads(calls))
    {one.__name__: one for one in (*ATTACKS, *OF_ADMINISTRATORS)}[name](path, time.monotonic() + float(seconds))


if __name__ == "__main__":
    main()

"""A callout in the daemon, asked about real packets between network namespaces.

    client ──── router ──── server

The daemon runs in one of them: the server's, or the router's for layers of forwarded packets.  It is a
process of its own, so it imports the callout's class by name, from where the test has it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import wfpd
from wfpd.client import Client
from wfpd.errors import ControlError, UsageError, WfpdError
from wfpd.testing.callouts import Layers, asking_policy, layers_of
from wfpd.testing.network import CLIENT, SERVER, Line, Namespace, serving, wait_until

METRICS = "127.0.0.1:9477"
"""In the daemon's namespace."""
START, STOP = 30.0, 20.0
"""Seconds that the daemon has to enforce and to end."""
HOOKS = {"router": ("forward",), "server": ("input", "output"), "client": ("input", "output")}


class CalloutFailed(AssertionError):
    """A callout of a live test raised something, and no `on_error` was said."""


class LiveCallout:
    """What the fixture `live_callout` is: the namespaces, and the daemon once a callout or a policy was given."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        try:
            self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="wfpd-live-")))
            self.network = self._stack.enter_context(Line())
        except BaseException:
            self._stack.close()
            raise
        self.client: Namespace = self.network.client
        self.router: Namespace = self.network.router
        self.server: Namespace = self.network.server
        self.daemon: subprocess.Popen[Any] | None = None
        self._expects_errors = False

    # --- the daemon

    def __call__(
        self, callout: type, /, *, layer: Layers, when: Mapping[str, Any] | None = None, kind: str | None = None,
        on_error: str | None = None, provider_context: object = None, filters: tuple[Mapping[str, Any], ...] = (),
        options: Mapping[str, Any] | None = None, at: str = "", **more: Any,
    ) -> LiveCallout:  # fmt: skip
        """Run the daemon with a policy as `callout(...)` makes it; `at`: server, router or client."""
        forwards = any(one.startswith("ipforward") for one in layers_of(layer))
        where = at or ("router" if forwards else "server")
        document = asking_policy(
            layer, use=use_of(callout), options={**(options or {}), **more}, when=when, kind=kind, on_error=on_error,
            provider_context=provider_context, filters=filters,
        )  # fmt: skip
        self._expects_errors = on_error is not None
        return self._run(self._folder / "policy.json", document, where, root_of(callout))

    def policy(self, path: str | os.PathLike[str], *, at: str = "", expects_errors: bool = False) -> LiveCallout:
        """Run the daemon with a policy file; its `daemon:` and `attach:` are not taken over, `callout_path` is.

        It is read from a file beside it, so that what it names by relative paths is found.  PolicyError for what does
        not load.
        """
        from wfpd.config import load_policy

        loaded = load_policy(os.fspath(path), trust="warn")
        forwards = any(one.hook == "forward" for one in loaded.attach)
        source = Path(path).resolve()
        beside = source.with_name(f".wfpd-live-{secrets.token_hex(4)}{source.suffix}")
        self._stack.callback(beside.unlink, missing_ok=True)
        self._expects_errors = expects_errors
        document = without(source.read_text(encoding="utf-8"), ("daemon", "attach"))
        settings = {"callout_path": list(loaded.daemon.callout_path)}
        return self._run(beside, document, at or ("router" if forwards else "server"), "", settings)

    def _run(
        self, path: Path, document: Mapping[str, Any] | str, where: str, root: str,
        settings: Mapping[str, Any] | None = None,
    ) -> LiveCallout:  # fmt: skip
        if where not in HOOKS:
            raise UsageError(f"at={where!r}: one of {', '.join(HOOKS)}")
        if self.daemon is not None:
            raise UsageError("the daemon runs already: one callout or policy for each test")
        own = {
            "daemon": {**(settings or {}), "control": {"path": str(self._socket)}, "metrics": METRICS},
            "attach": [{"hook": hook, "queues": f"{n}-{n}"} for n, hook in enumerate(HOOKS[where])],
        }
        if isinstance(document, str):
            path.write_text(document + "".join(f"\n{name}: {json.dumps(value)}" for name, value in own.items()) + "\n")
        else:
            path.write_text(json.dumps({**document, **own}, indent=1))
        path.chmod(0o600)
        with self._log.open("wb") as log:
            self.daemon = self.network.popen(
                getattr(self, where), [sys.executable, "-P", "-m", "wfpd", "run", "--policy", str(path)],
                env=self._environment(root), cwd=self._folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        daemon = self.daemon
        if not wait_until(lambda: daemon.poll() is not None or self._enforces(), START, 0.05):
            raise ControlError(f"wfpd does not enforce after {START:.0f} s\n{self.log}")
        if daemon.poll() is not None:
            raise ControlError(f"wfpd ended with status {daemon.returncode}\n{self.log}")
        return self

    def _environment(self, root: str) -> dict[str, str]:
        """The daemon finds what the test finds, and keeps its files here."""
        places = [root, str(Path(wfpd.__file__).parent.parent), *sys.path]
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(dict.fromkeys(place for place in places if place)),
            "PYTHONUNBUFFERED": "1",
            "STATE_DIRECTORY": str(self._folder / "state"),
            "RUNTIME_DIRECTORY": str(self._folder),
            "XTABLES_LOCKFILE": str(self._folder / "xtables.lock"),
        }

    @property
    def _socket(self) -> Path:
        return self._folder / "control.sock"

    @property
    def _log(self) -> Path:
        return self._folder / "wfpd.log"

    @property
    def log(self) -> str:
        """What the daemon has said."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def ask(self, method: str, **parameters: Any) -> Any:
        """One call of the control protocol; ControlError where nobody answers."""
        with Client(str(self._socket)) as client:
            return client.call(method, **parameters)

    def _enforces(self) -> bool:
        with contextlib.suppress(WfpdError, OSError):
            return bool(self.ask("status")["enforcing"])
        return False

    @property
    def calls(self) -> int:
        """How often callouts were asked."""
        return sum(one["calls"] for one in self._callouts())

    def hits(self, filter_name: str) -> int:
        """How often a filter had a say, over both families."""
        return sum(one["hits"] for one in self.ask("filters.list")["objects"] if one["name"] == filter_name)

    @property
    def errors(self) -> int:
        """How often callouts failed."""
        return sum(one["errors"] for one in self._callouts())

    def _callouts(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("callouts.list")["objects"]
        return found

    # --- traffic

    def udp(
        self, data: bytes, port: int, *, family: int = 4, timeout: float = 1.0, reverse: bool = False
    ) -> bytes | None:
        """The client sends a datagram to a server that sends it back; None: nothing came in time.

        `reverse`: the client's end serves.
        """
        near, far, address = self._ends(family, reverse)
        kind = _kind(family)
        with far.socket(kind) as server, near.socket(kind) as sock, serving(server, port, _echo_datagrams):
            sock.settimeout(timeout)
            sock.connect((address, port))
            sock.send(data)
            with contextlib.suppress(TimeoutError, ConnectionRefusedError):
                return sock.recv(65535)
        return None

    def tcp(self, data: bytes, port: int, *, family: int = 4, timeout: float = 3.0, reverse: bool = False) -> bytes:
        """The client connects to a server that sends back what comes, sends and shuts down; what has come back.

        ConnectionRefusedError, ConnectionResetError or TimeoutError as a program would get them.
        """
        near, far, address = self._ends(family, reverse)
        found = b""
        with self.network.tcp_echo(far, port, family):
            sock = near.socket(_kind(family), socket.SOCK_STREAM)
            with sock:
                sock.settimeout(timeout)
                sock.connect((address, port))
                sock.sendall(data)
                while len(found) < len(data) and (part := sock.recv(65536)):
                    found += part
        return found

    def _ends(self, family: int, reverse: bool) -> tuple[Namespace, Namespace, str]:
        if reverse:
            return self.server, self.client, CLIENT[family]
        return self.client, self.server, SERVER[family]

    # --- the end

    def check(self) -> None:
        """Ends the daemon.  AssertionError where a callout has failed and no `on_error` was said, or it ended badly."""
        if self.daemon is None:
            return
        failed = 0 if self.daemon.poll() is not None else self.errors
        self.daemon.terminate()
        try:
            status = self.daemon.wait(STOP)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"wfpd did not end within {STOP:.0f} s\n{self.log}") from None
        if status:
            raise AssertionError(f"wfpd ended with status {status}\n{self.log}")
        if failed and not self._expects_errors:
            raise CalloutFailed(f"callouts have failed {failed} times\n{self.log}")

    def close(self) -> None:
        """Everything goes: the daemon, the namespaces, the files."""
        self._stack.close()


def without(text: str, names: Sequence[str]) -> Mapping[str, Any] | str:
    """A policy's text without some keys at its top, all else as it stands; of one in JSON, its document."""
    import yaml

    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(root, yaml.MappingNode) or root.flow_style:
        try:
            return {name: value for name, value in json.loads(text).items() if name not in names}
        except ValueError:
            raise UsageError("a policy that is one flow mapping, and no JSON, is not taken apart") from None
    starts = [key.start_mark.index for key, _ in root.value] + [len(text)]
    parts = [text[: starts[0]]]
    for (key, _), start, end in zip(root.value, starts, starts[1:], strict=False):
        if key.value not in names:
            parts.append(text[start:end])
    return "".join(parts)


def use_of(callout: type) -> str:
    """`module:Class`; UsageError for what another process cannot import."""
    if not isinstance(callout, type):
        raise UsageError("live_callout takes a class: the daemon makes the object")
    if "." in callout.__qualname__:
        raise UsageError(f"{callout.__qualname__} is not at the top of a module: the daemon imports it by its name")
    return f"{callout.__module__}:{callout.__qualname__}"


def root_of(callout: type) -> str:
    """The directory from which its module is imported, or nothing."""
    module = sys.modules.get(callout.__module__)
    file = getattr(module, "__file__", None)
    if file is None:
        return ""
    depth = callout.__module__.count(".") + (1 if re.match(r"__init__\.", os.path.basename(file)) else 0)
    return str(Path(file).resolve().parents[depth])


def _kind(family: int) -> socket.AddressFamily:
    return socket.AF_INET6 if family == 6 else socket.AF_INET


def _echo_datagrams(sock: socket.socket, stop: threading.Event) -> None:
    sock.settimeout(0.05)
    while not stop.is_set():
        with contextlib.suppress(TimeoutError, ConnectionRefusedError):
            data, sender = sock.recvfrom(65535)
            sock.sendto(data, sender)

"""The real daemon as a process in the router's namespace, and a sender that counts."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.control_schema import check_result
from tests.integration.netns import SERVER4, Network, family_of, wait_until
from wfpd.client import Client

FORWARD = "  - {hook: forward, queues: 0-0}"

QUEUE_SOCKETS = """
import os, socket

def queue_sockets():
    for name in os.listdir("/proc/self/fd"):
        try:
            sock = socket.socket(fileno=os.dup(int(name)))
        except OSError:
            continue
        with sock:
            if sock.family == socket.AF_NETLINK and sock.proto == 12:
                yield int(name), sock
"""
"""For callouts that break things: descriptor and socket of each queue of their own process."""


class Wfpd:
    """`wfpd run` with every path under one directory."""

    def __init__(self, net: Network, folder: Path) -> None:
        self.net = net
        self.folder = folder
        self.policy = folder / "policy.yaml"
        self.socket = folder / "control.sock"
        self.log = folder / "wfpd.log"
        self.eve = folder / "eve.json"
        self.process: subprocess.Popen[Any] | None = None

    def write(
        self, filters: str, *, faults: str = "", attach: str = FORWARD, head: str = "", daemon: str = ""
    ) -> None:  # fmt: skip
        """The policy file: `filters` are list items, `faults` a flow mapping's inside, `daemon` one more line there."""
        self.policy.write_text(
            f"version: 1\ndaemon:\n  metrics: 127.0.0.1:9477\n  control: {{path: {self.socket}}}\n"
            f"  events: [{{file: {self.eve}}}]\n  {daemon}\nfaults: {{{faults}}}\nattach:\n{attach}\n{head}\n"
            f"filters:\n{filters}\n"
        )
        self.policy.chmod(0o600)

    def spawn(self, *options: str) -> None:
        """Start the process and return at once."""
        environment = os.environ | {"STATE_DIRECTORY": str(self.folder / "state"), "PYTHONUNBUFFERED": "1"}
        with self.log.open("ab") as log:
            self.process = self.net.popen(
                self.net.router, [sys.executable, "-m", "wfpd", "run", "--policy", str(self.policy), *options],
                env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            )  # fmt: skip

    def start(self, *options: str, enforcing: bool = True) -> None:
        """Start and wait until it enforces."""
        self.spawn(*options)
        ready = wait_until(lambda: self._is(enforcing) or self.process.poll() is not None, 20.0, 0.05)
        assert ready and self.process is not None and self.process.poll() is None, self.log.read_text()

    def _is(self, enforcing: bool) -> bool:
        with contextlib.suppress(Exception):
            status = self.status()
            started = not {"wfpd is starting", "no policy is loaded"} & set(status["why_not"])
            return started and bool(status["enforcing"]) is enforcing
        return False

    def call(self, method: str, **parameters: Any) -> Any:
        """One call on the control socket; its answer is held against the schema."""
        with Client(str(self.socket)) as client:
            result = client.call(method, **parameters)
        check_result(method, result)
        return result

    def status(self) -> dict[str, Any]:
        """`wfpd status --json`."""
        found: dict[str, Any] = self.call("status")
        return found

    def metric(self, name: str, **labels: str) -> float:
        """Sum of a metric's samples that have `labels`."""
        text = self.net.router.call(self._scrape)
        total = 0.0
        for line in text.splitlines():
            found = re.fullmatch(rf"{name}(?:\{{(.*)\}})? (\S+)", line)
            if found and all(f'{key}="{value}"' in (found[1] or "") for key, value in labels.items()):
                total += float(found[2])
        return total

    @staticmethod
    def _scrape() -> str:
        with urllib.request.urlopen("http://127.0.0.1:9477/metrics", timeout=5) as answer:
            return str(answer.read().decode())

    def end(self, number: signal.Signals = signal.SIGTERM, timeout: float = 20.0) -> int:
        """Send a signal and wait for the end; the exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(timeout)

    def queue_rule_packets(self) -> int:
        """Packets that met our NFQUEUE rules, as the kernel counts them."""
        saved = self.net.run(self.net.router, ["iptables-nft-save", "-c", "-t", "mangle"]).stdout
        return sum(int(n) for n in re.findall(r"^\[(\d+):\d+\] .*-j NFQUEUE", saved, re.MULTILINE))


class Sender:
    """Sends numbered datagrams from the client at a steady pace until stopped."""

    def __init__(self, net: Network, port: int, pause: float) -> None:
        self.sent = 0
        self._pause = pause
        self._stop = threading.Event()
        self._sock = net.client.socket(family_of(SERVER4))
        self._sock.connect((SERVER4, port))
        self._thread = threading.Thread(target=self._work, daemon=True)

    def _work(self) -> None:
        while not self._stop.is_set() and self.sent < 1_000_000:
            with contextlib.suppress(OSError):
                self._sock.send(self.sent.to_bytes(4, "big"))
                self.sent += 1
            time.sleep(self._pause)

    def stop(self) -> int:
        """End; how many were sent."""
        self._stop.set()
        self._thread.join()
        self._sock.close()
        return self.sent

    def start(self) -> None:
        """Begin."""
        self._thread.start()


@contextlib.contextmanager
def sending(net: Network, port: int = 5000, pause: float = 0.002) -> Iterator[Sender]:
    """A running sender."""
    sender = Sender(net, port, pause)
    sender.start()
    try:
        yield sender
    finally:
        sender.stop()

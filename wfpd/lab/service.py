"""The real daemon in the router's namespace, and the questions asked of it through its own commands."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from wfpd.lab.errors import LabError
from wfpd.lab.interrupts import held
from wfpd.lab.network import COMMAND_TIMEOUT, Network, last_line, run

METRICS = "127.0.0.1:9477"
START_TIMEOUT = 20.0
"""Seconds until the daemon must be enforcing."""

Event = dict[str, Any]


class Service:
    """`python -m wfpd run`, with every path of its own under one temporary directory."""

    def __init__(self, network: Network, directory: Path, policy: str) -> None:
        self.network = network
        self.directory = directory
        self.policy = directory / "policy.yaml"
        self.socket = directory / "run" / "control.sock"
        self.log = directory / "daemon.log"
        self.events: queue.Queue[Event] = queue.Queue()
        self.last_drop: Event | None = None
        self._processes: list[subprocess.Popen[str]] = []
        for name in ("run", "state"):
            (directory / name).mkdir(mode=0o700)
        self.write(policy)

    def write(self, policy: str) -> None:
        """Replace the policy file; the lab's own `daemon:` keys come first."""
        daemon = {"control": {"path": str(self.socket)}, "metrics": METRICS}
        self.policy.write_text(f"daemon: {json.dumps(daemon)}\n{policy}", encoding="utf-8")
        self.policy.chmod(0o600)

    def start(self) -> Event:
        """Start the daemon and wait until it enforces; its status."""
        with self.log.open("wb") as log:
            daemon = self._spawn(["run", "--policy", str(self.policy)], stderr=log, stdout=log)
        end = time.monotonic() + START_TIMEOUT
        while time.monotonic() < end:
            if daemon.poll() is not None:
                raise LabError(self._why_ended(daemon.returncode))
            status = self.status()
            if status.get("enforcing"):
                self._follow()
                return status
            time.sleep(0.05)
        raise LabError(f"wfpd was not enforcing after {START_TIMEOUT:.0f} s: {last_line(self.log.read_text())}")

    def _why_ended(self, status: int) -> str:
        text = self.log.read_text(errors="replace")
        if "queue" in text and any(word in text for word in ("taken", "already", "in use", "busy")):
            return f"queue 0 is taken in {self.network.name('router')}: {last_line(text)}"
        return f"wfpd ended with status {status}: {last_line(text)}"

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "RUNTIME_DIRECTORY": str(self.directory / "run"),
            "STATE_DIRECTORY": str(self.directory / "state"),
            "XTABLES_LOCKFILE": str(self.directory / "run" / "xtables.lock"),
        }

    def _command(self, *arguments: str) -> list[str]:
        return self.network.inside("router", sys.executable, "-m", "wfpd", *arguments)

    def _spawn(self, arguments: list[str], **streams: Any) -> subprocess.Popen[str]:
        command, environment = self._command(*arguments), self._environment()
        with held():
            self._processes.append(
                subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, text=True, **streams)
            )
        return self._processes[-1]

    def ask(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one wfpd command against the daemon's socket."""
        return subprocess.run(
            self._command(*arguments, "--socket", str(self.socket)),
            env=self._environment(), capture_output=True, text=True, timeout=COMMAND_TIMEOUT, check=False,
        )  # fmt: skip

    def status(self) -> Event:
        """`wfpd status --json`; empty while nobody answers."""
        with contextlib.suppress(json.JSONDecodeError):
            answer = json.loads(self.ask("status", "--json").stdout)
            return answer if isinstance(answer, dict) else {}
        return {}

    def reload(self) -> tuple[bool, str]:
        """`wfpd reload`: whether the policy was taken, and what the command said."""
        done = self.ask("reload")
        return done.returncode == 0, (done.stdout + done.stderr).strip()

    def metrics(self) -> str:
        """The exposition text, fetched inside the router's namespace."""
        return run(self.network.inside("router", "curl", "-s", "--max-time", "5", f"http://{METRICS}/metrics")).stdout

    def _follow(self) -> None:
        """Read `wfpd events` for ever, in a thread."""
        follower = self._spawn(
            ["events", "--json", "--socket", str(self.socket)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        threading.Thread(target=self._read, args=(follower,), daemon=True).start()

    def _read(self, follower: subprocess.Popen[str]) -> None:
        for line in follower.stdout or ():
            with contextlib.suppress(json.JSONDecodeError):
                event = json.loads(line)
                if event.get("event_type") == "drop":
                    self.last_drop = event
                self.events.put(event)

    def forget_events(self) -> None:
        """Drop the events that no question was asked about."""
        with contextlib.suppress(queue.Empty):
            while True:
                self.events.get_nowait()

    def decided(self, protocol: str, port: int | None, seconds: float = 3.0) -> Event | None:
        """The next event about a packet of this protocol to this port; None when none came in time."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            try:
                event = self.events.get(timeout=left)
            except queue.Empty:
                return None
            if event.get("proto") == protocol and (port is None or event.get("dest_port") == port):
                return event
        return None

    def stop(self) -> None:
        """End what was started, the daemon first so that it can take its rules away."""
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()

"""The running daemon with a large policy: memory after start and after reloads, how long a reload takes, and
the longest gap in a stream of packets meanwhile.

    python -m bench.daemon_memory [--filters 100000] [--reloads 3] [--json]      (root)

A network namespace of its own; datagrams over its loopback, one a millisecond, through the input hook.  The gap is
what a receiver sees, so it holds the scheduler's and the sender's delays too: the gap without a reload
stands beside it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from bench.report import Table, main, settings
from bench.surroundings import space
from bench.texts import policy_yaml
from bench.workloads import PROTOCOLS, rules
from wfpd.client import Client
from wfpd.netfilter import namespace

ROOT = Path(__file__).parents[1]
PORT = 40000
PATIENCE = 300.0
"""Seconds until the daemon enforces or a reload answers."""
PACE = 0.001


def _policy(filters: int, control: Path) -> str:
    text = policy_yaml([rule for rule in rules("access", filters * 5 // 4) if rule[4] != PROTOCOLS][:filters])
    for old, new in (
        ("ipforward", "inbound_transport"),
        ("ip_source_", "ip_remote_"),
        ("ip_destination_", "ip_local_"),
    ):
        text = text.replace(old, new)
    head = f'version: 1\ndaemon: {{control: {{path: {control}}}, metrics: "127.0.0.1:0"}}\nattach: [{{hook: input}}]\n'
    return text.replace("version: 1\n", head, 1)


class _Stream:
    """One datagram a millisecond; the longest time between two arrivals."""

    def __init__(self, inside: Path) -> None:
        self.receiver, self.sender = (
            namespace.call_in(inside, socket.socket, socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)
        )
        self.receiver.bind(("127.0.0.1", PORT))
        self.receiver.settimeout(0.2)
        self.going = True
        self.longest = 0.0
        self.count = 0
        self.threads = [threading.Thread(target=work) for work in (self._send, self._receive)]
        for thread in self.threads:
            thread.start()

    def _send(self) -> None:
        while self.going:
            self.sender.sendto(b"x", ("127.0.0.1", PORT))
            time.sleep(PACE)

    def _receive(self) -> None:
        last = 0.0
        while self.going:
            with contextlib.suppress(TimeoutError):
                self.receiver.recv(16)
                now = time.perf_counter()
                self.longest = max(self.longest, now - last if last else 0.0)
                last = now
                self.count += 1

    def since(self) -> float:
        """Seconds of the longest gap since the last call."""
        found, self.longest = self.longest, 0.0
        return found

    def stop(self) -> None:
        self.going = False
        for thread in self.threads:
            thread.join()
        self.receiver.close()
        self.sender.close()


def _call(control: Path, method: str) -> dict[str, object]:
    with Client(str(control), timeout=PATIENCE) as client:
        found: dict[str, object] = client.call(method)
        return found


def _enforcing(control: Path) -> bool:
    with contextlib.suppress(Exception):
        return bool(_call(control, "status")["enforcing"])
    return False


def _resident(pid: int, name: str = "VmRSS") -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024


def _wait(process: subprocess.Popen[bytes], control: Path) -> None:
    end = time.monotonic() + PATIENCE
    while not _enforcing(control):
        if process.poll() is not None or time.monotonic() > end:
            raise RuntimeError("the daemon does not enforce")
        time.sleep(0.1)


def bench(given: argparse.Namespace) -> list[Table]:
    """One table."""
    assert __doc__ is not None
    table = Table(f"The daemon with {given.filters:,} filters", __doc__.rpartition("\n\n")[2].strip(),
                  ["", "seconds", "resident MiB", "at most MiB", "longest gap, ms"])  # fmt: skip
    with space() as inside, tempfile.TemporaryDirectory(prefix="wfpd-bench-") as name:
        folder = Path(name)
        control, policy = folder / "control.sock", folder / "p.yaml"
        policy.write_text(_policy(given.filters, control))
        policy.chmod(0o600)
        command = [sys.executable, "-m", "wfpd", "run", "--policy", str(policy)]
        began = time.perf_counter()
        process = namespace.call_in(inside, subprocess.Popen, command, cwd=ROOT, stderr=subprocess.DEVNULL,
                                    env={**os.environ, "STATE_DIRECTORY": str(folder / "state")})  # fmt: skip
        try:
            _wait(process, control)
            _measure(table, given.reloads, process.pid, control, inside, time.perf_counter() - began)
        finally:
            process.terminate()
            process.wait(60)
    return [table]


def _measure(table: Table, reloads: int, pid: int, control: Path, inside: Path, started: float) -> None:
    def row(name: str, seconds: float, gap: float) -> None:
        table.add(name, seconds, _resident(pid), _resident(pid, "VmHWM"), 1000 * gap)

    stream = _Stream(inside)
    try:
        time.sleep(1)
        stream.since()
        time.sleep(2)
        row("started (gap: no reload)", started, stream.since())
        for number in range(reloads):
            began = time.perf_counter()
            _call(control, "reload")
            row(f"reload {number + 1}", time.perf_counter() - began, stream.since())
        assert stream.count, "no packet came through"
    finally:
        stream.stop()


def arguments() -> argparse.ArgumentParser:
    """Its options."""
    return settings("daemon_memory", __doc__, filters=100_000, reloads=3)


if __name__ == "__main__":
    sys.exit(main(arguments(), bench))

"""How long a packet takes through the running daemon while another user's clients attack its control socket, and how
long a good client waits for an answer.

    python -m bench.bench_control [--seconds 2] [--rounds 3] [--attacks pipelined,garbage] [--json]      (root)

A network namespace of its own; datagrams over its loopback, one after the other, through the input hook.  Three
situations take turns: nobody attacks; the attack is on the daemon that the packets go through; the same attack is on
another daemon, which takes the same of the machine.  Only the last one tells what is the daemon's doing: the attackers'
own system calls, which nothing interrupts, are on the same processors, and a process that does nothing but such calls
makes the same of it.  The probe is a real-time thread, as the packet's worker is: what it measures is the daemon, and
not when a busy machine lets the probe itself run.  The attackers get the time that nobody else wants (SCHED_IDLE).
"""

from __future__ import annotations

import argparse
import contextlib
import grp
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench import hostile_clients
from bench.report import Table, main, settings
from bench.surroundings import space
from wfpd.client import Client, ControlError
from wfpd.netfilter import namespace

ROOT = Path(__file__).parents[1]
NOBODY = 65534
PORT = 40000
BAR = 1.2
"""The 99th percentile, at most, against that while nobody attacks."""
PAUSE = 0.0005
CALLS_TIMED = 50
ANSWERED = 100.0
"""Milliseconds in which a good client is answered."""
_PACKET = {"hook": "input", "protocol": "udp", "source": "192.0.2.1:1", "destination": f"192.0.2.2:{PORT}"}
CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "large": ("schema", {}), "slow": ("explain", _PACKET), "burn": ("explain", _PACKET), "work": ("explain", _PACKET),
    "wait": ("status", {}), "notify": ("events.last", {}),
}  # fmt: skip
"""By which of the daemon's calls an attack does what it means."""
OF_ADMINISTRATORS = [one.__name__ for one in hostile_clients.OF_ADMINISTRATORS]
SITUATIONS = ("nobody", "this daemon", "another daemon")


@contextlib.contextmanager
def daemon(inside: Path, folder: Path) -> Iterator[str]:
    """The daemon in the namespace; the path of its control socket, which nobody's group may read from."""
    control, policy = folder / "control.sock", folder / "policy.yaml"
    policy.write_text(
        f'version: 1\ndaemon: {{control: {{path: {control}, read: [{grp.getgrgid(NOBODY).gr_name}]}}, '
        f'metrics: "127.0.0.1:0"}}\nattach: [{{hook: input}}]\nfilters:\n'
        f"  - {{name: sent, layer: inbound_transport_v4, action: permit, when: {{ip_local_port: {PORT}}}}}\n"
    )  # fmt: skip
    policy.chmod(0o600)
    environment = os.environ | {"STATE_DIRECTORY": str(folder / "state"), "PYTHONPATH": str(ROOT)}
    with (folder / "log").open("wb") as log:
        process = namespace.call_in(inside, lambda: subprocess.Popen(
            [sys.executable, "-m", "wfpd", "run", "--policy", str(policy)], env=environment, stdout=log,
            stderr=log))  # fmt: skip
    try:
        until = time.monotonic() + 30
        while not _enforces(str(control)):
            assert time.monotonic() < until and process.poll() is None, (folder / "log").read_text()
            time.sleep(0.05)
        yield str(control)
    finally:
        process.terminate()
        process.wait(60)


def _enforces(control: str) -> bool:
    with contextlib.suppress(ControlError), Client(control, timeout=10) as client:
        return client.status()["enforcing"]
    return False


@contextlib.contextmanager
def in_real_time() -> Iterator[None]:
    """The calling thread runs as soon as it can."""
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def trips(inside: Path, seconds: float) -> list[float]:
    """Milliseconds of each datagram, from its sending to its arrival."""
    found = []
    with contextlib.ExitStack() as stack:
        stack.enter_context(in_real_time())
        receiver, sender = (
            stack.enter_context(namespace.call_in(inside, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)))
            for _ in range(2)
        )
        receiver.bind(("127.0.0.1", PORT))
        receiver.settimeout(10)
        sender.connect(("127.0.0.1", PORT))
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            began = time.perf_counter()
            sender.send(b"x")
            receiver.recv(16)
            found.append((time.perf_counter() - began) * 1000)
            time.sleep(PAUSE)
    return found


def attacker(attack: str, path: str, seconds: float) -> subprocess.Popen[bytes]:
    """The attack, as a user who may do what it needs."""
    user = 0 if attack in OF_ADMINISTRATORS else NOBODY
    return hostile_clients.start(attack, path, seconds, user, CALLS)


def measure(attack: str, rounds: int, seconds: float, take: Callable[[], list[float]], paths: list[str]) -> list[float]:
    """The 99th percentiles of the three situations."""
    found: list[list[float]] = [[], [], []]
    for _ in range(rounds):
        for place, path in enumerate(["", *paths]):
            process = attacker(attack, path, seconds + 60) if path else None
            try:
                if process is not None:
                    os.sched_setscheduler(process.pid, os.SCHED_IDLE, os.sched_param(0))
                time.sleep(0.2)
                found[place] += take()
            finally:
                if process is not None:
                    process.kill()
                    process.wait()
    return [sorted(times)[len(times) * 99 // 100] for times in found]


def waits(attack: str, control: str) -> list[float]:
    """Milliseconds of an administrator's calls, connecting and hello included, the quickest first."""
    process, found = attacker(attack, control, 60), []
    try:
        time.sleep(0.5)
        for _ in range(CALLS_TIMED):
            began = time.perf_counter()
            with Client(control, timeout=10) as client:
                client.version()
            found.append((time.perf_counter() - began) * 1000)
    finally:
        process.kill()
        process.wait()
    return sorted(found)


def bench(given: argparse.Namespace) -> list[Table]:
    """Two tables."""
    assert __doc__ is not None
    columns = ["attack", *(f"{name}, ms" for name in SITUATIONS), "to nobody", "to another", f"≤ {BAR}"]
    table = Table("99% of packets, while the control socket of … is attacked", __doc__.rpartition("\n\n")[2].strip(),
                  columns)  # fmt: skip
    answers = Table("A good client's calls meanwhile", f"{CALLS_TIMED} calls of an administrator one after the other, "
                    "each with a connection of its own; the attackers run as all else does.",
                    ["attack", "median, ms", "slowest, ms", f"< {ANSWERED:.0f} ms"])  # fmt: skip
    folder = Path(f"/run/wfpd-bench-{secrets.token_hex(4)}")
    folder.mkdir(mode=0o755)
    try:
        folders = [folder / name for name in ("this", "another")]
        for one in folders:
            one.mkdir(mode=0o755)
        with (
            space() as inside,
            space() as beside,
            daemon(inside, folders[0]) as control,
            daemon(beside, folders[1]) as other,
        ):
            trips(inside, 0.2)
            for attack in given.attacks.split(","):
                results = measure(attack, given.rounds, given.seconds, lambda: trips(inside, given.seconds),
                                  [control, other])  # fmt: skip
                ratio = results[1] / results[0]
                table.add(attack, *results, ratio, results[1] / results[2], "yes" if ratio <= BAR else "no")
                took = waits(attack, control)
                answers.add(attack, took[len(took) // 2], took[-1], "yes" if took[-1] < ANSWERED else "no")
    finally:
        shutil.rmtree(folder)
    return [table, answers]


def arguments() -> argparse.ArgumentParser:
    """Its options."""
    parser = settings("bench_control", __doc__, rounds=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each situation in each round")
    names = ",".join([*(one.__name__ for one in hostile_clients.ATTACKS), *OF_ADMINISTRATORS])
    parser.add_argument("--attacks", default=names, help=f"which of {names}")
    return parser


if __name__ == "__main__":
    sys.exit(main(arguments(), bench))

"""What a bench runs in: a namespace of its own, the interpreter set as the daemon sets it."""

from __future__ import annotations

import contextlib
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from wfpd.daemon.life import SWITCH_INTERVAL
from wfpd.netfilter import namespace


@contextlib.contextmanager
def space() -> Iterator[Path]:
    """A namespace with a loopback."""
    name = f"wfpd-bench-{secrets.token_hex(4)}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        yield namespace.path_of(name)
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=False)


@contextlib.contextmanager
def switching_as_the_daemon() -> Iterator[None]:
    """Threads wait for the interpreter's lock no longer than they do there."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)

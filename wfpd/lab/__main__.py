"""`python -m wfpd.lab [--json]`: the lab after the build.

Exit: 0 done, 1 packets lost, 3 cannot run, 130 interrupted.
"""

from __future__ import annotations

import signal

signal.signal(signal.SIGINT, signal.SIG_DFL)  # While modules load there is nothing to take away and nothing to say.

import contextlib
import fcntl
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wfpd.lab import interrupts
from wfpd.lab.errors import LabError
from wfpd.lab.keys import converse
from wfpd.lab.network import Network
from wfpd.lab.service import Service
from wfpd.lab.story import Story, keep_quiet, shipped_policy

LOCK = Path("/run/wfpd-lab.lock")
INTERRUPTED = 130


def say(text: str) -> None:
    """Print at once: the reader follows along."""
    print(text, flush=True)


def tell(act: dict[str, Any]) -> None:
    """One act as a line of JSON."""
    print(json.dumps(act, separators=(",", ":")), flush=True)


def require_root() -> None:
    """Namespaces and queues belong to root."""
    if os.geteuid() != 0:
        raise LabError("the lab needs root: it makes network namespaces and binds a queue", hint="sudo make run")


@contextlib.contextmanager
def only_lab() -> Iterator[None]:
    """Hold the lock that a second lab finds taken.  The kernel lets go of it with the process."""
    with LOCK.open("a+", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            raise LabError(f"another lab is running (process {holder})", hint="quit it first") from error
        lock.seek(0)
        lock.truncate()
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def play(as_json: bool) -> int:
    """Make the network, tell the story, take everything away.  JSON is for programs, which press no keys."""
    require_root()
    with only_lab(), tempfile.TemporaryDirectory(prefix="wfpd-lab-") as directory, Network() as network:
        network.require_nfqueue()
        service = Service(network, Path(directory), shipped_policy())
        story = Story(network, service, keep_quiet, tell) if as_json else Story(network, service, say)
        try:
            if not as_json and sys.stdin.isatty() and sys.stdout.isatty():
                story.open()
                story.probe()
                story.show_metrics()
                converse(story)
                lost = 0
            else:
                lost = story.play()
        finally:
            story.close()
    if not as_json:
        say("\nThe lab is gone: daemon, namespaces and files were removed.")
    return 1 if lost else 0


def main(arguments: list[str]) -> int:
    """The exit status; every failure is one message, never a traceback."""
    interrupts.catch()
    try:
        return play("--json" in arguments)
    except LabError as error:
        print(f"lab: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"  hint: {error.hint}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("\nlab: interrupted; everything it made was removed", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

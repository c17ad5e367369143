"""What every command prints with, and the exit statuses.

0 done, 1 the answer is no, 2 usage, 3 could not reach, open or not allowed, 70 a fault of ours.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys

from wfpd.errors import ControlError

DONE, NO, USAGE, UNREACHABLE, FAULT = 0, 1, 2, 3, 70
DEFAULT_POLICY = "/etc/wfpd/policy.yaml"


def complain(text: str) -> None:
    """One line on standard error, if anybody reads it."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def print_json(document: object) -> None:
    """One document on one line."""
    print(json.dumps(document, default=str))


def must_open(path: str) -> None:
    """What cannot be opened is status 3, not a bad policy or capture."""
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise ControlError(f"cannot open {path}: {error.strerror}") from error


def colored() -> bool:
    """Whether standard output shows colours."""
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ

"""A skip proves its reason; where CI says that a test must run, the reason is a failure."""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from wfpd.testing.network import why_no_namespaces


def must_run() -> bool:
    """Whether no test may be skipped."""
    return os.environ.get("CI", "").lower() in ("1", "true")


def skip(reason: str) -> NoReturn:
    """Skip the test with this reason, or fail with it where CI=true."""
    if must_run():
        pytest.fail(f"{reason}; and CI says that this test must run", pytrace=False)
    pytest.skip(reason)


OTHER_USER = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
"""Runs a program as nobody; for root only."""


@functools.cache
def why_no_other_user() -> str:
    """Why another user cannot run this checkout (root's home is closed to others); empty if one can."""
    command = [*OTHER_USER, sys.executable, "-c", "import wfpd.model"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = done.stderr.strip().splitlines()
    return f"the checkout cannot be read by another user: {said[-1] if said else ''}" if done.returncode else ""


def _is_open(directory: str) -> bool:
    path = Path(directory).resolve()
    return all(one.is_dir() and one.stat().st_mode & 0o001 for one in (path, *path.parents))


@contextlib.contextmanager
def open_directory() -> Iterator[Path]:
    """A directory that other users may enter; pytest's own are closed to them, whenever some pytest starts, and so
    may be the one that TMPDIR names."""
    place = next((one for one in (tempfile.gettempdir(), "/tmp", "/var/tmp") if _is_open(one)), None)
    with tempfile.TemporaryDirectory(prefix="wfpd-test-", dir=place) as name:
        os.chmod(name, 0o755)
        yield Path(name)


def need_other_user() -> None:
    """Skip unless another user can run what is tested."""
    if reason := why_no_other_user():
        skip(reason)


def need_root() -> None:
    """Skip unless network namespaces can be made."""
    if reason := why_no_namespaces():
        skip(reason)

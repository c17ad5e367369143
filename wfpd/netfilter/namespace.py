"""Another network namespace, entered for one call by a thread of its own.

A thread that has called setns() is never handed back: it ends with the call, so no other code
ever runs in a namespace it did not ask for.  Sockets opened and processes started by the call
belong to that namespace for their whole life.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from wfpd.errors import KernelError

CLONE_NEWNET = 0x40000000
"""sched.h; the only kind of namespace entered here."""

RUN_NETNS = Path("/run/netns")
"""Where iproute2 keeps named namespaces."""

_P = ParamSpec("_P")
_R = TypeVar("_R")


def path_of(name: str) -> Path:
    """The handle of a namespace made by `ip netns add`."""
    return RUN_NETNS / name


def namespace_id(path: Path | None = None) -> tuple[int, int]:
    """Device and inode of a namespace (None: the calling thread's): equal ids, same namespace."""
    status = os.stat(path if path is not None else "/proc/thread-self/ns/net")
    return status.st_dev, status.st_ino


def enter(path: Path) -> None:
    """Move the calling thread into a namespace for good.  Needs CAP_SYS_ADMIN."""
    # Here, because its import makes a callback, which MemoryDenyWriteExecute may refuse the daemon.
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise KernelError(f"network namespace {path}: {error.strerror}") from error
    try:
        if libc.setns(handle, CLONE_NEWNET) != 0:
            reason = os.strerror(ctypes.get_errno())
            raise KernelError(f"network namespace {path}: {reason}", hint="entering one needs CAP_SYS_ADMIN")
    finally:
        os.close(handle)


def call_in(path: Path | None, function: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
    """Call `function` inside a namespace (None: where the caller is) and return or raise what it does."""
    if path is None:
        return function(*args, **kwargs)
    outcome: list[Any] = []
    failure: list[BaseException] = []

    def work() -> None:
        try:
            enter(path)
            outcome.append(function(*args, **kwargs))
        except BaseException as error:  # handed to the caller's thread, whatever it is
            failure.append(error)

    thread = threading.Thread(target=work, name="wfpd-netns", daemon=True)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    result: _R = outcome[0]
    return result

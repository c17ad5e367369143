"""Opens the files of a policy: only what root or the service's user owns and nobody else may write.

The check is made on the open descriptor, so the file that was checked is the file that is read.  Where
it lies is checked by name: in a directory that others may write, a trusted file can be exchanged for
another one.  The sticky bit mends that, except for a link that somebody else has put there.
"""

from __future__ import annotations

import contextlib
import os
import stat

from wfpd.errors import Location, Problem

SERVICE_USER = "wfpd"


def distrust(status: os.stat_result, service_uids: frozenset[int]) -> str:
    """Why a file with this status may not be trusted, or nothing."""
    if status.st_uid not in service_uids:
        return f"is owned by uid {status.st_uid}, neither root nor the service's user"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"may be written by group or others (mode {stat.S_IMODE(status.st_mode):04o})"
    return ""


def service_uids() -> frozenset[int]:
    """Root, this process's user, and the service's user where there is one."""
    import pwd

    uids = {0, os.geteuid()}
    with contextlib.suppress(KeyError):
        uids.add(pwd.getpwnam(SERVICE_USER).pw_uid)
    return frozenset(uids)


MAX_LINKS = 40
"""As the kernel (include/linux/namei.h, MAXSYMLINKS)."""


def distrust_place(path: str, uids: frozenset[int]) -> str:
    """Why what lies at `path` may be exchanged by others, or nothing: its directory, and those of links to it."""
    for _ in range(MAX_LINKS):
        directory = os.path.realpath(os.path.dirname(os.path.abspath(path)))
        reason = distrust_directory(directory)
        if reason:
            return f"lies in {directory}, which {reason}"
        with contextlib.suppress(OSError):
            link = os.lstat(path)
            if stat.S_ISLNK(link.st_mode):
                if link.st_uid not in uids:
                    return f"is a link that belongs to uid {link.st_uid}, neither root nor the service's user"
                path = os.path.join(directory, os.readlink(path))
                continue
        return ""
    return ""


def distrust_directory(directory: str) -> str:
    """Why others may exchange what lies in a directory, or nothing."""
    try:
        mode = os.stat(directory).st_mode
    except OSError:
        return ""  # Opening what lies there will say it.
    if mode & (stat.S_IWGRP | stat.S_IWOTH) and not mode & stat.S_ISVTX:
        return f"may be written by group or others (mode {stat.S_IMODE(mode):04o})"
    return ""


class Unreadable(Exception):
    """The file cannot be read; `problem` says why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def read_trusted(path: str, at_most: int, uids: frozenset[int]) -> tuple[bytes, str, tuple[int, int]]:
    """Contents, reason for distrust (or nothing), and identity (device, inode) of a regular file.

    Raises Unreadable; never waits for a FIFO and never reads more than `at_most` bytes.
    """
    place = Location(path)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise Unreadable(Problem(f"cannot be read: {reason}", place)) from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise Unreadable(Problem("is not a regular file", place))
        data = _read_at_most(descriptor, at_most + 1)
    except OSError as error:
        raise Unreadable(Problem(f"cannot be read: {error.strerror}", place)) from None
    finally:
        os.close(descriptor)
    if len(data) > at_most:
        raise Unreadable(Problem(f"is larger than the limit of {at_most} bytes", place))
    return data, distrust(status, uids) or distrust_place(path, uids), (status.st_dev, status.st_ino)


def _read_at_most(descriptor: int, at_most: int) -> bytes:
    """Everything, or the first `at_most` bytes."""
    chunks: list[bytes] = []
    while at_most > 0 and (chunk := os.read(descriptor, min(at_most, 1 << 20))):
        chunks.append(chunk)
        at_most -= len(chunk)
    return b"".join(chunks)

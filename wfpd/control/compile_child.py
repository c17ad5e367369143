"""The compiling child: reads a policy, packs it, hands a sealed memory file back.

`python -m wfpd.control.compile_child FD POLICY TRUST`: FD is a socket of the daemon's.  A process of
its own, because one large parse in the daemon would hold the interpreter lock and stop every Python
callout; nice 10, so that packets come first.  It is born with the stop signals blocked: the daemon
alone decides when it ends, or a stop of the whole control group would look like a compiler's fault.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import socket
import subprocess
import sys
from typing import Literal

from wfpd.control import handover
from wfpd.control.handover import Compiled
from wfpd.errors import WfpdError
from wfpd.stop_signals import held_back

SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
NICE = 10
TIMEOUT = 120.0
"""Seconds one compilation may take."""

Trust = Literal["refuse", "warn"]


def compile_block(path: str, trust: Trust) -> bytes:
    """Read and pack; the block of `handover`, an accepted or a refused policy."""
    from wfpd.config import load_policy

    try:
        policy = load_policy(path, trust=trust)
        from wfpd.compiler.pack import pack

        return handover.encode(policy, bytes(pack(policy)))
    except WfpdError as error:
        return handover.encode_error(error)


def sealed_memory(block: bytes) -> int:
    """A memory file that nobody can change any more; the caller closes it."""
    fd = os.memfd_create("wfpd-policy", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    view = memoryview(block)
    while view:
        view = view[os.write(fd, view) :]
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
    return fd


def main(arguments: list[str]) -> int:
    """The child's whole life."""
    trust: Trust = "warn" if arguments[2] == "warn" else "refuse"
    os.nice(NICE)
    fd = sealed_memory(compile_block(arguments[1], trust))
    with socket.socket(fileno=int(arguments[0])) as parent:
        socket.send_fds(parent, [b"p"], [fd])
    return 0


def compile_in_child(path: str, trust: Trust = "refuse", timeout: float = TIMEOUT) -> Compiled:
    """Compile `path` in a child process.  PolicyError if it is refused; WfpdError if the child failed."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            command = [sys.executable, "-P", "-m", __name__, str(theirs.fileno()), path, trust]
            with held_back():
                child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                         pass_fds=(theirs.fileno(),), env=_environment())  # fmt: skip
        try:
            ours.settimeout(timeout)
            _, fds, _, _ = socket.recv_fds(ours, 1, 1)
        except TimeoutError as error:
            raise WfpdError(f"{path}: not compiled within {timeout:g} s", hint="split the policy") from error
        finally:
            child.kill()
            status = child.wait()
    if not fds:
        raise WfpdError(f"the compiling process ended with status {status}", hint="the log has its last words")
    try:
        return handover.decode(_map(fds[0]))
    except ValueError as error:
        raise WfpdError(str(error)) from error
    finally:
        for fd in fds:
            os.close(fd)


def _map(fd: int) -> memoryview:
    if fcntl.fcntl(fd, fcntl.F_GET_SEALS) & SEALS != SEALS:
        raise ValueError("the compiled policy is not sealed")
    return memoryview(mmap.mmap(fd, os.fstat(fd).st_size, prot=mmap.PROT_READ, flags=mmap.MAP_PRIVATE))


def _environment() -> dict[str, str]:
    """The child finds wfpd where the daemon found it, and nothing in the working directory."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return {**os.environ, "PYTHONPATH": root}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

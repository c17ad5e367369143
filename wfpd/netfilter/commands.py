"""Run rule tools: argument lists only, a time-out, an own environment, errors with what they said.

A tool is born with the stop signals blocked: who stops wfpd with a signal to its whole control group
or terminal means the daemon, and a tool that is cut off leaves rules behind or half a listing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from wfpd.errors import KernelError
from wfpd.netfilter.namespace import call_in
from wfpd.stop_signals import held_back

SEARCH_PATH = "/usr/sbin:/sbin:/usr/bin:/bin"
"""Where the tools are looked for, whatever the caller's PATH says."""


@dataclass(frozen=True, slots=True)
class Commands:
    """A runner for one network namespace.  Nothing here goes through a shell."""

    netns: Path | None = None
    """Handle of the namespace; None = the caller's own."""
    timeout: float = 20.0
    """Seconds for one command, waiting for the xtables lock included."""
    search_path: str = SEARCH_PATH

    def find(self, tool: str) -> str | None:
        """Full path of a tool, or None."""
        return shutil.which(tool, path=self.search_path)

    def run(self, argv: Sequence[str], stdin: str = "") -> str:
        """Run a tool to its end and return what it printed; KernelError if it cannot or does not want to."""
        path = self.find(argv[0])
        if path is None:
            raise KernelError(f"{argv[0]} is not installed", hint=f"looked in {self.search_path}")
        try:
            done = call_in(self.netns, self._start, [path, *argv[1:]], stdin)
        except subprocess.TimeoutExpired as error:
            raise KernelError(f"{argv[0]} did not end within {self.timeout:g} s") from error
        except OSError as error:
            raise KernelError(f"{argv[0]}: {error.strerror}") from error
        if done.returncode < 0:
            raise KernelError(f"{argv[0]} was ended by signal {-done.returncode}")
        if done.returncode:
            said = (done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}").replace("\n", "; ")
            raise KernelError(f"{argv[0]}: {said}", hint=_hint(said))
        return done.stdout

    def _start(self, argv: list[str], stdin: str) -> subprocess.CompletedProcess[str]:
        with held_back():
            tool = subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                errors="replace", env=self._environment(),
            )  # fmt: skip
        with tool:
            try:
                out, err = tool.communicate(stdin, timeout=self.timeout)
            except BaseException:
                tool.kill()
                raise
        return subprocess.CompletedProcess(argv, tool.returncode, out, err)

    def _environment(self) -> dict[str, str]:
        kept = {"PATH": self.search_path, "LC_ALL": "C"}
        if lock := os.environ.get("XTABLES_LOCKFILE"):
            kept["XTABLES_LOCKFILE"] = lock
        return kept


def _hint(said: str) -> str:
    """What to do about an error of a rule tool."""
    if "ermission denied" in said or "not permitted" in said or "must be root" in said:
        return "rules need CAP_NET_ADMIN"
    if "missing kernel module" in said or "No such file or directory" in said:
        return "the kernel lacks a part that a rule needs (xt_NFQUEUE, xt_conntrack, xt_mark, xt_comment ...)"
    if "incompatible" in said:
        return "another tool made a table that iptables cannot read; attach with backend: nftables"
    return ""

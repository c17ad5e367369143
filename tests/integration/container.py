"""A small Debian, booted by systemd-nspawn in a namespace that already exists, with wfpd's unit in it.

The root is made once by mmdebstrap under build/ and used through a tmpfs overlay, so each boot
starts clean.  The checkout and the interpreter's packages are bound in read-only.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / "build" / "nspawn-root"
PACKAGES = "systemd,systemd-sysv,dbus,iptables,iproute2,python3,libnetfilter-queue1,procps"
BOOT_TIMEOUT = 60.0
"""Seconds; a quiet machine needs less than one."""
WRAPPER = """#!/bin/sh
exec /usr/bin/python3 -B -P -m {module} "$@"
"""
PATHS = """/opt/wfpd
import site; site.addsitedir('/opt/wfpd-site')
"""
"""A .pth file, which isolated children (`python -I`) read as well."""


def make_root() -> Path:
    """The cached root; a first call takes about half a minute.  RuntimeError with mmdebstrap's words."""
    if (CACHE / "usr/lib/systemd/systemd").exists():
        return CACHE
    shutil.rmtree(CACHE, ignore_errors=True)
    CACHE.parent.mkdir(exist_ok=True)
    command = ["mmdebstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(CACHE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        shutil.rmtree(CACHE, ignore_errors=True)
        raise RuntimeError(done.stderr[-1000:])
    return CACHE


class Container:
    """One boot.  A context manager: powered off, its leader gone, its overlay unmounted."""

    def __init__(self, directory: Path, namespace: Path) -> None:
        self.directory = directory
        self.namespace = namespace
        self.log = directory / "console.log"
        self.etc = directory / "etc-wfpd"
        self.mount = directory / "root"
        self._nspawn: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Container:
        lower = make_root()
        for name in ("tmpfs", "root", "etc-wfpd"):
            (self.directory / name).mkdir()
        self.etc.chmod(0o755)
        tmpfs = self.directory / "tmpfs"
        _run("mount", "-t", "tmpfs", "tmpfs", str(tmpfs))
        for name in ("upper", "work"):
            (tmpfs / name).mkdir()
        layers = f"lowerdir={lower},upperdir={tmpfs}/upper,workdir={tmpfs}/work"
        _run("mount", "-t", "overlay", "overlay", "-o", layers, str(self.mount))
        try:
            self._install()
            self._boot()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _install(self) -> None:
        """The files an administrator would copy (README)."""
        for source, target in (
            ("wfpd.service", "etc/systemd/system/wfpd.service"),
            ("wfpd-inject.service", "etc/systemd/system/wfpd-inject.service"),
            ("wfpd-inject.socket", "etc/systemd/system/wfpd-inject.socket"),
            ("wfpd.sysusers", "usr/lib/sysusers.d/wfpd.conf"),
            ("wfpd.tmpfiles", "usr/lib/tmpfiles.d/wfpd.conf"),
        ):
            path = self.mount / target
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / "systemd" / source, path)
        for name, module in (("wfpd", "wfpd"), ("wfpd-inject", "wfpd.injection.helper")):
            program = self.mount / "usr/local/bin" / name
            program.write_text(WRAPPER.format(module=module))
            program.chmod(0o755)
        packages = self.mount / "usr/local/lib/python3.11/dist-packages"
        packages.mkdir(parents=True, exist_ok=True)
        (packages / "wfpd.pth").write_text(PATHS)
        for name in ("opt/wfpd", "opt/wfpd-site", "etc/wfpd"):
            (self.mount / name).mkdir(parents=True, exist_ok=True)

    def _boot(self) -> None:
        site = sysconfig.get_paths()["purelib"]
        command = [
            "systemd-nspawn", "--boot", f"--directory={self.mount}", f"--machine={self.namespace.name}",
            "--register=no", "--keep-unit", f"--network-namespace-path={self.namespace}", "--capability=CAP_NET_ADMIN",
            "--console=pipe", f"--bind-ro={ROOT}:/opt/wfpd", f"--bind-ro={site}:/opt/wfpd-site",
            f"--bind={self.etc}:/etc/wfpd",
        ]  # fmt: skip
        with self.log.open("wb") as log:
            self._nspawn = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        ready = ("running", "degraded")
        wait_for(lambda: self.run("systemctl", "is-system-running").stdout.strip() in ready, BOOT_TIMEOUT, self.console)
        self.run("systemd-sysusers")

    def console(self) -> str:
        """What the container printed, for messages."""
        return self.log.read_text(errors="replace")[-2000:]

    @property
    def leader(self) -> int | None:
        """Process id of the container's init."""
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children") if self._nspawn else None
        words = children.read_text().split() if children and children.exists() else []
        return int(words[0]) if words else None

    def run(self, *command: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command inside; a container that is not up yet answers 255."""
        leader = self.leader
        if leader is None:
            return subprocess.CompletedProcess(command, 255, "", "the container is not running")
        return subprocess.run(
            ["nsenter", "-t", str(leader), "-a", *command], capture_output=True, text=True, timeout=timeout, check=False
        )

    def systemctl(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`systemctl WORDS wfpd`."""
        return self.run("systemctl", *words, "wfpd.service")

    def property(self, name: str) -> str:
        """One property of the unit."""
        return self.systemctl("show", "--value", f"--property={name}").stdout.strip()

    def status(self) -> dict[str, object]:
        """`wfpd status --json`, or nothing."""
        try:
            answer = json.loads(self.run("wfpd", "status", "--json").stdout)
        except json.JSONDecodeError:
            return {}
        return answer if isinstance(answer, dict) else {}

    def journal(self, output: str = "cat") -> str:
        """The unit's entries, in one of journalctl's forms."""
        return self.run("journalctl", "--unit=wfpd.service", "--no-pager", f"--output={output}").stdout

    def policy(self, text: str) -> None:
        """Write /etc/wfpd/policy.yaml."""
        path = self.etc / "policy.yaml"
        path.write_text(text)
        path.chmod(0o644)

    def __exit__(self, *_: object) -> None:
        if self._nspawn is not None:
            self.run("systemctl", "poweroff")
            try:
                self._nspawn.wait(timeout=20)
            except subprocess.TimeoutExpired:
                # Never SIGKILL: with --keep-unit the container would live on without its parent.
                self._nspawn.send_signal(signal.SIGTERM)
                self._nspawn.wait(timeout=20)
            self._nspawn = None
        for path in (self.mount, self.directory / "tmpfs"):
            if os.path.ismount(path):
                _run("umount", str(path))


def wait_for(condition: Callable[[], bool], seconds: float, explain: Callable[[], str]) -> None:
    """Poll until it holds; AssertionError with an explanation if it never does."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:.0f} s: {explain()}")
        time.sleep(0.1)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)

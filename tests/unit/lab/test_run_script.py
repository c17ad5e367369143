"""What `make run` says of packages and build, with programs that stand for the real ones."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "wfpd" / "lab" / "run.sh"


class Checkout:
    """A checkout that consists of the script and of stand-ins."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.temporary = top / "temporary"
        for folder in ("wfpd/lab", ".ci", ".venv/bin", "bin", "temporary"):
            (top / folder).mkdir(parents=True)
        shutil.copy(SCRIPT, top / "wfpd/lab/run.sh")
        self.stand_in(".ci/packages", "echo packages: $*")
        self.stand_in(".venv/bin/python", "echo the lab: $*")
        self.stand_in("bin/id", "echo 0")
        (top / ".venv/.stamp").touch()

    def stand_in(self, name: str, body: str) -> None:
        (self.top / name).write_text(f"#!/bin/sh\n{body}\n")
        (self.top / name).chmod(0o755)

    def run(self) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": f"{self.top}/bin:{os.environ['PATH']}", "TMPDIR": str(self.temporary)}
        done = subprocess.run(
            ["bash", "wfpd/lab/run.sh"], cwd=self.top, env=environment, capture_output=True, text=True, check=False
        )
        assert not list(self.temporary.iterdir())
        return done


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_a_build_that_compiled_says_how_much(checkout: Checkout) -> None:
    (checkout.top / ".venv/.stamp").unlink()
    checkout.stand_in("bin/make", "touch wfpd/_a.so wfpd/_b.so")
    done = checkout.run()
    assert done.returncode == 0, done.stderr
    assert "the first build makes .venv and compiles" in done.stdout
    assert "2 Cython modules were compiled, " in done.stdout
    assert done.stdout.splitlines()[-1] == "the lab: -m wfpd.lab"


def test_a_build_that_had_nothing_to_do_says_so(checkout: Checkout) -> None:
    (checkout.top / "wfpd/_a.so").touch()
    os.utime(checkout.top / "wfpd/_a.so", (0, 0))
    checkout.stand_in("bin/make", ":")
    assert ".venv and the Cython modules are up to date, " in checkout.run().stdout


def test_a_build_that_fails_shows_why_and_ends_it(checkout: Checkout) -> None:
    checkout.stand_in("bin/make", "echo no compiler >&2; exit 2")
    done = checkout.run()
    assert (done.returncode, "no compiler" in done.stderr) == (1, True)
    assert "3. Lab" not in done.stdout


def test_an_interrupt_of_the_build_leaves_nothing_behind(checkout: Checkout) -> None:
    checkout.stand_in("bin/make", "kill -INT $PPID; sleep 0.1")
    done = checkout.run()
    assert (done.returncode, "interrupted; nothing was left behind" in done.stderr) == (130, True)


def test_without_root_nothing_is_begun(checkout: Checkout) -> None:
    checkout.stand_in("bin/id", "echo 1000")
    done = checkout.run()
    assert (done.returncode, done.stdout) == (3, "")
    assert "the lab needs root" in done.stderr

"""`make run`: the whole story against the real daemon, and a message for each thing that can go wrong."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.proven import OTHER_USER, need_other_user

ROOT = Path(__file__).resolve().parents[2]
LAB = [sys.executable, "-m", "wfpd.lab"]
STORY = ROOT / "tests" / "data" / "lab_story.txt"
TIMEOUT = 120


def play(path: str | None = None) -> subprocess.CompletedProcess[str]:
    """The lab without a terminal, from its directory, with an optional PATH."""
    environment = {**os.environ, **({"PATH": path} if path else {})}
    return subprocess.run(
        LAB, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=TIMEOUT, check=False,
    )  # fmt: skip


def masked(text: str) -> str:
    """Numbers, suffixes and temporary names replaced; metric lines left out, for their number varies."""
    lines = [line for line in text.splitlines() if not line.startswith("    wfpd_")]
    text = re.sub(r"wfpd-\*-[0-9a-f]{6}", "wfpd-*-SUFFIX", "\n".join(lines))
    text = re.sub(r"/\S*/wfpd-lab-\w+", "DIRECTORY", text)
    return re.sub(r"\d+(\.\d+)?", "N", text) + "\n"


def namespaces() -> set[str]:
    """Named namespaces of the machine that a lab may have made."""
    directory = Path("/run/netns")
    return {path.name for path in directory.glob("wfpd-router-*")} if directory.exists() else set()


def failing(directory: Path, name: str, condition: str, words: str) -> str:
    """A PATH whose `name` fails with `words` where a shell condition on its arguments holds."""
    real = subprocess.run(["which", name], capture_output=True, text=True, check=True).stdout.strip()
    program = directory / name
    program.write_text(f'#!/bin/sh\nif {condition}; then echo "{words}" >&2; exit 1; fi\nexec {real} "$@"\n')
    program.chmod(0o755)
    return f"{directory}:{os.environ['PATH']}"


@pytest.mark.root
@pytest.mark.usefixtures("needs_root")
def test_the_lab_tells_its_whole_story_and_loses_no_packet() -> None:
    before = namespaces()
    done = play()
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 packets lost" in done.stdout
    assert masked(done.stdout) == STORY.read_text(encoding="utf-8")
    assert namespaces() <= before


@pytest.mark.root
@pytest.mark.usefixtures("needs_root")
def test_the_lab_tells_programs_its_acts_as_json() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "wfpd", "lab", "--json"], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True,
        text=True, timeout=TIMEOUT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    acts = [json.loads(line) for line in done.stdout.splitlines()]
    probes = [(act["probe"], act["verdict"], act["filter"]) for act in acts if act["act"] == "probe"]
    assert probes[1] == ("curl server:23", "block", "no-telnet")
    assert [probes[2][1], probes[5][1]] == ["permit", "block"]
    assert [act["lost"] for act in acts if act["act"] == "traffic"] == [0]


def test_without_root_the_lab_says_that_it_needs_root() -> None:
    if os.geteuid() == 0:
        need_other_user()
    command = LAB if os.geteuid() else [*OTHER_USER, *LAB]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    assert (done.returncode, "the lab needs root" in done.stderr) == (3, True)


@pytest.mark.root
@pytest.mark.usefixtures("needs_root")
def test_without_namespaces_the_lab_says_so(tmp_path: Path) -> None:
    done = play(failing(tmp_path, "ip", '[ "$1 $2" = "netns add" ]', "Operation not permitted"))
    assert done.returncode == 3
    assert "lab: no network namespaces: Operation not permitted" in done.stderr


@pytest.mark.root
@pytest.mark.usefixtures("needs_root")
def test_without_nfqueue_in_the_kernel_the_lab_says_so(tmp_path: Path) -> None:
    before = namespaces()
    condition = 'case "$*" in *NFQUEUE*) true ;; *) false ;; esac'
    done = play(failing(tmp_path, "iptables", condition, "Extension NFQUEUE is missing"))
    assert done.returncode == 3
    assert "lab: no NFQUEUE in this kernel: Extension NFQUEUE is missing" in done.stderr
    assert namespaces() <= before


@pytest.mark.root
@pytest.mark.usefixtures("needs_root")
def test_a_second_lab_is_refused_by_name() -> None:
    import fcntl

    with Path("/run/wfpd-lab.lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.truncate(0)
        lock.write("4711")
        lock.flush()
        done = play()
    assert done.returncode == 3
    assert "another lab is running (process 4711)" in done.stderr


@pytest.mark.root
@pytest.mark.usefixtures("needs_root")
@pytest.mark.parametrize("seconds", [0.3, 0.5, 0.8, 1.5, 3.0])
def test_an_interrupt_anywhere_leaves_nothing_behind(seconds: float) -> None:
    before = namespaces()
    lab = subprocess.Popen(
        LAB, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    time.sleep(seconds)
    lab.send_signal(signal.SIGINT)
    _, errors = lab.communicate(timeout=60)
    assert "Traceback" not in errors
    assert lab.returncode in (130, -signal.SIGINT, 0, 3)
    assert namespaces() <= before


def test_a_wrong_python_is_named() -> None:
    done = subprocess.run(
        ["make", "python", "PYTHON=/bin/false"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "wrong Python: wfpd is built and tested with Debian 12's Python 3.11" in done.stderr


def test_a_refused_package_install_is_named(tmp_path: Path) -> None:
    for name, body in (
        ("dpkg-query", "exit 1"),
        ("apt-get", "echo 'E: Unable to locate package gcc' >&2; exit 100"),
        ("id", "echo 0"),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        [ROOT / ".ci" / "packages", "run"], capture_output=True, text=True, check=False,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert done.returncode == 3
    assert "package install refused: apt-get could not install" in done.stderr
    assert "apt: E: Unable to locate package gcc" in done.stderr


def test_every_package_has_a_group_and_a_reason() -> None:
    done = subprocess.run([ROOT / ".ci" / "packages", "--list"], capture_output=True, text=True, check=True)
    assert all(re.fullmatch(r"(run |test) [a-z0-9-]+ +\S.{5,}", line) for line in done.stdout.splitlines())


class Terminal:
    """The lab at a terminal of its own: keys in, text out."""

    def __init__(self, editor: str) -> None:
        ours, theirs = os.openpty()
        self.handle = ours
        self.text = ""
        self.process = subprocess.Popen(
            LAB, cwd=ROOT, env={**os.environ, "EDITOR": editor}, stdin=theirs, stdout=theirs, stderr=theirs,
            start_new_session=True,
        )  # fmt: skip
        os.close(theirs)

    def until(self, words: str) -> str:
        """What comes up to `words`, and is not looked at again."""
        while words not in self.text:
            readable, _, _ = select.select([self.handle], [], [], TIMEOUT)
            assert readable, self.text
            try:
                self.text += os.read(self.handle, 65536).decode(errors="replace").replace("\r\n", "\n")
            except OSError as error:  # Its other end is closed: the lab has ended.
                raise AssertionError(self.text) from error
        found, _, self.text = self.text.partition(words)
        return found

    def press(self, key: str) -> str:
        """What one key leads to."""
        os.write(self.handle, key.encode())
        return self.until("[q] quit")

    def close(self) -> int:
        """Its end; killed if it does not come by itself."""
        try:
            return self.process.wait(30)
        finally:
            self.process.kill()
            self.process.wait()
            os.close(self.handle)


@pytest.mark.root
@pytest.mark.usefixtures("needs_root")
def test_at_a_terminal_keys_edit_probe_explain_and_quit() -> None:
    before = namespaces()
    lab = Terminal("sed -i 's/no-telnet/nothing-at-23/'")
    try:
        assert "blocked by no-telnet" in lab.until("[q] quit")
        assert "reloaded: generation 2" in lab.press("e")
        assert "blocked by nothing-at-23" in lab.press("p")
        assert "filter nothing-at-23, generation 2" in lab.press("d")
        assert "wfpd_enforcing 1" in lab.press("m")
        os.write(lab.handle, b"q")
        assert "The lab is gone" in lab.until("were removed.")
    finally:
        status = lab.close()
    assert status == 0
    assert namespaces() <= before

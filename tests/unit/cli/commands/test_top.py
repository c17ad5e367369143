import argparse
import fcntl
import io
import json
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console
from rich.screen import Screen

from tests.unit.cli.answering import Daemon
from tests.unit.cli.readings import START, hot, reading
from tests.unit.cli.test_screen import GOLDEN, busy
from wfpd import cli
from wfpd.cli.commands import top
from wfpd.cli.rates import View
from wfpd.errors import ControlError

ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"
"""The terminal's other screen."""


def on_terminal(view: View, width: int, height: int) -> list[str]:
    out = io.StringIO()
    console = Console(file=out, width=width, height=height, force_terminal=True, color_system=None, highlight=False)
    console.print(Screen(top.rendered(view, width, height)), end="")
    return out.getvalue().split("\n")


def test_rich_shows_the_same_screen_and_takes_no_name_for_markup() -> None:
    shown = on_terminal(busy(), 80, 24)
    assert [line.rstrip() for line in shown] == GOLDEN.read_text().splitlines()
    assert "[red]" in "".join(shown)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (20, 5), (79, 23), (200, 60)])
def test_a_terminal_of_another_size_is_filled_and_no_more(width: int, height: int) -> None:
    shown = on_terminal(busy(), width, height)
    assert len(shown) == height
    assert all(len(line) <= width for line in shown)


@pytest.fixture
def steps(monkeypatch) -> list:
    """What happens between two readings, one after the other."""
    found: list = []

    def step(interval: float) -> bool:
        found.pop(0)()
        return True

    monkeypatch.setattr(top, "_sleep", step)
    return found


def test_json_is_a_line_a_reading_with_its_rates(daemon: Daemon, path: str, steps: list, capsys) -> None:
    daemon.answer = reading(1, 100, 1, filters=[hot("a", 1)])
    steps.append(lambda: setattr(daemon, "answer", reading(3, 300, 1, filters=[hot("a", 5)])))
    assert cli.main(["top", "--json", "--count", "2", "--socket", path]) == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["packets"], first["rates"]) == ({"permit": 100, "block": 1}, None)
    assert second["rates"]["packets"] == {"permit": 100.0, "block": 0.0}
    assert second["rates"]["filters"] == {"key of a": 2.0}


def test_without_a_terminal_a_screen_a_reading_is_printed(daemon: Daemon, path: str, steps: list, capsys) -> None:
    daemon.answer = reading(1, 1000)
    steps.append(lambda: None)
    assert cli.main(["top", "--count", "2", "--socket", path]) == 0
    said = capsys.readouterr().out
    assert said.count("wfpd: enforcing   generation 12") == 2 and "\x1b" not in said


class Connection:
    """A connection whose daemon answers with these readings, then ends it."""

    def __init__(self, *readings: dict) -> None:
        self.readings = list(readings)
        self.closed = False

    def call(self, method: str) -> dict:
        assert method == "counters" and not self.closed
        if not self.readings:
            raise ControlError("wfpd closed the connection")
        return self.readings.pop(0)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def connections(monkeypatch, steps: list) -> list:
    """What `connect` gives, one after the other; None: there is no daemon."""
    found: list[Connection | None] = []
    used: list[Connection] = []

    def connect(arguments: argparse.Namespace) -> Connection:
        if not found or (made := found.pop(0)) is None:
            raise ControlError("cannot reach wfpd")
        used.append(made)
        return made

    monkeypatch.setattr(top, "connect", connect)
    steps += [lambda: None] * 10
    yield found
    assert all(made.closed for made in used)


def test_a_daemon_that_restarts_is_watched_on(connections: list, capsys) -> None:
    again = {"started": START + 8}
    connections += [Connection(reading(1, 100)), None, Connection(reading(9, 5, **again), reading(10, 7, **again))]
    assert cli.main(["top", "--json", "--count", "5"]) == 0
    said = capsys.readouterr()
    rates = [json.loads(line)["rates"] for line in said.out.splitlines()]
    assert [found and found["packets"]["permit"] for found in rates] == [None, None, 2.0]
    assert said.err.splitlines() == ["error: wfpd closed the connection", "error: cannot reach wfpd"]


def test_a_daemon_that_stays_away_is_3_in_the_end(connections: list, capsys) -> None:
    connections.append(Connection(reading(1)))
    assert cli.main(["top", "--count", "3"]) == 3
    pages = capsys.readouterr().out.split("wfpd: enforcing")
    assert ["closed the connection" in page for page in pages] == [False, False, True, False]
    assert "cannot reach wfpd" in pages[3]


def test_without_a_daemon_there_is_nothing_to_watch(path: str, capsys) -> None:
    assert cli.main(["top", "--count", "1", "--socket", path]) == 3
    assert "cannot reach wfpd" in capsys.readouterr().err


def test_an_interval_that_would_only_keep_the_daemon_busy_is_2(path: str, capsys) -> None:
    assert cli.main(["top", "--interval", "10ms", "--socket", path]) == 2
    assert "--interval is at least" in capsys.readouterr().err


def test_without_rich_a_terminal_gets_a_hint(daemon: Daemon, path: str, monkeypatch, capsys) -> None:
    daemon.answer = reading(1)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setitem(sys.modules, "rich.live", None)
    assert cli.main(["top", "--socket", path]) == 3
    assert "pip install 'wfpd[top]'" in capsys.readouterr().err


class Terminal:
    """`wfpd top` on a terminal of 80x24."""

    def __init__(self, path: str) -> None:
        self.ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.before = termios.tcgetattr(theirs)
        self.theirs = theirs
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TERM": "xterm"}
        for name in ("COLUMNS", "LINES", "NO_COLOR"):
            environment.pop(name, None)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "wfpd", "top", "--interval", "100ms", "--socket", path], stdin=theirs, stdout=theirs,
            stderr=theirs, env=environment, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip
        self.shown = b""

    def until(self, text: bytes, times: int = 1) -> None:
        """Read until the text has been shown so often."""
        end = time.monotonic() + 20.0
        while self.shown.count(text) < times:
            ready, _, _ = select.select([self.ours], [], [], max(0.0, end - time.monotonic()))
            assert ready, self.shown[-2000:]
            self.shown += os.read(self.ours, 65536)

    def close(self) -> None:
        """End it if it has not ended by itself."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.ours)
        os.close(self.theirs)


@pytest.fixture
def terminal(daemon: Daemon, path: str) -> Iterator[Terminal]:
    daemon.answer = reading(1, 1000, filters=[hot("telnet", 7)])
    found = Terminal(path)
    yield found
    found.close()


@pytest.mark.parametrize(("key", "status"), [(b"q", 0), (b"xyQ", 0), (b"\x03", 130)])
def test_on_a_terminal_it_goes_on_until_a_key_and_leaves_everything_as_it_was(
    terminal: Terminal, key: bytes, status: int
) -> None:
    terminal.until(b"telnet", times=3)
    assert terminal.shown.count(ENTER) == 1 and LEAVE not in terminal.shown
    os.write(terminal.ours, key)
    terminal.until(LEAVE)
    assert terminal.process.wait(20) == status
    assert termios.tcgetattr(terminal.theirs) == terminal.before
    assert b"Traceback" not in terminal.shown


def test_a_terminal_is_put_back_also_when_it_is_told_to_end(terminal: Terminal) -> None:
    terminal.until(b"telnet")
    terminal.process.terminate()
    terminal.until(LEAVE)
    assert terminal.process.wait(20) == 130
    assert termios.tcgetattr(terminal.theirs) == terminal.before


def test_a_terminal_that_becomes_small_is_no_error(terminal: Terminal) -> None:
    terminal.until(b"telnet")
    fcntl.ioctl(terminal.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 2, 10, 0, 0))
    terminal.until(b"enf~", times=2)
    os.write(terminal.ours, b"q")
    terminal.until(LEAVE)
    assert terminal.process.wait(20) == 0


def test_the_golden_screen_has_nothing_but_printable_characters() -> None:
    assert Path(GOLDEN).read_text().replace("\n", "").isprintable()

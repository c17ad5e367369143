"""`wfpd top`: what the daemon decides and loses, as it happens."""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from wfpd.cli import screen
from wfpd.cli.arguments import count, seconds
from wfpd.cli.asking import Client, call, connect
from wfpd.cli.parser import Commands
from wfpd.cli.printing import DONE, UNREACHABLE, complain, print_json
from wfpd.cli.rates import View
from wfpd.errors import ControlError, UsageError

if TYPE_CHECKING:
    from rich.console import Group

LEAST = 0.1
"""Seconds between two readings, at least."""


def add(commands: Commands) -> None:
    """Add the parser."""
    made = commands.add("top", show_top, "watch rates, queues, losses and the hottest filters",
                        "On a terminal until q or Ctrl-C; elsewhere one screen a reading. Exit 3: the daemon could not "
                        "be reached, or was away in the end.", as_json=True, socket=True)  # fmt: skip
    made.add_argument(
        "--interval", type=seconds, default=1.0, metavar="TIME", help="between two readings (default: 1s)"
    )
    made.add_argument("--count", type=count, metavar="N", help="end after N readings")


class Source:
    """Readings of one daemon after the other: where it restarts, the connection is made anew."""

    def __init__(self, connect: Callable[[], Client]) -> None:
        self._connect = connect
        self._connection: Client | None = None

    def read(self) -> dict[str, Any]:
        """A reading.  ControlError while there is no daemon."""
        if self._connection is None:
            self._connection = self._connect()
        try:
            found: dict[str, Any] = call(self._connection, "counters")
        except ControlError:
            self.close()
            raise
        return found

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def show_top(arguments: argparse.Namespace) -> int:
    """`wfpd top`."""
    if arguments.interval < LEAST:
        raise UsageError(f"--interval is at least {LEAST} s")
    view = View()
    with contextlib.closing(Source(lambda: connect(arguments))) as source:
        view.take(source.read())  # Without a daemon there is nothing to begin with.
        if arguments.json:
            return _watch(view, source, arguments, _as_line, _sleep)
        if not sys.stdout.isatty():
            return _watch(view, source, arguments, _as_page, _sleep)
        with _live() as show, _keys() as wait:
            return _watch(view, source, arguments, show, wait)


def _watch(view: View, source: Source, arguments: argparse.Namespace, show: Callable[[View], None],
           wait: Callable[[float], bool]) -> int:  # fmt: skip
    """Show and read until `wait` says stop or the count is reached."""
    n_shown = 0
    while True:
        show(view)
        n_shown += 1
        if arguments.count is not None and n_shown >= arguments.count:
            break
        if not wait(arguments.interval):
            break
        try:
            view.take(source.read())
        except ControlError as error:
            view.problem = error.message
    return UNREACHABLE if view.problem else DONE


def _sleep(interval: float) -> bool:
    time.sleep(interval)
    return True


def _as_line(view: View) -> None:
    """One line of JSON a reading; what is no reading goes to standard error."""
    if view.problem:
        complain(f"error: {view.problem}")
        return
    found = view.rates
    rates = None if found is None else {"seconds": found.seconds, "packets": found.packets, "bytes": found.bytes,
                                        "queues": found.queues, "filters": found.filters}  # fmt: skip
    print_json({**(view.reading or {}), "rates": rates})
    sys.stdout.flush()


def _as_page(view: View) -> None:
    print(screen.text(screen.lines(view, 80, 24)), end="\n\n", flush=True)


def rendered(view: View, width: int, height: int) -> Group:
    """The screen as rich prints it; names are texts, never markup."""
    from rich.console import Group
    from rich.text import Text

    made = []
    for line in screen.lines(view, width, height):
        text = Text(no_wrap=True, overflow="crop")
        for piece, style in line:
            text.append(piece, style)
        made.append(text)
    return Group(*made)


@contextlib.contextmanager
def _live() -> Iterator[Callable[[View], None]]:
    """Show on the terminal's other screen, which is left as it was."""
    try:
        from rich.console import Console
        from rich.live import Live
    except ImportError:
        raise ControlError("wfpd top needs the library rich on a terminal",
                           hint="pip install 'wfpd[top]', or wfpd top --json") from None  # fmt: skip
    console = Console(highlight=False)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # The terminal is put back as after Ctrl-C.
    try:
        with Live(console=console, screen=True, auto_refresh=False) as live:
            yield lambda view: live.update(rendered(view, console.width, console.height), refresh=True)
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _keys() -> Iterator[Callable[[float], bool]]:
    """Wait for the next reading; q ends.  Without a terminal to read from, only Ctrl-C does."""
    if not sys.stdin or not sys.stdin.isatty():
        yield _sleep
        return
    import termios
    import tty

    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    try:
        tty.setcbreak(keyboard)
        yield lambda interval: _wait_for_key(keyboard, interval)
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


def _wait_for_key(keyboard: int, interval: float) -> bool:
    """False once q is pressed or the terminal is gone."""
    end = time.monotonic() + interval
    while (left := end - time.monotonic()) > 0:
        ready, _, _ = select.select([keyboard], [], [], left)
        if ready:
            pressed = os.read(keyboard, 64)
            if not pressed or b"q" in pressed.lower():
                return False
    return True

"""The lab at a terminal: one key, one act."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import termios
import tty
from collections.abc import Callable

from wfpd.lab.story import Story

HELP = (
    "\n[e] edit the policy and reload   [r] reload   [p] probe again   [d] show the last drop   [m] metrics   [q] quit"
)
EDITORS = ("nano", "vi", "vim.tiny")
"""Tried in this order where neither VISUAL nor EDITOR says one; a minimal Debian has none of them."""


def read_key() -> str:
    """One key press, without waiting for Enter; one that came during the last act counts.  Ctrl-C still interrupts."""
    handle = sys.stdin.fileno()
    before = termios.tcgetattr(handle)
    try:
        tty.setcbreak(handle, termios.TCSADRAIN)  # The default throws away what was typed before.
        return sys.stdin.read(1)
    finally:
        termios.tcsetattr(handle, termios.TCSADRAIN, before)


def editor() -> list[str]:
    """The user's editor, else one that is installed; empty if there is none."""
    chosen = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if chosen:
        return shlex.split(chosen)
    return [name for name in EDITORS if shutil.which(name)][:1]


def edit(story: Story) -> None:
    """Open the policy in an editor, then reload what was saved."""
    command = editor()
    if not command or not shutil.which(command[0]):
        what = f"{command[0]} is not installed" if command else "no editor is installed"
        story.say(f"{what}: edit {story.service.policy} in another terminal, then press r")
        return
    subprocess.run([*command, str(story.service.policy)], check=False)
    story.reload()


def converse(story: Story) -> None:
    """Obey keys until `q` or the end of input."""
    acts: dict[str, Callable[[], object]] = {
        "e": lambda: edit(story),
        "r": story.reload,
        "p": story.probe,
        "d": story.show_last_drop,
        "m": story.show_metrics,
    }
    while True:
        story.say(HELP)
        key = read_key()
        if key in ("q", "", "\x04"):
            return
        if key in acts:
            acts[key]()

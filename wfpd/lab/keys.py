"""The lab at a terminal: one key, one act."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import termios
import tty

from wfpd.lab.story import Story

HELP = "\n[e] edit the policy and reload   [p] probe again   [d] show the last drop   [m] metrics   [q] quit"


def read_key() -> str:
    """One key press, without waiting for Enter; Ctrl-C still interrupts."""
    handle = sys.stdin.fileno()
    before = termios.tcgetattr(handle)
    try:
        tty.setcbreak(handle)
        return sys.stdin.read(1)
    finally:
        termios.tcsetattr(handle, termios.TCSADRAIN, before)


def edit(story: Story) -> None:
    """Open the policy in $EDITOR, then reload what was saved."""
    editor = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "nano")
    try:
        subprocess.run([*editor, str(story.service.policy)], check=False)
    except FileNotFoundError:
        story.say(f"{editor[0]} is not installed; set EDITOR, or edit {story.service.policy} elsewhere")
        return
    story.reload()


def converse(story: Story) -> None:
    """Obey keys until `q` or the end of input."""
    acts = {"e": lambda: edit(story), "p": story.probe, "d": story.show_last_drop, "m": story.show_metrics}
    while True:
        story.say(HELP)
        key = read_key()
        if key in ("q", "", "\x04"):
            return
        if key in acts:
            acts[key]()

"""The manual pages, made from the parser that makes the help: `python -m wfpd.cli.manual docs/man`.

One page for wfpd and one a command.  A contract test compares them with what is in docs/man.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import wfpd
from wfpd.cli.parser import parser, subparsers

_EXIT = """\
.IP 0
Done.
.IP 1
The answer is no: a policy that does not load, a packet that is blocked, a refused change.
.IP 2
The command cannot be meant so.
.IP 3
Something could not be reached, opened, or is not allowed.
.IP 70
A fault of wfpd's, with a report in a file that is named."""
_LIKE_A_LINE = "10000"
"""Columns: text is filled by who shows the page, and a line of it never begins with a control character."""


def pages() -> dict[str, str]:
    """The text of each page by its file's name."""
    with _columns(_LIKE_A_LINE):
        top = parser()
        commands = subparsers(top)
        texts = {str(action.dest): str(action.help) for action in _listed(top)}
        found = {f"wfpd-{name}.1": _command_page(name, made, texts[name]) for name, made in commands.items()}
        return {"wfpd.1": _main_page(top, texts), **found}


@contextlib.contextmanager
def _columns(value: str) -> Iterator[None]:
    """Help is wrapped by the environment's columns."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before


def _action_of(made: argparse.ArgumentParser) -> argparse._SubParsersAction[argparse.ArgumentParser]:
    return next(action for action in made._actions if isinstance(action, argparse._SubParsersAction))


def _listed(made: argparse.ArgumentParser) -> list[argparse.Action]:
    return list(_action_of(made)._choices_actions)


def _page(made: argparse.ArgumentParser, what: str) -> Any:
    from argparse_manpage.manpage import Manpage

    made.epilog = None  # Exit statuses have a section.
    page = Manpage(made, format="single-commands-section")
    page.description, page.date, page.manual = what, "", "wfpd"
    page.source = f"wfpd {wfpd.__version__}"
    page.add_section("exit status", "=", _EXIT)
    return page


def _command_page(name: str, made: argparse.ArgumentParser, text: str) -> str:
    page = _page(made, text)
    page.prog = f"wfpd-{name}"
    page.synopsis = [f"wfpd {name}", *page.synopsis[2:]]
    page.add_section("see also", "=", ".BR wfpd (1)")
    return str(page)


def _main_page(top: argparse.ArgumentParser, texts: dict[str, str]) -> str:
    action = _action_of(top)
    for group in top._action_groups:
        if action in group._group_actions:
            group._group_actions.remove(action)  # Each command has a page of its own.
    page = _page(top, "the Windows Filtering Platform's policy model for Linux")
    listed = (f".TP\n.BR wfpd\\-{name} (1)\n{_escape(text[0].upper() + text[1:])}." for name, text in texts.items())
    page.add_section("commands", "=", "\n".join(listed))
    page.add_section("files", "=", ".TP\n.I /etc/wfpd/policy.yaml\nThe policy.\n"
                     ".TP\n.I /run/wfpd/control.sock\nThe daemon's control socket.")  # fmt: skip
    return str(page)


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("-", "\\-")


def write(folder: Path) -> None:
    """Make the folder hold these pages and no other."""
    folder.mkdir(parents=True, exist_ok=True)
    made = pages()
    for old in folder.glob("*.1"):
        if old.name not in made:
            old.unlink()
    for name, text in made.items():
        (folder / name).write_text(text)


if __name__ == "__main__":
    write(Path(sys.argv[1]))

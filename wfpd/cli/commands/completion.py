"""`wfpd completion`: what a shell needs to complete wfpd's command line, from the parser itself."""

from __future__ import annotations

import argparse

from wfpd.cli.parser import Commands, parser, subparsers
from wfpd.cli.printing import DONE

FILES = frozenset({"FILE", "CAPTURE", "PATH", "OLD", "NEW"})
"""Words of the help that stand for a file."""


def add(commands: Commands) -> None:
    """Add the parser."""
    made = commands.add("completion", print_completion, "print a script that completes commands in a shell",
                        "bash: wfpd completion bash >/etc/bash_completion.d/wfpd; "
                        "zsh: wfpd completion zsh >/usr/local/share/zsh/site-functions/_wfpd")  # fmt: skip
    made.add_argument("shell", choices=("bash", "zsh"), help="whose script")


def print_completion(arguments: argparse.Namespace) -> int:
    """`wfpd completion`."""
    import shtab

    top = parser()
    complete_files(top, shtab.FILE)
    print(shtab.complete(top, shell=arguments.shell))
    return DONE


def complete_files(made: argparse.ArgumentParser, way: object) -> None:
    """Mark the arguments that are files, here and in every command below."""
    for action in made._actions:
        if isinstance(action.metavar, str) and not FILES.isdisjoint(action.metavar.split("|")):
            action.complete = way  # type: ignore[attr-defined]  # What the library looks for.
    for below in subparsers(made).values():
        complete_files(below, way)

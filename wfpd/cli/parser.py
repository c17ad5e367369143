"""The whole command line as one parser, from which help, completion and manual pages are made.

A command is a file in `wfpd/cli/commands/` with a function `add`, and a line in COMMANDS.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable, Container

import wfpd
from wfpd.client import DEFAULT_PATH

COMMANDS = (
    "run",
    "check",
    "replay",
    "explain",
    "why",
    "test",
    "diff",
    "layers",
    "purge",
    "lab",
    "bench",
    "new_callout",
    "status",
    "top",
    "reload",
    "stage",
    "filters",
    "objects",
    "flows",
    "sets",
    "sessions",
    "events",
    "completion",
)
"""Files of `wfpd/cli/commands/`, in the order of the help."""
_FIRST_STEPS = """\
first steps, none of which touches this machine's traffic:
  wfpd lab                                  watch it decide real packets (root)
  wfpd check policy.yaml                    what is wrong with a policy
  wfpd replay --policy policy.yaml x.pcap   what it decides about a capture
  wfpd COMMAND --help                       more about one command

exit: 0 done, 1 the answer is no, 2 usage, 3 could not reach, open or not
allowed, 70 a fault of wfpd's"""
_EXITS = "exit: 0 done, 1 the answer is no, 2 usage, 3 could not reach, open or not allowed, 70 a fault of wfpd's"

Function = Callable[[argparse.Namespace], int]


class Commands:
    """Where a command adds its parser: the whole command line, or the actions of one command."""

    def __init__(
        self, found: argparse._SubParsersAction[argparse.ArgumentParser], outer: Container[str] = frozenset()
    ) -> None:
        """`outer` are the options of the command that these are actions of: what stands before the action counts."""
        self._found = found
        self._outer = outer

    def add(self, name: str, function: Function | None, text: str, more: str = "", *,
            as_json: bool = False, socket: bool = False) -> argparse.ArgumentParser:  # fmt: skip
        """The parser of a command; `text` is its line in the list, `more` follows it in its own help.

        One with required actions has no function of its own.
        """
        described = f"{text[0].upper()}{text[1:]}. {more}"
        made = self._found.add_parser(name, parents=[_common()], help=text, description=described, epilog=_EXITS)
        if function is not None:
            made.set_defaults(command=function)
        if as_json:
            made.add_argument("--json", action="store_true", default=self._default("json", False),
                              help="print JSON for programs")  # fmt: skip
        if socket:
            made.add_argument("--socket", default=self._default("socket", DEFAULT_PATH), metavar="PATH",
                              help=f"control socket of the daemon (default: {DEFAULT_PATH})")  # fmt: skip
        return made

    def _default(self, name: str, value: object) -> object:
        return argparse.SUPPRESS if name in self._outer else value


def _common() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--debug", action="store_true", default=argparse.SUPPRESS,
                        help="show Python tracebacks")  # fmt: skip
    return common


def actions(made: argparse.ArgumentParser, required: bool = True) -> Commands:
    """The actions of a command (`wfpd COMMAND ACTION`)."""
    outer = {action.dest for action in made._actions}
    return Commands(made.add_subparsers(title="actions", metavar="ACTION", required=required), outer)


def subparsers(made: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of a parser's commands, in the order of the help."""
    for action in made._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="wfpd", parents=[_common()], formatter_class=argparse.RawDescriptionHelpFormatter, epilog=_FIRST_STEPS,
        description="The Windows Filtering Platform's policy model for Linux: decides packets by a policy file.",
    )  # fmt: skip
    top.set_defaults(debug=False)
    top.add_argument("--version", action="version", version=f"wfpd {wfpd.__version__}")
    commands = Commands(top.add_subparsers(title="commands", metavar="COMMAND", required=True))
    for name in COMMANDS:
        importlib.import_module(f"wfpd.cli.commands.{name}").add(commands)
    return top

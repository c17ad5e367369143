"""`wfpd lab`: wfpd on traffic of its own."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import wfpd
from wfpd.cli.parser import Commands


def add(commands: Commands) -> None:
    """Add the parser."""
    commands.add(
        "lab",
        run_lab,
        "try wfpd on traffic of its own",
        "Makes network namespaces and removes them again.",
        as_json=True,
    )


def _root() -> Path:
    return Path(wfpd.__file__).parent.parent


def _environment() -> dict[str, str]:
    """A child finds the wfpd that this one is."""
    return {**os.environ, "PYTHONPATH": str(_root())}


def run_lab(arguments: argparse.Namespace) -> int:
    """`wfpd lab`: another program of the package, in this process's place."""
    rest = ["--json"] if arguments.json else []
    os.execve(sys.executable, [sys.executable, "-P", "-m", "wfpd.lab", *rest], _environment())

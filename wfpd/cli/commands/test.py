"""`wfpd test`: a policy's cases."""

from __future__ import annotations

from wfpd.cli.parser import Commands
from wfpd.testing import command


def add(commands: Commands) -> None:
    """Add the parser."""
    command.add_arguments(commands.add(
        "test", command.run, "test a policy by cases in YAML files",
        "Touches neither the kernel nor the daemon. A case that fails is shown with its explanation. "
        "Exit 1: a case failed, or a test file or policy is wrong.", as_json=True,
    ))  # fmt: skip

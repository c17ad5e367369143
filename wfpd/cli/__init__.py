"""The command line: arguments only, the work is done elsewhere."""

from wfpd.cli.program import main

__all__ = ["main"]

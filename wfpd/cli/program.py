"""The program: arguments in, one exit status out; an error of any kind becomes a message and a status."""

from __future__ import annotations

import argparse
import contextlib
import errno
import io
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence

import wfpd
from wfpd.cli.asking import say_refusal
from wfpd.cli.parser import parser
from wfpd.cli.printing import DONE, FAULT, complain
from wfpd.client import Refused
from wfpd.errors import ControlError, PolicyError, WfpdError

_FAILED_OUTPUT = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status."""
    _open_streams()
    arguments = parser().parse_args(argv)
    try:
        status = _run(arguments)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        _forget_stdout()
        return DONE
    except KeyboardInterrupt:
        return 130
    except WfpdError as error:
        return _say_error(error, arguments.debug)
    except OSError as error:
        if error.errno not in _FAILED_OUTPUT:
            return _report_fault(error, arguments.debug)
        _forget_stdout()
        return _say_error(ControlError(f"the output cannot be written: {error.strerror}"), arguments.debug)
    except Exception as error:
        return _report_fault(error, arguments.debug)


def _run(arguments: argparse.Namespace) -> int:
    try:
        return int(arguments.command(arguments))
    except Refused as error:
        return say_refusal(error, arguments.json)


def _open_streams() -> None:
    """A stream that the caller has closed leads nowhere, not into the other or into a file that takes its number."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # Names are of any script, and so is the locale.


def _forget_stdout() -> None:
    """The reader is gone: nothing more is written, not even at exit."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say_error(error: WfpdError, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    if isinstance(error, PolicyError):
        for problem in error.problems:
            complain(f"error: {problem}")
    else:
        complain(f"error: {error.message}" + (f"\n  hint: {error.hint}" if error.hint else ""))
    if error.exit_status == FAULT:
        return _report_fault(error, debug)
    return error.exit_status


def _report_fault(error: Exception, debug: bool) -> int:
    text = "".join(traceback.format_exception(error))
    if debug:
        complain(text)
    where = "it could not be written down"
    with contextlib.suppress(OSError):
        handle, path = tempfile.mkstemp(prefix="wfpd-report-", suffix=".txt")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"wfpd {wfpd.__version__}\nPython {sys.version}\n{sys.argv!r}\n\n{text}")
        where = f"the report is in {path}"
    complain(f"wfpd: a fault of wfpd's own ({type(error).__name__}); {where}")
    return FAULT

"""The daemon, as a command asks it: one place that knows the client."""

from __future__ import annotations

import argparse
from typing import Any

from wfpd import client
from wfpd.cli.printing import NO, complain, print_json
from wfpd.client import CallError, InvalidCall, Refused
from wfpd.control.protocol import INVALID_PARAMS
from wfpd.errors import ControlError, UsageError

Client = client.Client
"""What `connect` gives."""


def connect(arguments: argparse.Namespace) -> Client:
    """A connection that has said hello; ControlError if the daemon cannot be reached."""
    return Client(arguments.socket)


def ask(arguments: argparse.Namespace, method: str, **params: object) -> Any:
    """One call on a connection of its own; errors as `call` has them."""
    with connect(arguments) as connection:
        return call(connection, method, **params)


def call(connection: Client, method: str, **params: object) -> Any:
    """The result.  What cannot be meant is status 2, "not allowed" 3, a refusal (Refused), which is said later, 1."""
    try:
        return connection.call(method, **params)
    except Refused:
        raise
    except InvalidCall as error:
        if error.rpc_code != INVALID_PARAMS:
            raise ControlError(f"{method}: {error.message}", hint="the daemon is of another version") from error
        raise UsageError(error.message, hint=error.hint) from error
    except CallError as error:
        raise ControlError(f"{method}: {error.message}") from error


def say_refusal(error: Refused, as_json: bool) -> int:
    """Show why the daemon said no; the exit status."""
    if as_json:
        named = {"wfp_error": error.error} if error.error else {}
        print_json({"successful": False, **error.data, "error": error.message, **named})
        return NO
    for problem in error.problems:
        complain(f"error: {problem}")
    if not error.problems:
        named_code = f" ({error.error})" if error.error and error.error not in error.message else ""
        complain(f"error: {error.message}{named_code}" + (f"\n  hint: {error.hint}" if error.hint else ""))
    return NO

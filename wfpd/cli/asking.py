"""The daemon, as a command asks it: one place that knows the client."""

from __future__ import annotations

import argparse
from typing import Any

from wfpd.cli.printing import NO, complain, print_json
from wfpd.control import client, protocol
from wfpd.control.protocol import RpcError
from wfpd.errors import ControlError


def connect(arguments: argparse.Namespace) -> client.Client:
    """A connection that has said hello; ControlError if the daemon cannot be reached."""
    return client.Client(arguments.socket)


def ask(arguments: argparse.Namespace, method: str, **params: object) -> Any:
    """One call on a connection of its own; errors as `call` has them."""
    with connect(arguments) as connection:
        return call(connection, method, **params)


def call(connection: client.Client, method: str, **params: object) -> Any:
    """The result.  "Not allowed" is status 3; a refusal (RpcError) is said by the program, with status 1."""
    try:
        return connection.call(method, **params)
    except RpcError as error:
        if error.code == protocol.REFUSED:
            raise
        raise ControlError(f"{method}: {error.message}") from error


def say_refusal(error: RpcError, as_json: bool) -> int:
    """Show why the daemon said no; the exit status."""
    data = error.data if isinstance(error.data, dict) else {}
    code = data.get("error", "")
    if as_json:
        named = {"wfp_error": code} if code else {}
        print_json({"successful": False, **data, "error": error.message, **named})
        return NO
    for problem in data.get("problems", ()):
        complain(f"error: {problem}")
    if not data.get("problems"):
        named_code = f" ({code})" if code and code not in error.message else ""
        complain(f"error: {error.message}{named_code}" + (f"\n  hint: {data['hint']}" if data.get("hint") else ""))
    return NO

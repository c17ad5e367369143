"""What a call can fail with.  Who cannot be reached, or does not answer as wfpd does, is a ControlError."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wfpd.control import protocol
from wfpd.errors import WfpdError


class CallError(WfpdError):
    """The daemon's answer to a call is an error."""

    def __init__(self, method: str, rpc_code: int, message: str, data: object = None) -> None:
        """`data` is the error's own, as it came."""
        found: Mapping[str, Any] = data if isinstance(data, dict) else {}
        super().__init__(message, hint=str(found.get("hint") or ""))
        self.method = method
        self.rpc_code = rpc_code
        self.data = found


class Refused(CallError):
    """The answer is no, and the daemon is as it was before."""

    exit_status = 1

    def __init__(self, method: str, rpc_code: int, message: str, data: object = None) -> None:
        super().__init__(method, rpc_code, message, data)
        error, code, problems = (self.data.get(name) for name in ("error", "code", "problems"))
        self.error = error if isinstance(error, str) else ""
        """WFP's name, `FWP_E_IN_USE`; empty where WFP has none."""
        self.code = code if isinstance(code, int) else 0
        """WFP's number of it, 0 where it has none."""
        self.problems = [str(problem) for problem in problems] if isinstance(problems, list) else []
        """Every error of a policy's text."""


class NotAllowed(CallError):
    """This user's role does not reach."""

    exit_status = 3


class InvalidCall(CallError):
    """There is no such method or parameter, or a value cannot be meant."""

    exit_status = 2


class DaemonFault(CallError):
    """A fault of the daemon's; its log says more."""


_BY_CODE: dict[int, type[CallError]] = {
    protocol.REFUSED: Refused,
    protocol.NOT_ALLOWED: NotAllowed,
    protocol.INVALID_REQUEST: InvalidCall,
    protocol.METHOD_NOT_FOUND: InvalidCall,
    protocol.INVALID_PARAMS: InvalidCall,
    protocol.PARSE_ERROR: InvalidCall,
    protocol.INTERNAL_ERROR: DaemonFault,
}


def error_of(method: str, rpc_code: int, message: str, data: object) -> CallError:
    """The exception of an error's code."""
    return _BY_CODE.get(rpc_code, CallError)(method, rpc_code, message, data)

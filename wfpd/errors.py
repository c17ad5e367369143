"""The exception tree: who is at fault, what, where, and what to do about it.

Every error carries a message, the place it speaks of, and a hint; the command line prints all
three.  Builtin exceptions do for programming errors.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class Location:
    """A place in a text file.  `line` and `column` count from 1; 0 means unknown."""

    file: str = ""
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        if not self.file:
            return ""
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding about a policy: an error or a lint.

    `subject` names the object (`filter "dns-out"`), `code` is WFP's name of the error
    (`FWP_E_NOT_FOUND`) where WFP has one.
    """

    message: str
    location: Location = field(default_factory=Location)
    subject: str = ""
    hint: str = ""
    code: str = ""

    def __str__(self) -> str:
        head = ": ".join(part for part in (str(self.location), self.subject, self.message) if part)
        if self.code:
            head = f"{head} ({self.code})"
        return f"{head}\n  hint: {self.hint}" if self.hint else head


SHOWN = 20
"""Findings that a log or a command that is used every day repeats: a policy may have thousands of lints."""


def first_of(findings: Iterable[object]) -> list[str]:
    """The first findings as texts, and where the rest can be read."""
    texts = [str(finding) for finding in findings]
    n_more = len(texts) - SHOWN
    return texts if n_more <= 0 else [*texts[:SHOWN], f"{n_more} more; `wfpd check` shows all of them"]


class WfpdError(Exception):
    """Base of everything wfpd raises on purpose."""

    exit_status = 70

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def told(error: BaseException, at_most: int = 1000) -> str:
    """What a callout raised as a text of at most so many characters, whatever its repr() does; a hint of ours, too."""
    try:
        text = repr(error)[:at_most]
    except Exception:
        return f"{type(error).__name__} (its repr() fails)"
    return f"{text}: {error.hint}" if isinstance(error, WfpdError) and error.hint else text


class UsageError(WfpdError):
    """The command was given something that it cannot mean."""

    exit_status = 2


class PolicyError(WfpdError):
    """The operator's file is wrong.  `problems` holds every error found, in file order."""

    exit_status = 1

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems

    def without_places(self, subject: str | None = None) -> PolicyError:
        """The same of what was no text of the caller's; its `subject`, if it is not what the reader took it for."""
        return PolicyError([
            replace(problem, location=Location(), subject=problem.subject if subject is None else subject)
            for problem in self.problems
        ])  # fmt: skip


class CalloutError(WfpdError):
    """A callout cannot be loaded or misbehaved."""

    exit_status = 1


class CaptureError(WfpdError):
    """A capture file is not what it says or breaks off."""

    exit_status = 1


class ParseError(WfpdError):
    """Bytes are not the packet they claim to be.  `reason` is the stable name of the fault."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"malformed packet: {reason}")
        self.reason = reason


class KernelError(WfpdError):
    """The kernel refused something (queue taken, no capability, no such feature)."""

    exit_status = 3


class ControlError(WfpdError):
    """The control socket cannot be reached, or refused the request."""

    exit_status = 3


_FWP_NAMES = """CALLOUT_NOT_FOUND CONDITION_NOT_FOUND FILTER_NOT_FOUND LAYER_NOT_FOUND PROVIDER_NOT_FOUND
PROVIDER_CONTEXT_NOT_FOUND SUBLAYER_NOT_FOUND NOT_FOUND ALREADY_EXISTS IN_USE DYNAMIC_SESSION_IN_PROGRESS WRONG_SESSION
NO_TXN_IN_PROGRESS TXN_IN_PROGRESS TXN_ABORTED SESSION_ABORTED INCOMPATIBLE_TXN TIMEOUT NET_EVENTS_DISABLED
INCOMPATIBLE_LAYER KM_CLIENTS_ONLY LIFETIME_MISMATCH BUILTIN_OBJECT TOO_MANY_CALLOUTS NOTIFICATION_DROPPED
TRAFFIC_MISMATCH INCOMPATIBLE_SA_STATE NULL_POINTER INVALID_ENUMERATOR INVALID_FLAGS INVALID_NET_MASK INVALID_RANGE
INVALID_INTERVAL ZERO_LENGTH_ARRAY NULL_DISPLAY_NAME INVALID_ACTION_TYPE INVALID_WEIGHT MATCH_TYPE_MISMATCH
TYPE_MISMATCH OUT_OF_BOUNDS RESERVED DUPLICATE_CONDITION DUPLICATE_KEYMOD ACTION_INCOMPATIBLE_WITH_LAYER
ACTION_INCOMPATIBLE_WITH_SUBLAYER CONTEXT_INCOMPATIBLE_WITH_LAYER CONTEXT_INCOMPATIBLE_WITH_CALLOUT
INCOMPATIBLE_AUTH_METHOD INCOMPATIBLE_DH_GROUP EM_NOT_SUPPORTED NEVER_MATCH PROVIDER_CONTEXT_MISMATCH INVALID_PARAMETER
TOO_MANY_SUBLAYERS CALLOUT_NOTIFICATION_FAILED INVALID_AUTH_TRANSFORM INVALID_CIPHER_TRANSFORM"""

FWP_E = {f"FWP_E_{name}": 0x80320001 + index for index, name in enumerate(_FWP_NAMES.split())}
"""WFP's error codes by name ("WFP Error Codes"; winerror.h facility 0x32)."""

STATUS_FWP = {"STATUS_FWP_CANNOT_PEND": 0xC0220103}
"""Those that callouts alone meet, as in ntstatus.h."""


class FwpError(ControlError):
    """The filtering engine refuses.  `code` is WFP's name of the reason, one of FWP_E or STATUS_FWP."""

    exit_status = 1

    def __init__(self, code: str, message: str, *, hint: str = "") -> None:
        super().__init__(f"{message} ({code})", hint=hint)
        self.code = code
        self.number = FWP_E[code] if code in FWP_E else STATUS_FWP[code]
        """As in winerror.h, 0x80320001 and up, or ntstatus.h."""


class ActionRefused(WfpdError):
    """A callout asked for what cannot be done with this packet."""

    exit_status = 1

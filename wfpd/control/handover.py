"""A compiled policy as one block of bytes, from the compiling child to the daemon.

Layout: u64 length of the header (little-endian), the header (JSON), zeros up to a multiple of 4096,
then the packed tables (`compiler/format.py`).  Data only: no pickle.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import uuid
from collections.abc import Mapping
from typing import Any

from wfpd.errors import Location, PolicyError, Problem, WfpdError
from wfpd.model import policy as model
from wfpd.model.policy import FilterFlag, Policy
from wfpd.model.rows import rows_of

PAGE = 4096
_PARTS = ("sublayers", "callouts", "providers", "provider_contexts", "attach")
_CLASSES: dict[str, Any] = {
    "sublayers": model.Sublayer, "callouts": model.Callout, "providers": model.Provider,
    "provider_contexts": model.ProviderContext, "attach": model.Attachment,
}  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class Compiled:
    """A policy ready to be published."""

    policy: Policy
    """Without its filters and sets: those are in `packed`."""
    packed: memoryview
    """The tables, read-only, aligned to a page."""
    slots: frozenset[int]
    """Slots of layers that have filters."""
    metric_filters: tuple[str, ...] = ()
    """Names of filters with `metrics: true`, in reading order, each once."""
    n_filters: int = 0
    """Engine filters."""


def encode(policy: Policy, packed: bytes) -> bytes:
    """An accepted policy."""
    rows = rows_of(policy)
    header: dict[str, object] = {part: [_plain(item) for item in getattr(policy, part)] for part in _PARTS}
    header |= {"ok": True, "daemon": _plain(policy.daemon), "faults": _plain(policy.faults), "files": policy.files,
               "hash": policy.hash, "lints": [_plain(lint) for lint in policy.lints],
               "slots": sorted(rows.slots()), "metric_filters": rows.names_with(FilterFlag.METRICS),
               "n_filters": len(rows)}  # fmt: skip
    return _block(header) + packed


def encode_error(error: WfpdError) -> bytes:
    """A refused policy."""
    problems = error.problems if isinstance(error, PolicyError) else [Problem(error.message, hint=error.hint)]
    return _block({"ok": False, "problems": [_plain(problem) for problem in problems]})


def decode(block: memoryview) -> Compiled:
    """What `encode` wrote.  PolicyError if the policy was refused; ValueError if it is no such block."""
    if len(block) < 8:
        raise ValueError("the compiled policy is cut short")
    length = int.from_bytes(block[:8], "little")
    if length > len(block) - 8:
        raise ValueError("the compiled policy is cut short")
    try:
        header = json.loads(bytes(block[8 : 8 + length]))
        if not header["ok"]:
            raise PolicyError([_problem(problem) for problem in header["problems"]])
        policy = _policy(header)
        slots, names = frozenset(header["slots"]), tuple(header["metric_filters"])
        return Compiled(policy, block[_padded(8 + length) :], slots, names, header["n_filters"])
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"the compiled policy is damaged: {error}") from error


def _block(header: Mapping[str, object]) -> bytes:
    text = json.dumps(header, default=str).encode("ascii")
    block = len(text).to_bytes(8, "little") + text
    return block.ljust(_padded(len(block)), b"\0")


def _padded(size: int) -> int:
    return -(-size // PAGE) * PAGE


def _plain(value: Any) -> Any:
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, enum.Enum):
        return value.value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _policy(header: Mapping[str, Any]) -> Policy:
    parts = {part: tuple(_object(_CLASSES[part], item) for item in header[part]) for part in _PARTS}
    return Policy(
        **parts,
        daemon=_object(model.DaemonSettings, header["daemon"]),
        faults=_object(model.Faults, header["faults"]),
        files=tuple(header["files"]),
        hash=header["hash"],
        lints=tuple(_problem(lint) for lint in header["lints"]),
    )


_WORDS = frozenset({"flows_full", "on_absent", "on_full", "on_late", "on_error", "on_malformed"})
_FREE = frozenset({"options", "data"})
"""Members that keep the file's own shape."""


def _object(kind: Any, values: Mapping[str, Any]) -> Any:
    """A dataclass of the model from its plain form; the inverse of _plain for the classes used here."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if name == "key":
            value = uuid.UUID(value)
        elif name == "location":
            value = Location(**value)
        elif name == "budget" and value is not None:
            value = model.Budget(**value)
        elif name in _WORDS:
            value = model.Word(value)
        elif isinstance(value, list) and name not in _FREE:
            value = tuple(value)
        found[name] = value
    return kind(**found)


def _problem(values: Mapping[str, Any]) -> Problem:
    return Problem(**{**values, "location": Location(**values["location"])})

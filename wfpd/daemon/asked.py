"""The control socket's `explain`: a described packet through the tables and the host in use.

Nothing of the packet path is touched: the snapshot is immutable, and the packet gets a flow table of its
own, in which it is the first of its flow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from wfpd.control.protocol import INVALID_PARAMS, REFUSED, RpcError
from wfpd.dataplane import Engine, Host
from wfpd.errors import UsageError
from wfpd.explaining import KINDS, NEAR, Explainer
from wfpd.imagined import imagine
from wfpd.model.policy import Policy
from wfpd.observe.explain import MOST_NEAR, Document

MOST_TEXT = 256
"""Characters of a text parameter."""
MOST_ANSWERS = 256
_TEXTS = ("hook", "protocol", "source", "destination", "flags", "icmp", "interface")
_NUMBERS = {"payload": 1400, "mark": 2**32 - 1, "near": MOST_NEAR}
_HOOKS = ("input", "output", "forward")
PARAMETERS = frozenset((*_TEXTS, *_NUMBERS, "answers"))


class Running(Protocol):
    """What is asked of the daemon."""

    policy: Policy
    engine: Engine
    host: Host | None

    def interface_index(self, name: str) -> int:
        """0 where there is no such interface."""


def explain_live(daemon: Running, parameters: Mapping[str, Any]) -> Document:
    """The document of `wfpd explain`.  RpcError says which parameter is wrong."""
    given = _checked(parameters)
    snapshot = daemon.engine.snapshot
    if snapshot is None:
        raise RpcError(REFUSED, "no policy runs")
    try:
        packet = imagine(given["protocol"], given["source"], given["destination"], flags=given.get("flags"),
                         icmp=given.get("icmp"), payload=given.get("payload", 0)).packet()  # fmt: skip
        explainer = Explainer(daemon.policy, hook=given["hook"], answers=given.get("answers"), snapshot=snapshot,
                              host=daemon.host)  # fmt: skip
    except UsageError as error:
        raise RpcError(INVALID_PARAMS, error.message, {"hint": error.hint} if error.hint else None) from error
    index = daemon.interface_index(given["interface"]) if "interface" in given else 0
    if "interface" in given and not index:
        raise RpcError(INVALID_PARAMS, f"there is no interface {given['interface']!r}")
    return explainer.explain(packet, near=given.get("near", NEAR), mark=given.get("mark"), interface=index)


def _checked(parameters: Mapping[str, Any]) -> dict[str, Any]:
    for name in ("hook", "protocol", "source", "destination"):
        if name not in parameters:
            raise RpcError(INVALID_PARAMS, f"{name} is missing")
    for name, value in parameters.items():
        if name in _TEXTS and not (isinstance(value, str) and len(value) <= MOST_TEXT):
            raise RpcError(INVALID_PARAMS, f"{name} is a text of at most {MOST_TEXT} characters")
        if name in _NUMBERS and not (type(value) is int and 0 <= value <= _NUMBERS[name]):
            raise RpcError(INVALID_PARAMS, f"{name} is a number from 0 to {_NUMBERS[name]}")
    if parameters["hook"] not in _HOOKS:
        raise RpcError(INVALID_PARAMS, f"hook is one of {', '.join(_HOOKS)}")
    answers = parameters.get("answers", {})
    if not isinstance(answers, dict) or len(answers) > MOST_ANSWERS or any(k not in KINDS for k in answers.values()):
        raise RpcError(INVALID_PARAMS, "answers is an object: a callout's name to permit, block or continue")
    return dict(parameters)

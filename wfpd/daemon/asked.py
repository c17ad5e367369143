"""The control socket's `explain`: a described packet, or one of a capture, through the tables and the host in use.

Nothing of the packet path is touched: the snapshot is immutable, and the packet gets a flow table of its
own, in which it is the first of its flow.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Protocol

from wfpd.capture import LINK_RAW, CapturedPacket
from wfpd.control.protocol import INVALID_PARAMS, REFUSED, RpcError
from wfpd.dataplane import Engine, Host
from wfpd.errors import UsageError
from wfpd.explaining import KINDS, MOST_DATA, NEAR, Explainer
from wfpd.imagined import imagine
from wfpd.model.policy import Policy
from wfpd.observe.explain import MOST_NEAR, Document

MOST_TEXT = 256
"""Characters of a text parameter."""
MOST_ANSWERS = 256
_HEX = re.compile("(?:[0-9a-f]{2})+")
_NEEDED = ("protocol", "source", "destination")
_DESCRIBING = (*_NEEDED, "flags", "icmp", "payload")
_TEXTS = ("hook", *_NEEDED, "flags", "icmp", "interface")
_NUMBERS = {"payload": 1400, "mark": 2**32 - 1, "near": MOST_NEAR, "length": 2**32 - 1}
_HOOKS = ("input", "output", "forward")
PARAMETERS = frozenset((*_TEXTS, *_NUMBERS, "data", "answers"))


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
        explainer = Explainer(daemon.policy, hook=given["hook"], answers=given.get("answers"), snapshot=snapshot,
                              host=daemon.host)  # fmt: skip
        packet = _captured(given) if "data" in given else _described(given)
    except UsageError as error:
        raise RpcError(INVALID_PARAMS, error.message, {"hint": error.hint} if error.hint else None) from error
    index = daemon.interface_index(given["interface"]) if "interface" in given else 0
    if "interface" in given and not index:
        raise RpcError(INVALID_PARAMS, f"there is no interface {given['interface']!r}")
    return explainer.explain(packet, near=given.get("near", NEAR), mark=given.get("mark"), interface=index)


def _described(given: Mapping[str, Any]) -> CapturedPacket:
    return imagine(given["protocol"], given["source"], given["destination"], flags=given.get("flags"),
                   icmp=given.get("icmp"), payload=given.get("payload", 0)).packet()  # fmt: skip


def _captured(given: Mapping[str, Any]) -> CapturedPacket:
    """The packet whose bytes are given, from its IP header on; `length`: what it had before it was cut."""
    text = given["data"]
    if not isinstance(text, str) or not _HEX.fullmatch(text) or len(text) > 2 * MOST_DATA:
        raise RpcError(INVALID_PARAMS, f"data is a packet from its IP header on, 1 to {MOST_DATA} bytes in hexadecimal")
    data = bytes.fromhex(text)
    return CapturedPacket(1, 0, data, max(given.get("length", 0), len(data)), True, None, LINK_RAW[-1])


def _checked(parameters: Mapping[str, Any]) -> dict[str, Any]:
    for name in ("hook",) if "data" in parameters else ("hook", *_NEEDED):
        if name not in parameters:
            raise RpcError(INVALID_PARAMS, f"{name} is missing")
    if "data" in parameters and (more := [name for name in _DESCRIBING if name in parameters]):
        raise RpcError(INVALID_PARAMS, f"{more[0]} describes a packet, and data has one")
    if "length" in parameters and "data" not in parameters:
        raise RpcError(INVALID_PARAMS, "length is that of data")
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

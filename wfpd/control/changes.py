"""Filters added and removed over the control socket, beside the policy of the file."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from wfpd.compiler.pack import pack
from wfpd.config import load_change
from wfpd.control.protocol import INVALID_PARAMS, RpcError
from wfpd.model.layers import slot_name

MAX_KEYS = 1000
"""Of one removal; a request line holds no more."""

Change = Callable[[bytes | None, Iterable[bytes]], int]
"""Adds the filters of a packed policy and removes those of the keys; the new generation."""


class Changes:
    """The methods `filters.add` and `filters.delete`."""

    def __init__(self, change: Change) -> None:
        self._change = change

    def add(self, parameters: Mapping[str, Any], _peer: object = None) -> dict[str, Any]:
        """Add what `policy`, a part of a policy file's text, says.  PolicyError with every error in it."""
        text = parameters.get("policy")
        if not isinstance(text, str):
            raise RpcError(INVALID_PARAMS, "policy is a text")
        policy = load_change(text)
        generation = self._change(pack(policy), ())
        added = [{"name": item.name, "layer": slot_name(item.slot), "key": str(item.key)} for item in policy.filters]
        return {"generation": generation, "filters": added}

    def delete(self, parameters: Mapping[str, Any], _peer: object = None) -> dict[str, Any]:
        """Remove the filters of these `keys`, all of them or none.  ControlError if one is not there."""
        keys = parameters.get("keys")
        if not isinstance(keys, list) or not 0 < len(keys) <= MAX_KEYS:
            raise RpcError(INVALID_PARAMS, f"keys is a list of 1 to {MAX_KEYS}")
        found = []
        for key in keys:
            try:
                found.append(uuid.UUID(key).bytes)
            except (ValueError, AttributeError, TypeError):
                raise RpcError(INVALID_PARAMS, f"{str(key)[:64]!r} is no key: a filter's GUID") from None
        return {"generation": self._change(None, found), "deleted": len(dict.fromkeys(found))}

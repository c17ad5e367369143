"""One callout as it is registered: its instance, and what its class says of itself."""

from __future__ import annotations

import inspect
import itertools
import logging
import re
from collections.abc import Callable, Mapping
from typing import Any

from wfpd.callouts.waiting import Waiting
from wfpd.model.layers import LAYER
from wfpd.model.policy import Callout

logger = logging.getLogger("wfpd.callouts")
_numbers = itertools.count(1)


def _flag(instance: object, name: str, default: bool) -> bool:
    return bool(getattr(instance, name, default))


def _pended(instance: Any) -> Callable[[Any, Any], object] | None:
    """The method of a compiled callout that takes packets that wait; TypeError for a class that cannot be honoured."""
    name = type(instance).__name__
    found: Callable[[Any, Any], object] | None = getattr(instance, "pended", None)
    if found is None and getattr(instance, "parks", False) and getattr(instance, "classify", None) is None:
        raise TypeError(f"{name} is compiled and parks, and has no method pended(c, handle) or classify(c)")
    if found is not None and not callable(found):
        raise TypeError(f"{name}.pended is not callable")
    if inspect.iscoroutinefunction(found):
        raise TypeError(f"{name}.pended is a coroutine: it is called, and not awaited")
    return found


class Registered:
    """A callout that the engine may call.

    Tables, contexts and sessions hold it as long as packets may reach it; when the last of them lets go, the
    instance is closed.
    """

    __slots__ = (
        "__weakref__", "_closed", "budget", "classify", "conditional_on_flow", "flow_delete", "injects",
        "injects_at_most", "instance", "is_async", "key", "layers", "modifies", "name", "native", "needs_payload",
        "notify", "number", "options", "over", "parks", "pended", "sees_injected", "stream_mode", "use", "watch",
    )  # fmt: skip

    def __init__(self, callout: Callout, instance: Any, number: int = 0) -> None:
        """`number` is that of the registration whose flow contexts this one takes over.

        Raises TypeError where the instance has nothing to call.
        """
        self._closed = True
        self.instance = instance
        self.name, self.key, self.use = callout.name, callout.key, callout.use
        self.options: Mapping[str, object] = callout.options
        self.number = number or next(_numbers)
        """Its flow contexts are filed under it."""
        self.over = bytearray(1)
        """Not 0: it is on its way out, and no other callout finds it by its name.  Tables keep the byte's address."""
        self.budget = callout.budget
        self.watch: object = None
        """Its counts and suspension, once tables were built with it."""
        self.is_async = False
        """Its classify is a coroutine."""
        self.native = getattr(instance, "native", None)
        self.classify: Callable[[Any], object] | None = getattr(instance, "classify", None)
        self.notify: Callable[[Any], object] | None = getattr(instance, "notify", None)
        self.flow_delete: Callable[[Any], object] | None = getattr(instance, "flow_delete", None)
        self.pended = None if self.native is None else _pended(instance)
        """What a compiled callout's packets that wait are given to, with their handles."""
        if self.native is None and self.classify is None:
            raise TypeError(f"{type(instance).__name__} has neither classify nor native")
        for name in ("classify", "notify", "flow_delete"):
            if getattr(self, name) is not None and not callable(getattr(self, name)):
                raise TypeError(f"{type(instance).__name__}.{name} is not callable")
        if self.classify is not None and inspect.iscoroutinefunction(self.classify):
            self.is_async, self.classify = True, Waiting(self.name, self.classify)
        layers = getattr(instance, "layers", ())
        if isinstance(layers, str) or not all(isinstance(layer, str) for layer in layers):
            raise TypeError(f"{type(instance).__name__}.layers is a sequence of layer names")
        self.layers: tuple[str, ...] = tuple(layers)
        if unknown := [layer for layer in self.layers if re.sub("_v[46]", "", layer) not in LAYER]:
            raise TypeError(f"{type(instance).__name__}.layers: there is no layer {unknown[0]!r} here")
        """Names with or without the family; empty: any layer."""
        self.parks = _flag(instance, "parks", False) or self.is_async
        self.stream_mode: object = getattr(instance, "stream_mode", "hold")
        """Whether packets wait for what it decides of a stream: hold, or pass."""
        if self.stream_mode not in ("hold", "pass"):
            raise TypeError(f"{type(instance).__name__}.stream_mode is {self.stream_mode!r}: hold or pass")
        self.needs_payload = _flag(instance, "needs_payload", True)
        self.conditional_on_flow = _flag(instance, "conditional_on_flow", False)
        self.modifies = _flag(instance, "modifies", False)
        self.injects = _flag(instance, "injects", False)
        """It may inject packets."""
        self.sees_injected = _flag(instance, "sees_injected", False)
        """It is called for packets that it has injected itself, too."""
        self.injects_at_most = getattr(instance, "injects_at_most", 8)
        """Times that a packet is injected before it is blocked."""
        if type(self.injects_at_most) is not int or not 1 <= self.injects_at_most <= 255:
            raise TypeError(f"{type(instance).__name__}.injects_at_most is a number from 1 to 255")
        if self.injects and self.classify is None and self.pended is None:
            other = "" if self.native is None else ", or a method pended(c, handle)"
            raise TypeError(f"{type(instance).__name__}.injects needs a classify{other}")
        self._closed = False

    def __call__(self, c: Any) -> None:
        assert self.classify is not None
        self.classify(c)

    def __repr__(self) -> str:
        return f"<callout {self.name}: {self.use}>"

    def is_same(self, callout: Callout) -> bool:
        """Whether a callout of a policy is this one, so that its instance and state may stay."""
        return (self.key, self.use, dict(self.options)) == (callout.key, callout.use, dict(callout.options))

    def serves(self, layer: str) -> bool:
        """Whether its class applies to a layer, given with its family."""
        return not self.layers or layer in self.layers or re.sub("_v[46]", "", layer) in self.layers

    def close(self) -> None:
        """Let the instance go; once, whoever asks."""
        try:
            self.end()
        except Exception:
            logger.exception("callout %s: close() failed", self.name)

    def end(self) -> None:
        """As close(), but what the instance raises is the caller's."""
        if getattr(self, "_closed", True):  # A constructor that failed has not come so far.
            return
        self._closed = True
        close = getattr(self.instance, "close", None)
        if callable(close):
            close()

    def __del__(self) -> None:
        self.close()

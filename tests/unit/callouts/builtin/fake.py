"""A context as the packet path gives it to classify(), for callouts asked one by one."""

from __future__ import annotations

from typing import Any


class FakeContext:
    """Keeps the answer as (word, keyword arguments that are not the default), and what was written."""

    def __init__(self, packet: bytes = b"", *, layer: str = "ipforward_v4", now_ns: int = 0, **members: Any) -> None:
        self.packet = memoryview(packet)
        self.layer, self.now_ns, self.filter = layer, now_ns, "one"
        self.values: dict[str, Any] = {}
        self.stream_flags: frozenset[str] = frozenset()
        self.flow_context: Any = None
        self.answer: tuple[str, dict[str, Any]] | None = None
        self.written: list[tuple[int, bytes]] = []
        self.stream_flags: set[str] = set()
        self.asked: list[tuple[str, int]] = []
        self.__dict__.update(members)

    def _said(self, word: str, **given: Any) -> None:
        self.answer = word, {name: value for name, value in given.items() if value}

    def permit(self, *, clear_right: bool = False) -> None:
        self._said("permit", clear_right=clear_right)

    def continue_(self, *, clear_right: bool = False) -> None:
        self._said("continue", clear_right=clear_right)

    def block(self, *, clear_right: bool = False, absorb: bool = False, reply: str | None = None) -> None:
        self._said("block", clear_right=clear_right, absorb=absorb, reply=reply)

    def write(self, offset: int, data: bytes) -> None:
        self.written.append((offset, data))

    def set_flow_context(self, layer: str, value: Any) -> None:
        self.flow_context = value

    def allow_connection(self) -> None:
        self._said("allow_connection")

    def drop_connection(self) -> None:
        self._said("drop_connection")

    def need_more(self, n: int) -> None:
        assert "NO_MORE_DATA" not in self.stream_flags
        self.answer = "need_more", {"n": n}

    def enforce(self, n: int) -> None:
        self.asked.append(("enforce", n))


def answer(callout: Any, context: FakeContext) -> Any:
    """The word of a callout's answer, with its arguments if there are any."""
    callout.classify(context)
    if context.answer is None:
        return None
    word, given = context.answer
    return (word, given) if given else word

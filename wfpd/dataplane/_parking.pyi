from typing import Any

class Parking:
    @property
    def joined(self) -> dict[bytes, ParkedPacket]: ...
    def counters(self) -> dict[str, int]: ...

class ParkedPacket:
    queue: int
    id: int
    epoch: int
    packet: bytes | None
    asked: list[int | None] | None
    given: list[tuple[str, bool]] | None
    @property
    def waits(self) -> bool: ...
    def complete(
        self, verdict: str | None = None, *, reply: str | None = None, clear_right: bool = False,
        absorb: bool = False, reset_both: bool | None = None, packet: Any = None,
    ) -> bool: ...  # fmt: skip
    def fail(self, word: str) -> bool: ...

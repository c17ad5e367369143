from typing import Any

def read_datagram(data: bytes | bytearray | memoryview, *, cut: bool = False) -> list[dict[str, Any]]: ...
def plan_verdicts(
    outcomes: list[tuple[int, int, int | None, bool]],
    *,
    queue: int = 0,
    decided_through: int | None = None,
    unseen_verdict: int = 1,
) -> tuple[bytes, int, int]: ...

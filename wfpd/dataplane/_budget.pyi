from collections.abc import Iterable
from typing import Any

class Watch:
    def counters(self) -> dict[str, Any]: ...

def drive(budget: object, calls: Iterable[tuple[int, int]]) -> list[Any]: ...

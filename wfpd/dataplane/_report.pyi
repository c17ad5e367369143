from typing import Any

HOOKS: tuple[str, ...]

class CalloutFailures:
    def __call__(self, name: str, error: BaseException) -> None: ...

def add_counts(total: dict[str, Any], more: dict[str, Any]) -> None: ...

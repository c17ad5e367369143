from typing import Any

from wfpd.errors import KernelError

def configure_queue(
    fd: int, queue: int, *, length: int, copy_bytes: int, fail_open: bool, error_verdict: int
) -> dict[str, Any]: ...
def queue_error(queue: int, error: int, doing: str) -> KernelError: ...

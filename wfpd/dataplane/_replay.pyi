from collections.abc import Callable
from typing import Any

from wfpd.dataplane._context import ClassifyContext
from wfpd.dataplane._flow import Flows
from wfpd.dataplane._host import Host
from wfpd.dataplane._parking import ParkedPacket
from wfpd.dataplane._table import Snapshot

HOOKS: dict[str, int]

class Replayer:
    snapshot: Snapshot
    flows: Flows | None
    context: ClassifyContext
    def __init__(
        self,
        snapshot: Snapshot,
        flows: Flows | None = None,
        host: Host | None = None,
        *,
        checksums: bool = False,
        late_after: float = 0.5,
        live: bool = False,
    ) -> None: ...
    def visit(
        self,
        data: bytes,
        hook: str,
        now_ns: int,
        *,
        original: int = -1,
        interface_name: bytes | None = None,
        loopback: bool = False,
        mark: int | None = None,
        in_interface: int = 0,
        out_interface: int = 0,
        capture_interface: int = 0,
        answers: Callable[[int], tuple[str, bool]] | None = None,
        near: int = -1,
        room: int = 0,
        resume: ParkedPacket | None = None,
    ) -> dict[str, Any]: ...
    def expire(self, parked: ParkedPacket) -> None: ...

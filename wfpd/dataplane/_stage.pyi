from typing import Any

from wfpd.dataplane._flow import Flows
from wfpd.dataplane._host import Host
from wfpd.dataplane._replay import Replayer
from wfpd.dataplane._table import Snapshot

HOOKS: tuple[str, ...]

class Stage:
    replayer: Replayer
    def __init__(
        self,
        snapshot: Snapshot,
        flows: Flows,
        *,
        workers: int,
        slots: int = 8192,
        sample: int = 1,
        rows: int = 512,
        answers: dict[int, str] | None = None,
    ) -> None: ...
    @property
    def n_differences(self) -> int: ...
    def turn(self, host: Host | None = None, *, limit: int = 65536) -> int: ...
    def totals(self) -> dict[str, Any]: ...
    def not_decided(self) -> dict[str, int]: ...
    def difference(self, number: int) -> dict[str, Any]: ...
    def put(
        self,
        data: bytes,
        hook: str,
        now_ns: int,
        *,
        verdict: str,
        ring: int = 0,
        generation: int = 1,
        filter: int | None = None,
        slot: int | None = None,
        reason: str = "filter",
        would_block: bool = False,
        original: int | None = None,
        mark: int | None = None,
        in_interface: int = 0,
        out_interface: int = 0,
    ) -> None: ...

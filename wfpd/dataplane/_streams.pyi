from typing import final

@final
class Streams:
    def __init__(
        self,
        maximum: int = 65536,
        *,
        memory: int = 268435456,
        history: int = 4096,
        window: int = 524288,
        pending: int = 8388608,
    ) -> None: ...
    def __len__(self) -> int: ...
    def counters(self) -> dict[str, int]: ...
    def resume(self, flow_id: int, outbound: bool) -> bool: ...

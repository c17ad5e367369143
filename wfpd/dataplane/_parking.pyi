class Parking:
    def counters(self) -> dict[str, int]: ...

class ParkedPacket:
    queue: int
    id: int
    epoch: int
    def complete(self, verdict: str, *, reply: str | None = None) -> bool: ...

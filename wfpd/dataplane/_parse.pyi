"""Bytes to PacketView; these doors are for tests and cold code."""

PARSE_STATUS_NAMES: tuple[str, ...]
VERIFY_CHECKSUMS: int
FIRST_STATUS_ABOVE_IP: int

def parse_status_name(status: int) -> str: ...
def parse_of(data: bytes, original: int = -1, flags: int = 0) -> dict[str, int]: ...

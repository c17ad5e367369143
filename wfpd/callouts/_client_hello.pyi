"""Typed surface of `_client_hello.pyx`."""

def read_client_hello(
    stream: bytes | bytearray | memoryview, most: int = 16384
) -> tuple[str, bytes | None, bool, int]: ...

from collections.abc import Iterable

from wfpd.dataplane._root import Added, Root

def merge(
    root: Root | None, added: Iterable[Added], dynamic_only: bool = False
) -> tuple[memoryview, bytes, list[bytes]]: ...

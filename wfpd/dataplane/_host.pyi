from collections.abc import Iterable

class Host:
    def __init__(
        self,
        interfaces: Iterable[tuple[int, bytes, int, bool, int]] = (),
        broadcast4: Iterable[int] = (),
        anycast6: Iterable[int] = (),
        listening: Iterable[int] = (),
        compartment: int = 0,
    ) -> None: ...
    def address_type(self, family: int, address: int) -> int: ...

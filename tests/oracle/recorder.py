"""What a recorder's ring of blocks holds, slow and obvious: one list, newest last."""

from __future__ import annotations

SECOND = 1_000_000_000


class Blocks:
    """Equal blocks are one record while it is among the last `room` and its last packet at most 10 s old."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.written: list[list[int]] = []
        """[number, first, last, count]"""

    def block(self, number: int, now: int) -> None:
        """A block of the packet that `number` names."""
        same = [record for record in self.written[-self.room :] if record[0] == number]
        if same and now - same[-1][2] <= 10 * SECOND:
            same[-1][2] = now
            same[-1][3] += 1
        else:
            self.written.append([number, now, now, 1])

    def kept(self) -> list[tuple[int, ...]]:
        """(number, first, last, count) of what is still there, in no order that means anything."""
        return sorted(tuple(record) for record in self.written[-self.room :])

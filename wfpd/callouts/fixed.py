"""A callout that always answers the same: for tests, demonstrations and first steps."""

from __future__ import annotations

import time
from typing import Any

ANSWERS = ("permit", "block", "continue", "none", "raise", "sleep")


class Fixed:
    """Answers `answer` to every packet.

    `none` does not answer at all, `raise` fails, `sleep` waits for `seconds` and then does not
    answer.  `clear_right` makes a permit or block hard.
    """

    def __init__(self, answer: str = "continue", clear_right: bool | str = False, seconds: float | str = 0) -> None:
        if answer not in ANSWERS:
            raise ValueError(f"answer: {answer!r} is none of {', '.join(ANSWERS)}")
        self.answer = answer
        self.clear_right = _boolean(clear_right)
        self.seconds = float(seconds)

    def classify(self, c: Any) -> None:
        """Give the fixed answer."""
        if self.answer == "permit":
            c.permit(clear_right=self.clear_right)
        elif self.answer == "block":
            c.block(clear_right=self.clear_right)
        elif self.answer == "continue":
            c.continue_(clear_right=self.clear_right)
        elif self.answer == "raise":
            raise RuntimeError("this callout was told to fail")
        elif self.answer == "sleep":
            time.sleep(self.seconds)


def _boolean(value: bool | str) -> bool:
    """Options reach a callout as the file spells them."""
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return value == "true"
    raise ValueError(f"clear_right: {value!r} is neither true nor false")

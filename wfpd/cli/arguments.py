"""What arguments are read as: times, counts."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable


def seconds(text: str) -> float:
    """`60s`, `5m`, `1h`, `500ms` or plain seconds."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)?", text)
    value = float(match[1]) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[match[2] or "s"] if match else 0.0
    if not 0 < value <= 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 60s or 5m, at most 24h")
    return value


def count(text: str) -> int:
    """A number, 1 or more."""
    if not re.fullmatch("[1-9][0-9]{0,8}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


def up_to(most: int) -> Callable[[str], int]:
    """Reads a number from 1 to `most`."""

    def read(text: str) -> int:
        value = count(text)
        if value > most:
            raise argparse.ArgumentTypeError(f"{text!r} is more than {most}")
        return value

    return read


def port(text: str) -> int:
    """A port number."""
    if not re.fullmatch("[0-9]{1,5}", text) or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port, 0-65535")
    return int(text)

"""What arguments are read as: times, counts."""

from __future__ import annotations

import argparse
import ipaddress
import re
from collections.abc import Callable
from typing import Any


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


def target(text: str) -> dict[str, Any]:
    """`address` and `port` of ADDRESS[:PORT], [V6]:PORT, a prefix or :PORT."""
    found: dict[str, Any] = {}
    match = re.fullmatch(r"\[(.*)\](?::([0-9]+))?|([^:]*):([0-9]+)", text)
    address, number = (match[1] or match[3], match[2] or match[4]) if match else (text, None)
    if number is not None:
        found["port"] = port(number)
    if address or number is None:
        try:
            ipaddress.ip_network(address, strict=False)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no address, prefix, ADDRESS:PORT or :PORT") from None
        found["address"] = address
    return found

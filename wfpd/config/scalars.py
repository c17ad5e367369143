"""Readers of single values: integers, addresses, durations, names.  Text in, value or BadValue out."""

from __future__ import annotations

import re
import uuid
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton

_INTEGER = re.compile(r"(?:0|[1-9][0-9]{0,19}|0x[0-9a-fA-F]{1,16})", re.ASCII)
_DURATION = re.compile(r"(0|[1-9][0-9]{0,8})(us|ms|s|m|h)", re.ASCII)
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_GUID = re.compile(r"\{?([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})\}?", re.ASCII)
_LENGTH = re.compile(r"(?:0|[1-9][0-9]{0,2})", re.ASCII)
MAX_U64 = (1 << 64) - 1


class BadValue(Exception):
    """A text is not the value it should be."""

    def __init__(self, message: str, hint: str = "", code: str = "FWP_E_TYPE_MISMATCH") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.code = code


def is_integer(text: str) -> bool:
    """Whether the text is written as an integer: decimal or 0x."""
    return _INTEGER.fullmatch(text) is not None


def integer(text: str, high: int = MAX_U64, low: int = 0, *, may_be_range: bool = False) -> int:
    """Decimal or 0x; no leading zero, underscore, sign or exponent.

    `may_be_range`: a range may stand here too, which the hint of a large number names.
    """
    if _INTEGER.fullmatch(text) is None:
        raise BadValue(*_not_integer(text, high))
    value = int(text, 0)
    if not low <= value <= high:
        hint = 'a range is written "5300-5310"' if may_be_range and high == 65535 else ""
        raise BadValue(f"{text} is outside {low}-{high}", hint, "FWP_E_OUT_OF_BOUNDS")
    return value


def _not_integer(text: str, high: int) -> tuple[str, str, str]:
    quoted = _quote(text)
    if re.fullmatch(r"[0-9]{21,}|0x[0-9a-fA-F]{17,}", text):
        return f"{quoted} is outside 0-{high}", "", "FWP_E_OUT_OF_BOUNDS"
    if re.fullmatch(r"-[0-9]+", text, re.ASCII):
        return f"{quoted} is outside 0-{high}: integers have no sign", "", "FWP_E_OUT_OF_BOUNDS"
    hint = "decimal or 0x; no leading zero, underscore, sign or exponent"
    return f"{quoted} is not an integer", hint if text[:1].isdigit() or text[:1] in "+-" else "", "FWP_E_TYPE_MISMATCH"


def _quote(text: str) -> str:
    from wfpd.config.report import shown

    return shown(text)


def integer_range(text: str) -> tuple[str, str] | None:
    """The ends of `a-b`, or None where the text is no range of integers."""
    low, dash, high = text.partition("-")
    if dash and low and _INTEGER.fullmatch(low) and _INTEGER.fullmatch(high):
        return low, high
    return None


def ordered(low: int, high: int, text: str) -> tuple[int, int]:
    """The ends, checked."""
    if low > high:
        raise BadValue(f"{text}: the range's low end is above its high end", "", "FWP_E_INVALID_RANGE")
    return low, high


def address(text: str) -> tuple[int, int]:
    """Family (4 or 6) and the number of one address."""
    try:
        if ":" in text:
            return 6, int.from_bytes(inet_pton(AF_INET6, text), "big")
        return 4, int.from_bytes(inet_pton(AF_INET, text), "big")
    except (OSError, ValueError):
        pass
    if "%" in text:
        raise BadValue(
            f"{_quote(text)} has a zone id, which addresses of packets do not have",
            "leave out %... and name the interface in a condition of its own",
        )
    raise BadValue(f"{_quote(text)} is not an address", _address_hint(text))


def _address_hint(text: str) -> str:
    if text.endswith(":") or text.startswith(":"):
        return "an IPv6 address is written like 2001:db8::1"
    if re.fullmatch(r"[0-9.]+", text, re.ASCII):
        return "an IPv4 address has four numbers 0-255 without leading zeros"
    return 'an address is written "192.0.2.1", "192.0.2.0/24" or "192.0.2.1-192.0.2.9"'


def address_text(family: int, number: int) -> str:
    """The canonical text of an address."""
    if family == 4:
        return inet_ntop(AF_INET, number.to_bytes(4, "big"))
    return inet_ntop(AF_INET6, number.to_bytes(16, "big"))


def address_range(text: str) -> tuple[int, int, int]:
    """Family, first and last address of `a`, `a/len` or `a-b`."""
    if "/" in text:
        return _prefix(text)
    first, dash, last = text.partition("-")
    family, low = address(first)
    if not dash:
        return family, low, low
    last_family, high = address(last)
    if family != last_family:
        raise BadValue(f"{_quote(text)}: the ends of a range are of one family", "", "FWP_E_INVALID_RANGE")
    ordered(low, high, text)
    return family, low, high


def _prefix(text: str) -> tuple[int, int, int]:
    base, _, length_text = text.partition("/")
    family, low = address(base)
    width = 32 if family == 4 else 128
    if not _LENGTH.fullmatch(length_text):
        hint = "write the length: 192.0.2.0/24" if "." in length_text else ""
        raise BadValue(f"{_quote(text)} has no prefix length 0-{width}", hint, "FWP_E_INVALID_NET_MASK")
    length = int(length_text)
    if length > width:
        raise BadValue(f"{_quote(text)}: the prefix length is outside 0-{width}", "", "FWP_E_INVALID_NET_MASK")
    mask = (1 << (width - length)) - 1
    if low & mask:
        masked = f"{address_text(family, low & ~mask)}/{length}"
        raise BadValue(f"{_quote(text)} has bits set below its length", f"write {masked}", "FWP_E_INVALID_PARAMETER")
    return family, low, low | mask


def boolean(text: str) -> bool:
    """`true` or `false`."""
    if text == "true":
        return True
    if text == "false":
        return False
    raise BadValue(f"{_quote(text)} is neither true nor false")


def duration(text: str) -> float:
    """Seconds of `500ms`, `2s`, `1m`."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise BadValue(f"{_quote(text)} is not a duration", 'a duration is written "500ms", "2s" or "1m"')
    return int(match.group(1)) * _UNITS[match.group(2)]


def guid(text: str) -> uuid.UUID:
    """A GUID, with or without braces."""
    match = _GUID.fullmatch(text)
    if match is None:
        raise BadValue(f"{_quote(text)} is not a GUID", "a GUID is written c38d57d1-05a7-4c33-904f-7fbceee60e82")
    value = uuid.UUID(match.group(1))
    if not value.int:
        raise BadValue("the zero GUID is no key", "leave the key out to get one", "FWP_E_INVALID_PARAMETER")
    return value


def is_printable(text: str) -> bool:
    """Printable ASCII only."""
    return text.isascii() and text.isprintable()

"""Set files read at once are read as they are line by line, or not at all."""

from __future__ import annotations

import random
from typing import Any

import pytest

from wfpd.config import sets
from wfpd.config._set_file import read_set_file
from wfpd.errors import PolicyError

HEAD = "version: 1\nsets: {s: {type: TYPE, file: s.txt}}\n"
VALUES = {
    "address": ("192.0.2.1", "192.0.2.0/24", "10.0.0.1-10.0.0.9", "0.0.0.0/0", "255.255.255.255", "2001:db8::/32",
                "::1", "::/0", "1::-2::", "10.0.0.2", "10.0.0.3-10.0.0.4", "ffff::ffff"),
    "port": ("0", "65535", "80", "81-90", "79", "5-5"),
    "uint32": ("0", "4294967295", "7-4294967294", "6"),
    "number": ("0", "18446744073709551615", "4294967296", "5-4294967295", "4294967297-9999999999"),
}  # fmt: skip
ODD = {
    "address": ("192.0.2.1/24", "x", "192.0.2.256", "1.2.3.4 5", "fe80::1%0", "192.0.2.9-192.0.2.1", "::g"),
    "port": ("65536", "0x10", "ssh", "9-8", "-", "007"),
    "uint32": ("4294967296", "0xff", "1 2"),
    "number": ("18446744073709551616", "0x10", "1-", "é"),
}
LINES = ("{}", "{}", " {}\t", "{} # c", "{}\t# c", "# {}", "", "   ", "{}\r", "\v{}\f")


def written(rng: random.Random, kind: str, odd: float) -> str:
    def line() -> str:
        value = rng.choice(ODD[kind] if rng.random() < odd else VALUES[kind])
        return rng.choice(LINES).format(value)

    return rng.choice(("", "\ufeff")) + "\n".join(line() for _ in range(rng.randint(0, 40))) + rng.choice(("", "\n"))


def outcome(policies: Any, text: str) -> Any:
    try:
        policy = policies.load(text)
    except PolicyError as error:
        return error.problems
    return policy.sets


@pytest.mark.parametrize("kind", list(VALUES))
@pytest.mark.parametrize("odd", [0.0, 0.02])
def test_a_file_read_at_once_is_what_its_lines_are(
    policies: Any, monkeypatch: pytest.MonkeyPatch, kind: str, odd: float
) -> None:
    rng = random.Random(f"{kind} {odd}")
    at_once = 0
    for _ in range(40):
        data = written(rng, kind, odd)
        policies.write("s.txt", data)
        monkeypatch.setattr(sets, "read_set_file", read_set_file)
        quick = outcome(policies, HEAD.replace("TYPE", kind))
        at_once += not isinstance(quick, list)
        monkeypatch.setattr(sets, "read_set_file", lambda *_: None)
        assert quick == outcome(policies, HEAD.replace("TYPE", kind)), data
    assert at_once > 10


@pytest.mark.parametrize("text", [b"x", b"0x10", b"1\n2\n3", b"65536", b"1 2", b"1,2"])
def test_what_is_not_plain_is_left_alone(text: bytes) -> None:
    assert read_set_file(text, 65535, 2) is None


def test_a_file_of_as_many_values_as_may_be_is_read() -> None:
    found = read_set_file(b"1\n2\n#3\n", 65535, 2)
    assert found is not None and found[0] == ((1, 2),) and found[1] == ()

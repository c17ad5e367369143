import argparse
from typing import Any

import pytest

from wfpd.cli.arguments import port, seconds, target


def test_times_are_written_with_a_unit() -> None:
    assert [seconds(text) for text in ("60s", "5m", "1h", "500ms", "7")] == [60, 300, 3600, 0.5, 7]


def test_a_port_is_a_number_of_16_bits() -> None:
    assert [port(text) for text in ("0", "22", "65535")] == [0, 22, 65535]
    for text in ("65536", "-1", "", "1 ", "ssh"):
        with pytest.raises(argparse.ArgumentTypeError, match="is not a port"):
            port(text)


@pytest.mark.parametrize(
    ("text", "asked"),
    [("192.0.2.1", {"address": "192.0.2.1"}), ("192.0.2.1:53", {"address": "192.0.2.1", "port": 53}),
     ("[2001:db8::1]:53", {"address": "2001:db8::1", "port": 53}), ("[2001:db8::1]", {"address": "2001:db8::1"}),
     ("2001:db8::1", {"address": "2001:db8::1"}), ("::1", {"address": "::1"}), (":53", {"port": 53}),
     ("192.0.2.0/24", {"address": "192.0.2.0/24"}), ("2001:db8::/32", {"address": "2001:db8::/32"}),
     ("192.0.2.0/24:53", {"address": "192.0.2.0/24", "port": 53})],
)  # fmt: skip
def test_what_is_looked_for_is_read(text: str, asked: dict[str, Any]) -> None:
    assert target(text) == asked

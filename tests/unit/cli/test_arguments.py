import argparse

import pytest

from wfpd.cli.arguments import port, seconds


def test_times_are_written_with_a_unit() -> None:
    assert [seconds(text) for text in ("60s", "5m", "1h", "500ms", "7")] == [60, 300, 3600, 0.5, 7]


def test_a_port_is_a_number_of_16_bits() -> None:
    assert [port(text) for text in ("0", "22", "65535")] == [0, 22, 65535]
    for text in ("65536", "-1", "", "1 ", "ssh"):
        with pytest.raises(argparse.ArgumentTypeError, match="is not a port"):
            port(text)

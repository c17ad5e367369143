"""The bounded cursor, seen through the parser: no length of a copy makes it read on."""

from __future__ import annotations

import pytest

from wfpd.dataplane import _parse

V4 = bytes.fromhex("4500003000010000400600000a0000010a000002005001bb00000001000000027012100000000000020405b401030307")
V6 = bytes.fromhex("6000000000103c40" + "20010db8" + "00" * 11 + "01" + "20010db8" + "00" * 11 + "02")
V6 += bytes.fromhex("11000104000000000035003500080000")


@pytest.mark.parametrize("packet", [V4, V6], ids=["ipv4", "ipv6"])
def test_every_cut_yields_a_part_of_the_whole_view(packet: bytes) -> None:
    whole = _parse.parse_of(packet)
    assert whole["status"] == 0 and whole["has_ports"]
    for size in range(1, len(packet)):
        cut = _parse.parse_of(packet[:size], len(packet))
        assert cut["status"] == 0 and cut["truncated"] == 1
        differing = {name for name, value in cut.items() if value != whole[name] and value}
        assert differing <= {"captured", "truncated"}


@pytest.mark.parametrize("packet", [V4, V6], ids=["ipv4", "ipv6"])
def test_every_shorter_packet_is_malformed_without_reading_behind_it(packet: bytes) -> None:
    for size in range(len(packet)):
        view = _parse.parse_of(packet[:size])
        assert view["status"] not in (0, 1)


def test_numbers_are_read_big_endian_at_any_alignment() -> None:
    view = _parse.parse_of(V4)
    assert (view["source_port"], view["destination_port"]) == (80, 443)
    assert (view["tcp_sequence"], view["tcp_acknowledgment"]) == (1, 2)
    assert (view["tcp_mss"], view["tcp_window_scale"], view["tcp_window"]) == (1460, 7, 0x1000)
    view = _parse.parse_of(V6)
    assert view["source_hi"] == 0x20010DB800000000 and view["destination_lo"] == 2

"""Packets to views: what is read, what is malformed, what is only unknown."""

from __future__ import annotations

import ipaddress
import json
import pathlib
import struct

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_LSRR, IPOption_NOP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    Jumbo,
    RouterAlert,
)
from scapy.layers.sctp import SCTP, SCTPChunkInit

from wfpd.capture import read_capture
from wfpd.dataplane import _parse

CAPTURES = pathlib.Path(__file__).parents[2] / "data" / "captures"
EXPECTED = json.loads((CAPTURES / "expected.json").read_text())
View = dict[str, int]


def parse(packet: object, original: int = -1, checksums: bool = False) -> View:
    return _parse.parse_of(bytes(packet), original, _parse.VERIFY_CHECKSUMS if checksums else 0)  # type: ignore[call-overload]


def status(packet: object, original: int = -1, checksums: bool = False) -> str:
    return _parse.parse_status_name(parse(packet, original, checksums)["status"])


def v4(protocol: int, payload: bytes, **fields: object) -> bytes:
    return bytes(IP(proto=protocol, src="192.0.2.1", dst="198.51.100.2", **fields) / payload)


def v6(next_header: int, payload: bytes, **fields: object) -> bytes:
    return bytes(IPv6(nh=next_header, src="2001:db8::1", dst="2001:db8::2", **fields) / payload)


def tcp(options: bytes = b"", payload: bytes = b"", offset: int | None = None, flags: int = 2) -> bytes:
    words = 5 + len(options) // 4 if offset is None else offset
    return struct.pack(">2H2I2B3H", 40000, 443, 1, 0, words << 4, flags, 1024, 0, 0) + options + payload


def udp(payload: bytes = b"", length: int | None = None) -> bytes:
    return struct.pack(">4H", 5000, 53, 8 + len(payload) if length is None else length, 0) + payload


def no_transport_is_known(view: View) -> bool:
    names = ("has_ports", "has_tcp", "has_icmp", "has_icmp_id", "has_mss", "has_quoted", "payload_length")
    return not any(view[name] for name in names)


# ---------------------------------------------------------------- status names


def test_every_status_has_one_name_and_no_other_number_has() -> None:
    assert len(set(_parse.PARSE_STATUS_NAMES)) == len(_parse.PARSE_STATUS_NAMES)
    assert _parse.parse_status_name(0) == "ok"
    assert _parse.PARSE_STATUS_NAMES[_parse.FIRST_STATUS_ABOVE_IP] == "tiny_fragment"
    for number in (-1, len(_parse.PARSE_STATUS_NAMES)):
        with pytest.raises(ValueError):
            _parse.parse_status_name(number)


# ---------------------------------------------------------------- IPv4


def test_ipv4_header_fields_are_read() -> None:
    view = parse(IP(src="192.0.2.1", dst="198.51.100.2", tos=0xB9, ttl=7) / TCP(sport=1, dport=2))
    assert (view["family"], view["dscp"], view["ecn"], view["ttl"], view["protocol"]) == (4, 46, 1, 7, 6)
    assert view["source_lo"] == int(ipaddress.ip_address("192.0.2.1"))
    assert view["destination_lo"] == int(ipaddress.ip_address("198.51.100.2"))
    assert (view["length"], view["transport_offset"], view["payload_offset"]) == (40, 20, 40)


@pytest.mark.parametrize("nibble", [0, 1, 5, 7, 15])
def test_another_version_is_not_ip(nibble: int) -> None:
    assert status(bytes([nibble << 4 | 5]) + bytes(40)) == "not_ip"


def test_fewer_bytes_than_a_fixed_header_is_truncated_ip() -> None:
    assert status(b"") == "truncated_ip"
    assert status(bytes(IP() / TCP())[:19]) == "truncated_ip"
    assert status(bytes(IPv6() / TCP())[:39]) == "truncated_ip"


@pytest.mark.parametrize("length", [0, 4, 15])
def test_a_header_length_below_five_or_beyond_the_packet_is_malformed(length: int) -> None:
    packet = bytearray(v4(17, udp()))
    packet[0] = 0x40 | length
    assert status(packet) == "bad_header_length"


@pytest.mark.parametrize("total", [0, 19, 29, 65535])
def test_a_total_length_below_the_header_or_beyond_the_bytes_is_malformed(total: int) -> None:
    packet = bytearray(v4(17, udp()))
    packet[2:4] = total.to_bytes(2, "big")
    assert status(packet) == "bad_total_length"


def test_bytes_behind_the_total_length_are_padding() -> None:
    view = parse(v4(17, udp(b"abc")) + bytes(30))
    assert (view["status"], view["length"], view["payload_length"], view["truncated"]) == (0, 31, 3, 0)


def test_options_are_passed_over_and_the_transport_is_found_behind_them() -> None:
    view = parse(IP(options=[IPOption_NOP(), IPOption_LSRR(routers=["192.0.2.9"])]) / UDP(sport=9, dport=10))
    assert (view["transport_offset"], view["source_port"], view["destination_port"]) == (28, 9, 10)


@pytest.mark.parametrize("options", [b"\x07\x00\0\0", b"\x07\x01\0\0", b"\x07\x05\0\0", b"\x01\x01\x01\x07"])
def test_an_option_without_a_possible_length_is_malformed(options: bytes) -> None:
    packet = bytearray(v4(17, options + udp()))
    packet[0] = 0x46
    assert status(packet) == "bad_ip_option"


def test_what_follows_the_end_of_options_is_not_read() -> None:
    packet = bytearray(v4(17, b"\x00\x07\x00\xff" + udp()))
    packet[0] = 0x46
    assert status(packet) == "ok"


def test_ah_and_esp_are_the_protocol_in_ipv4() -> None:
    assert parse(v4(51, b"\x06\x04" + bytes(22) + tcp()))["protocol"] == 51
    assert parse(v4(50, bytes(30)))["protocol"] == 50


# ---------------------------------------------------------------- IPv6


def test_ipv6_header_fields_are_read() -> None:
    view = parse(IPv6(src="2001:db8::1", dst="2001:db8:0:1::2", tc=0xB9, hlim=3) / UDP(sport=1, dport=2))
    assert (view["family"], view["dscp"], view["ecn"], view["ttl"], view["protocol"]) == (6, 46, 1, 3, 17)
    assert (view["source_hi"], view["source_lo"]) == (0x20010DB800000000, 1)
    assert (view["destination_hi"], view["destination_lo"]) == (0x20010DB800000001, 2)
    assert view["length"] == 48


OPTIONS_HEADER = bytes.fromhex("010400000000")
CHAINS = {
    "hop-by-hop": (0, bytes([6, 0]) + OPTIONS_HEADER),
    "routing": (43, bytes([6, 0, 4, 0, 0, 0, 0, 0])),
    "destination": (60, bytes([6, 0]) + OPTIONS_HEADER),
    "authentication": (51, bytes([6, 4]) + bytes(22)),
    "mobility": (135, bytes([6, 0]) + bytes(6)),
    "hip": (139, bytes([6, 1]) + bytes(14)),
    "shim6": (140, bytes([6, 0]) + bytes(6)),
    "atomic fragment": (44, bytes([6, 0, 0, 0, 0, 0, 0, 1])),
    "hop-by-hop then destination": (0, bytes([60, 0]) + OPTIONS_HEADER + bytes([6, 0]) + OPTIONS_HEADER),
}


@pytest.mark.parametrize(("first", "chain"), CHAINS.values(), ids=list(CHAINS))
def test_the_protocol_is_the_one_behind_the_extension_headers(first: int, chain: bytes) -> None:
    view = parse(v6(first, chain + tcp()))
    assert (view["status"], view["protocol"], view["fragment"]) == (0, 6, 0)
    assert view["transport_offset"] == 40 + len(chain)
    assert view["destination_port"] == 443


def test_esp_and_no_next_header_are_the_protocol_in_ipv6() -> None:
    assert parse(v6(50, bytes(30)))["protocol"] == 50
    view = parse(v6(60, bytes([59, 0]) + OPTIONS_HEADER + b"behind"))
    assert (view["status"], view["protocol"], view["transport_offset"]) == (0, 59, 0)


def test_a_payload_length_beyond_the_bytes_is_malformed() -> None:
    assert status(v6(17, udp(), plen=9)) == "bad_payload_length"
    assert status(v6(17, udp(), plen=8)) == "ok"


ATOMIC = bytes([44, 0, 0, 0, 0, 0, 0, 1])
BROKEN_CHAINS = {
    "overlong": (60, bytes([6, 9]) + bytes(6)),
    "one byte": (60, bytes([6])),
    "nothing": (60, b""),
    "short AH": (51, bytes([6, 0]) + bytes(6)),
    "option over the end": (0, b"\x06\x00\x05\x05" + bytes(4)),
    "hop-by-hop not first": (60, bytes([0, 0]) + OPTIONS_HEADER + bytes([6, 0]) + OPTIONS_HEADER),
    "two fragment headers": (44, ATOMIC + ATOMIC + tcp()),
}


@pytest.mark.parametrize(("first", "chain"), BROKEN_CHAINS.values(), ids=list(BROKEN_CHAINS))
def test_a_broken_extension_header_is_malformed(first: int, chain: bytes) -> None:
    assert status(v6(first, chain)) == "bad_extension_header"


def test_sixteen_extension_headers_are_read_and_seventeen_are_not() -> None:
    def chain(n: int) -> bytes:
        return v6(60, (bytes([60, 0]) + OPTIONS_HEADER) * (n - 1) + bytes([6, 0]) + OPTIONS_HEADER + tcp())

    assert status(chain(16)) == "ok"
    assert status(chain(17)) == "too_many_extension_headers"


def jumbogram(size: int, payload_length: int = 0, udp_length: int = 0) -> bytes:
    head = bytes([17, 0, 0xC2, 4]) + size.to_bytes(4, "big")
    return v6(0, head + udp(bytes(70000 - 16), udp_length), plen=payload_length)


def test_a_jumbogram_has_the_length_of_its_option_and_may_have_no_udp_length() -> None:
    view = parse(jumbogram(70000))
    assert (view["status"], view["length"], view["payload_length"]) == (0, 70040, 70000 - 16)


@pytest.mark.parametrize(
    ("size", "payload_length", "name"),
    [(70001, 0, "bad_payload_length"), (65535, 0, "bad_payload_length"), (70000, 100, "bad_extension_header"),
     (2**32 - 1, 0, "bad_payload_length")],
)  # fmt: skip
def test_a_jumbogram_that_contradicts_itself_is_malformed(size: int, payload_length: int, name: str) -> None:
    assert status(jumbogram(size, payload_length)) == name


def test_a_udp_length_of_zero_is_legal_only_in_a_jumbogram() -> None:
    assert status(v6(17, udp(length=0))) == "bad_udp_length"
    assert status(v4(17, udp(length=0))) == "bad_udp_length"


# ---------------------------------------------------------------- fragments and evasions


def test_ipv4_fragments_are_told_apart() -> None:
    first = parse(v4(17, udp(bytes(16), 1000), flags="MF"))
    assert (first["status"], first["fragment"], first["destination_port"], first["payload_length"]) == (0, 1, 53, 16)
    later = parse(v4(17, bytes(13), frag=3))
    assert (later["status"], later["fragment"], later["protocol"], later["transport_offset"]) == (0, 2, 17, 0)
    assert no_transport_is_known(later)


def fragment6(next_header: int, offset: int, more: int, payload: bytes) -> bytes:
    return v6(44, struct.pack(">BBHI", next_header, 0, offset << 3 | more, 7) + payload)


def test_the_protocol_of_a_later_ipv6_fragment_is_empty_if_it_is_another_extension_header() -> None:
    view = parse(fragment6(6, 4, 0, bytes(20)))
    assert (view["fragment"], view["has_protocol"], view["protocol"]) == (2, 1, 6)
    for header in (0, 43, 44, 51, 60, 135):
        view = parse(fragment6(header, 4, 0, bytes(20)))
        assert (view["status"], view["fragment"], view["has_protocol"]) == (0, 2, 0)
    assert parse(fragment6(50, 4, 0, bytes(20)))["protocol"] == 50


@pytest.mark.parametrize("size", [8, 16])
def test_a_first_fragment_that_hides_the_tcp_flags_is_tiny(size: int) -> None:
    for packet in (v4(6, tcp()[:size], flags="MF"), fragment6(6, 0, 1, tcp()[:size])):
        view = parse(packet)
        assert _parse.parse_status_name(view["status"]) == "tiny_fragment"
        assert no_transport_is_known(view) and view["protocol"] == 6


def test_a_first_fragment_without_all_tcp_options_is_tiny() -> None:
    assert status(v4(6, tcp(b"\x02\x04\x05\xb4" * 2)[:24], flags="MF")) == "tiny_fragment"


def test_a_first_fragment_without_the_whole_header_chain_is_tiny() -> None:
    destination = bytes([6, 2]) + b"\x01\x14" + bytes(20)
    assert status(fragment6(60, 0, 1, destination[:16])) == "tiny_fragment"
    assert status(fragment6(60, 0, 1, destination)) == "tiny_fragment"
    assert status(fragment6(60, 0, 1, destination + tcp() + bytes(4))) == "ok"


def test_a_tcp_fragment_at_offset_eight_overlaps_the_flags() -> None:
    for packet in (v4(6, bytes(24), frag=1), v4(6, bytes(24), frag=1, flags="MF"), fragment6(6, 1, 0, bytes(24))):
        assert status(packet) == "overlapping_fragment"
    assert status(v4(17, bytes(24), frag=1)) == "ok"
    assert status(v4(6, bytes(24), frag=2)) == "ok"


def test_a_fragment_beyond_the_largest_packet_or_of_odd_size_is_malformed() -> None:
    assert status(v4(1, bytes(100), frag=8189)) == "bad_fragment"
    assert status(fragment6(58, 8191, 0, bytes(100))) == "bad_fragment"
    assert status(v4(17, udp(bytes(5)), flags="MF")) == "bad_fragment"
    assert status(fragment6(17, 0, 1, udp(bytes(5)))) == "bad_fragment"


def test_a_jumbogram_cannot_be_a_fragment() -> None:
    head = bytes([44, 0, 0xC2, 4]) + (70000).to_bytes(4, "big")
    assert status(v6(0, head + bytes([17, 0, 0, 1]) + bytes(69988), plen=0)) == "bad_extension_header"


# ---------------------------------------------------------------- TCP


def test_tcp_fields_and_options_are_read() -> None:
    options = b"\x02\x04\x05\xb4\x01\x03\x03\x0e\x04\x02\x00\x00"
    view = parse(v4(6, tcp(options, b"data", flags=0xC2)))
    assert (view["has_tcp"], view["tcp_flags"], view["tcp_window"]) == (1, 0xC2, 1024)
    assert (view["has_mss"], view["tcp_mss"], view["has_window_scale"], view["tcp_window_scale"]) == (1, 1460, 1, 14)
    assert (view["payload_offset"], view["payload_length"]) == (52, 4)


def test_options_that_are_absent_are_not_zero_but_unknown() -> None:
    view = parse(v4(6, tcp()))
    assert not view["has_mss"] and not view["has_window_scale"]


@pytest.mark.parametrize("offset", [0, 4, 6, 15])
def test_a_data_offset_below_five_or_beyond_the_packet_is_malformed(offset: int) -> None:
    view = parse(v4(6, tcp(offset=offset)))
    assert _parse.parse_status_name(view["status"]) == "bad_tcp_header_length"
    assert no_transport_is_known(view) and view["has_protocol"] and view["has_addresses"]


@pytest.mark.parametrize(
    "options",
    [b"\x02\x03\x05\xb4", b"\x03\x04\x07\x00", b"\x08\x00\x00\x00", b"\x08\x0a\x00\x00", b"\x01\x01\x01\x08"],
)
def test_a_tcp_option_of_the_wrong_length_is_malformed(options: bytes) -> None:
    assert status(v4(6, tcp(options))) == "bad_tcp_option"


SHORT = {"tcp": (6, 19), "udp": (17, 7), "udplite": (136, 7), "sctp": (132, 11), "dccp": (33, 11), "icmp": (1, 7)}


@pytest.mark.parametrize(("protocol", "size"), SHORT.values(), ids=list(SHORT))
def test_a_packet_shorter_than_its_transport_header_is_malformed_above_ip(protocol: int, size: int) -> None:
    for cut in (0, 4, size):
        view = parse(v4(protocol, bytes(cut)))
        assert _parse.parse_status_name(view["status"]) == "truncated_transport"
        assert view["status"] >= _parse.FIRST_STATUS_ABOVE_IP
        assert no_transport_is_known(view)


# ---------------------------------------------------------------- the other transports


@pytest.mark.parametrize("length", [1, 7, 13, 65535])
def test_a_udp_length_below_eight_or_beyond_the_payload_is_malformed(length: int) -> None:
    assert status(v4(17, udp(b"abcd", length))) == "bad_udp_length"


def test_bytes_behind_the_udp_length_are_not_payload() -> None:
    view = parse(v4(17, udp(b"abcd", 10)))
    assert (view["status"], view["payload_offset"], view["payload_length"]) == (0, 28, 2)


@pytest.mark.parametrize(
    ("coverage", "name"), [(0, "ok"), (8, "ok"), (12, "ok"), (7, "bad_udp_length"), (13, "bad_udp_length")]
)
def test_the_coverage_of_udplite_is_all_or_at_least_the_header(coverage: int, name: str) -> None:
    packet = v4(136, udp(b"abcd", coverage))
    assert status(packet) == name
    assert parse(packet)["has_ports"] == (name == "ok")


def test_sctp_and_dccp_have_ports() -> None:
    view = parse(IP() / SCTP(sport=7, dport=8) / SCTPChunkInit())
    assert (view["protocol"], view["source_port"], view["destination_port"], view["payload_offset"]) == (132, 7, 8, 32)
    dccp = struct.pack(">2HBBHBBHI", 7, 8, 4, 0, 0, 1, 0, 0, 1)
    view = parse(v4(33, dccp + b"xy"))
    assert (view["status"], view["source_port"], view["payload_offset"], view["payload_length"]) == (0, 7, 36, 2)
    assert status(v4(33, dccp[:4] + b"\x09" + dccp[5:])) == "truncated_transport"


def test_another_protocol_has_a_payload_and_no_ports() -> None:
    view = parse(v4(47, bytes(12)))
    assert (view["status"], view["has_ports"], view["payload_offset"], view["payload_length"]) == (0, 0, 20, 12)


# ---------------------------------------------------------------- ICMP


def test_an_echo_has_type_code_and_identifier() -> None:
    view = parse(IP() / ICMP(type=8, id=77))
    assert (view["has_icmp"], view["icmp_type"], view["has_icmp_id"], view["icmp_id"]) == (1, 8, 1, 77)
    view = parse(IPv6() / ICMPv6EchoRequest(id=78))
    assert (view["has_icmp"], view["icmp_type"], view["has_icmp_id"], view["icmp_id"]) == (1, 128, 1, 78)


def test_icmp_of_the_other_family_is_not_icmp() -> None:
    assert not parse(v6(1, bytes(8)))["has_icmp"]
    assert not parse(v4(58, bytes(8)))["has_icmp"]


@pytest.mark.parametrize(("kind", "error"), [(0, 0), (3, 1), (4, 1), (5, 1), (8, 0), (11, 1), (12, 1), (13, 0)])
def test_icmp_errors_are_known(kind: int, error: int) -> None:
    assert parse(v4(1, bytes([kind]) + bytes(7)))["is_icmp_error"] == error


@pytest.mark.parametrize(("kind", "error"), [(1, 1), (2, 1), (3, 1), (4, 1), (128, 0), (135, 0), (137, 0)])
def test_icmpv6_errors_are_known(kind: int, error: int) -> None:
    assert parse(v6(58, bytes([kind]) + bytes(7)))["is_icmp_error"] == error


def test_an_icmp_error_yields_the_quoted_packet() -> None:
    view = parse(IP() / ICMP(type=3, code=3) / IP(src="192.0.2.1", dst="192.0.2.2") / UDP(sport=7, dport=8))
    assert (view["has_quoted"], view["quoted_protocol"], view["quoted_has_ports"]) == (1, 17, 1)
    assert (view["quoted_source_port"], view["quoted_destination_port"]) == (7, 8)
    assert (view["quoted_source_lo"], view["quoted_destination_lo"]) == (0xC0000201, 0xC0000202)


def test_a_quote_behind_extension_headers_is_read() -> None:
    inner = IPv6(src="2001:db8::7", dst="2001:db8::8") / IPv6ExtHdrDestOpt() / TCP(sport=7, dport=8)
    view = parse(IPv6() / ICMPv6TimeExceeded() / inner)
    assert (view["has_quoted"], view["quoted_protocol"], view["quoted_has_ports"]) == (1, 6, 1)
    assert (view["quoted_source_lo"], view["quoted_destination_port"]) == (7, 8)


def test_of_a_cut_quote_is_known_what_is_there() -> None:
    error = bytes([3, 3]) + bytes(6)
    inner = bytes(IP(src="192.0.2.1", dst="192.0.2.2", proto=6)) + b"\x00\x07\x00\x08"
    known = [parse(v4(1, error + inner[:size])) for size in (0, 19, 20, 23, 24)]
    assert [view["has_quoted"] for view in known] == [0, 0, 1, 1, 1]
    assert [view["quoted_has_ports"] for view in known] == [0, 0, 0, 0, 1]
    assert all(view["status"] == 0 for view in known)


def test_a_quote_cut_in_its_extension_headers_has_addresses_only() -> None:
    inner = bytes(IPv6(dst="2001:db8::8", nh=60)) + b"\x06\x00\x01"
    view = parse(v6(58, bytes([3, 0]) + bytes(6) + inner))
    assert (view["has_quoted"], view["quoted_has_addresses"], view["quoted_destination_lo"]) == (0, 1, 8)


def test_a_quoted_later_fragment_has_no_ports() -> None:
    view = parse(IP() / ICMP(type=11) / IP(proto=17, frag=5) / bytes(8))
    assert (view["has_quoted"], view["quoted_has_ports"]) == (1, 0)
    inner = IPv6() / IPv6ExtHdrFragment(offset=5, nh=17) / bytes(8)
    view = parse(IPv6() / ICMPv6TimeExceeded() / inner)
    assert (view["has_quoted"], view["quoted_has_ports"]) == (1, 0)


# ---------------------------------------------------------------- cut copies


def test_a_cut_copy_knows_what_it_has_and_is_not_malformed() -> None:
    whole = v4(6, tcp(b"\x02\x04\x05\xb4", bytes(100)))
    view = parse(whole[:20], len(whole))
    assert (view["status"], view["truncated"], view["protocol"], view["has_ports"]) == (0, 1, 6, 0)
    view = parse(whole[:24], len(whole))
    assert (view["has_ports"], view["has_tcp"]) == (1, 0)
    view = parse(whole[:33], len(whole))
    assert (view["has_ports"], view["has_tcp"]) == (1, 0)
    for cut in (34, 35):
        view = parse(whole[:cut], len(whole))
        assert (view["has_tcp"], view["has_tcp_window"], view["payload_length"]) == (1, 0, 100)
    view = parse(whole[:36], len(whole))
    assert (view["has_tcp_window"], view["has_mss"], view["payload_offset"], view["payload_length"]) == (1, 0, 0, 100)
    view = parse(whole[:40], len(whole))
    assert (view["has_tcp"], view["has_mss"], view["payload_offset"], view["payload_length"]) == (1, 0, 0, 100)
    view = parse(whole[:44], len(whole))
    assert (view["has_mss"], view["payload_offset"], view["length"]) == (1, 44, 144)


def test_a_cut_icmp_header_has_its_type_and_code_as_soon_as_they_are_there() -> None:
    whole = v4(1, bytes([3, 1]) + bytes(6))
    view = parse(whole[:21], len(whole))
    assert (view["has_icmp_type"], view["icmp_type"], view["is_icmp_error"], view["has_icmp"]) == (1, 3, 1, 0)
    view = parse(whole[:22], len(whole))
    assert (view["status"], view["icmp_type"], view["icmp_code"], view["is_icmp_error"]) == (0, 3, 1, 1)


@pytest.mark.parametrize("protocol", [6, 17, 33, 132, 136])
def test_a_copy_cut_between_the_ports_knows_the_first(protocol: int) -> None:
    whole = v4(protocol, bytes([0, 53, 1, 187]) + bytes(20))
    for cut, known in ((20, (0, 0)), (21, (0, 0)), (22, (1, 0)), (23, (1, 0)), (24, (1, 1))):
        view = parse(whole[:cut], len(whole))
        assert (view["status"], view["has_source_port"], view["has_ports"]) == (0, *known)
        assert view["source_port"] == (53 if known[0] else 0)


def test_a_copy_cut_inside_the_ip_header_has_no_addresses() -> None:
    view = parse(v4(6, tcp())[:19], 40)
    assert (view["status"], view["family"], view["has_addresses"], view["has_protocol"]) == (0, 4, 0, 0)
    view = parse(v6(6, tcp())[:39], 60)
    assert (view["status"], view["family"], view["has_addresses"], view["has_protocol"]) == (0, 6, 0, 0)
    assert status(b"", 40) == "not_ip"


def test_a_copy_cut_in_the_extension_headers_has_the_protocol_that_the_last_one_names() -> None:
    whole = v6(60, bytes([60, 0]) + OPTIONS_HEADER + bytes([6, 1]) + OPTIONS_HEADER + bytes(8) + tcp())
    for cut, known in ((40, 0), (41, 0), (44, 0), (48, 0), (49, 1), (52, 1), (56, 1), (63, 1)):
        view = parse(whole[:cut], len(whole))
        assert (view["status"], view["has_addresses"], view["has_protocol"], view["truncated"]) == (0, 1, known, 1)
        assert (view["protocol"], view["has_source_port"]) == (6 if known else 0, 0)
    assert parse(whole[:66], len(whole))["has_source_port"] == 1


def test_lengths_that_contradict_the_original_length_are_malformed_also_in_a_cut_copy() -> None:
    whole = v4(6, tcp(payload=bytes(100)))
    assert status(whole[:60], 100) == "bad_total_length"
    assert status(v6(6, tcp(payload=bytes(100)))[:60], 100) == "bad_payload_length"


# ---------------------------------------------------------------- checksums

GOOD = {
    "tcp": IP() / TCP() / b"odd",
    "tcp over ipv6": IPv6() / TCP() / b"odd",
    "udp": IP() / UDP() / b"odd",
    "udp over ipv6": IPv6() / IPv6ExtHdrDestOpt() / UDP() / b"odd",
    "icmp": IP() / ICMP() / b"odd",
    "icmpv6": IPv6() / ICMPv6EchoRequest(data=b"odd"),
    "sctp": IP() / SCTP() / SCTPChunkInit(),
    "router alert": IPv6() / IPv6ExtHdrHopByHop(options=[RouterAlert()]) / UDP(),
}


@pytest.mark.parametrize("packet", GOOD.values(), ids=list(GOOD))
def test_checksums_are_verified_only_where_asked_for(packet: IP) -> None:
    good = bytes(packet)
    bad = good[:-1] + bytes([good[-1] ^ 0x10])
    assert status(good, checksums=True) == "ok"
    assert status(bad) == "ok"
    assert status(bad, checksums=True) == "bad_transport_checksum"
    assert no_transport_is_known(parse(bad, checksums=True))


def test_the_ip_header_checksum_is_verified_first() -> None:
    assert status(IP(chksum=1) / TCP(chksum=1)) == "ok"
    assert status(IP(chksum=1) / TCP(chksum=1), checksums=True) == "bad_ip_checksum"


def test_no_udp_checksum_is_legal_over_ipv4_only() -> None:
    assert status(IP() / UDP(chksum=0) / b"x", checksums=True) == "ok"
    assert status(IPv6() / UDP(chksum=0) / b"x", checksums=True) == "bad_transport_checksum"


def test_fragments_and_cut_copies_are_not_verified() -> None:
    assert status(IP(flags="MF") / TCP(chksum=1) / bytes(4), checksums=True) == "ok"
    whole = bytes(IP() / TCP(chksum=1) / bytes(10))
    assert status(whole[:-1], len(whole), checksums=True) == "ok"


def test_a_routed_packet_whose_final_address_is_elsewhere_is_not_verified() -> None:
    routed = IPv6() / IPv6ExtHdrRouting(addresses=["2001:db8::9"], segleft=1) / UDP(chksum=1)
    assert status(routed, checksums=True) == "ok"
    arrived = IPv6() / IPv6ExtHdrRouting(addresses=["2001:db8::9"], segleft=0) / UDP(chksum=1)
    assert status(arrived, checksums=True) == "bad_transport_checksum"


def test_a_scapy_jumbogram_reads_like_ours() -> None:
    packet = IPv6(plen=0) / IPv6ExtHdrHopByHop(options=[Jumbo(jumboplen=66008)]) / UDP(len=0, chksum=1) / bytes(65992)
    assert parse(packet)["length"] == 66048


# ---------------------------------------------------------------- real captures

MALFORMED = {
    ("pcapplusplus/IPv4-TSO.pcap", 1): "bad_total_length",
    ("zeek/fragmented-1.pcap", 1): "bad_fragment",
    ("zeek/fragmented-2.pcap", 1): "bad_fragment",
    ("zeek/fragmented-2.pcap", 3): "bad_fragment",
    ("zeek/fragmented-syn.pcap", 1): "tiny_fragment",
    ("zeek/ip-bogus-header-len.pcap", 1): "bad_total_length",
    ("zeek/ipv6-mobility-dst-opts.pcap", 1): "bad_extension_header",
    ("zeek/ipv6-mobility-dst-opts.pcap", 2): "bad_extension_header",
    ("zeek/ipv6-mobility-dst-opts.pcap", 3): "bad_extension_header",
    ("zeek/ipv6_zero_len_ah.pcap", 5): "bad_extension_header",
}


def row_of(view: View) -> dict[str, str]:
    """What tshark would print of this view."""
    row: dict[str, str] = {}
    address = ipaddress.IPv4Address if view["family"] == 4 else ipaddress.IPv6Address
    prefix = "ip" if view["family"] == 4 else "ipv6"
    for side, name in (("source", "src"), ("destination", "dst")):
        row[f"{prefix}.{name}"] = str(address(view[f"{side}_hi"] << 64 | view[f"{side}_lo"]))
    row["ip.ttl" if view["family"] == 4 else "ipv6.hlim"] = str(view["ttl"])
    if view["has_ports"]:
        kind = {6: "tcp", 17: "udp", 132: "sctp"}[view["protocol"]]
        row |= {f"{kind}.srcport": str(view["source_port"]), f"{kind}.dstport": str(view["destination_port"])}
    if view["has_tcp"]:
        row |= {"tcp.flags": f"0x{view['tcp_flags']:04x}", "tcp.window_size_value": str(view["tcp_window"])}
    if view["has_mss"]:
        row["tcp.options.mss_val"] = str(view["tcp_mss"])
    if view["has_window_scale"]:
        row["tcp.options.wscale.shift"] = str(view["tcp_window_scale"])
    if view["has_icmp"]:
        kind = "icmp" if view["family"] == 4 else "icmpv6"
        row |= {f"{kind}.type": str(view["icmp_type"]), f"{kind}.code": str(view["icmp_code"])}
    return row


@pytest.mark.parametrize("name", list(EXPECTED))
def test_real_packets_read_as_tshark_reads_them(name: str) -> None:
    for packet, expected in zip(read_capture(CAPTURES / name), EXPECTED[name], strict=True):
        if not packet.is_ip:
            continue
        view = _parse.parse_of(packet.data, packet.original_length)
        verdict = _parse.parse_status_name(view["status"])
        assert verdict == MALFORMED.get((name, packet.number), "ok"), packet.number
        if verdict == "ok":
            row = row_of(view)
            assert row == {field: expected.get(field) for field in row}, packet.number

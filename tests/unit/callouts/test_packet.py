"""Where a packet's data are, against Scapy, and that no bytes are read beyond it."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop

from wfpd.callouts import _packet

DATA = b"some data"
FRONTS = {
    "IPv4": IP(src="192.0.2.1", dst="198.51.100.2"),
    "IPv4 with options": IP(src="192.0.2.1", dst="198.51.100.2", options=b"\x01\x01\x01\x01"),
    "IPv6": IPv6(src="2001:db8::1", dst="2001:db8::2"),
    "IPv6 with headers": IPv6(src="2001:db8::1", dst="2001:db8::2") / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt(),
    "IPv6 atomic fragment": IPv6(src="2001:db8::1", dst="2001:db8::2") / IPv6ExtHdrFragment(),
}
ALL = [_packet.source_of, _packet.flow_of, _packet.tcp_segment, _packet.udp_data, _packet.mss_option]


@pytest.mark.parametrize("front", FRONTS.values(), ids=FRONTS)
def test_data_are_found_behind_every_header(front: Any) -> None:
    packet = bytes(front / UDP(sport=1000, dport=53) / DATA)
    assert _packet.udp_data(packet) == (1000, 53, len(packet) - len(DATA), len(packet))
    assert _packet.tcp_segment(packet) is None
    packet = bytes(front / TCP(sport=1000, dport=443, seq=0xFFFFFFF0, flags="PA", options=[("MSS", 1400)]) / DATA)
    key, flags, sequence, start, end = _packet.tcp_segment(packet) or pytest.fail("no segment")
    assert (flags, sequence, packet[start:end]) == (0x18, 0xFFFFFFF0, DATA)
    assert key == ipaddress.ip_address(front.src).packed + ipaddress.ip_address(front.dst).packed + b"\x03\xe8\x01\xbb"
    assert _packet.udp_data(packet) is None and _packet.mss_option(packet) is None
    assert _packet.source_of(packet) == ipaddress.ip_address(front.src).packed


def test_what_follows_the_packet_is_not_its_data() -> None:
    packet = bytes(FRONTS["IPv4"] / UDP() / DATA) + bytes(6)
    assert packet[slice(*(_packet.udp_data(packet) or ())[2:])] == DATA
    packet = bytes(FRONTS["IPv4"] / UDP(len=11) / DATA)
    assert packet[slice(*(_packet.udp_data(packet) or ())[2:])] == DATA[:3]


def test_a_later_fragment_has_no_transport_header() -> None:
    for packet in (IP(frag=1) / UDP() / DATA, IPv6() / IPv6ExtHdrFragment(offset=1) / UDP() / DATA):
        assert _packet.udp_data(bytes(packet)) is None
        assert _packet.flow_of(bytes(packet)) is not None


@pytest.mark.parametrize("front", [FRONTS["IPv4"], FRONTS["IPv6"]])
def test_both_directions_of_a_flow_have_one_key_and_others_another(front: Any) -> None:
    back = type(front)(src=front.dst, dst=front.src)
    one = _packet.flow_of(bytes(front / TCP(sport=5, dport=6)))
    assert one == _packet.flow_of(bytes(back / TCP(sport=6, dport=5)))
    assert one != _packet.flow_of(bytes(front / TCP(sport=6, dport=5)))
    assert one != _packet.flow_of(bytes(front / UDP(sport=5, dport=6)))


def test_the_segment_size_is_found_in_a_syn_behind_other_options() -> None:
    options = [("NOP", None), ("WScale", 7), ("MSS", 1460), ("SAckOK", b"")]
    packet = bytes(FRONTS["IPv6"] / TCP(flags="S", options=options))
    at, value = _packet.mss_option(packet) or pytest.fail("no option")
    assert value == 1460 and packet[at : at + 2] == b"\x05\xb4"
    assert _packet.mss_option(bytes(IP() / TCP(flags="S"))) is None
    assert _packet.mss_option(bytes(IP() / TCP(flags="S", options=[("EOL", None), ("MSS", 1460)]))) is None
    for broken in (b"\x02\x05\x05\xb4", b"\x05\x00\x00\x00", b"\x05\x01\x02\x04", b"\x01\x01\x01\x02"):
        assert _packet.mss_option(bytes(IP() / TCP(flags="S", dataofs=6) / broken)) is None


def test_the_length_is_that_of_the_header_where_the_copy_is_shorter() -> None:
    for packet in (bytes(IP() / UDP() / DATA), bytes(IPv6() / UDP() / DATA)):
        assert _packet.total_length(packet[:45]) == _packet.total_length(packet) == len(packet)
    assert _packet.total_length(b"\x45") == 1


@given(st.binary(max_size=120).map(lambda data: bytes([data[0] & 0x2F | 0x40]) + data[1:] if data else data))
def test_any_bytes_are_read_within_their_bounds(data: bytes) -> None:
    for ask in ALL:
        ask(data)
    for place in (_packet.tcp_segment(data), _packet.udp_data(data)):
        assert place is None or 0 < place[-2] <= place[-1] <= len(data)


@pytest.mark.parametrize("front", FRONTS.values(), ids=FRONTS)
def test_a_packet_cut_anywhere_is_no_fault(front: Any) -> None:
    whole = bytes(front / TCP(flags="S", options=[("MSS", 1400)]) / DATA)
    for size in range(len(whole)):
        for ask in ALL:
            ask(whole[:size])

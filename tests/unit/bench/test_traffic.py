"""The packets of a measurement."""

from __future__ import annotations

import ipaddress

from wfpd.bench import traffic
from wfpd.capture import CapturedPacket
from wfpd.dataplane import parse_of


def captured(data: bytes, original: int | None = None, *, is_ip: bool = True) -> CapturedPacket:
    return CapturedPacket(1, 0, data, len(data) if original is None else original, is_ip, None, 1)


def test_a_made_up_packet_is_what_it_says() -> None:
    source, destination = int(ipaddress.IPv4Address("192.0.2.1")), int(ipaddress.IPv4Address("198.51.100.7"))
    packet = traffic.udp4(source, destination, 1025, 53)
    assert len(packet) == traffic.SIZE
    assert traffic.checksum(packet[:20]) == 0
    view = parse_of(packet)
    assert (view["source_lo"], view["destination_lo"]) == (source, destination)
    assert (view["source_port"], view["destination_port"], view["protocol"]) == (1025, 53, 17)


def test_made_up_packets_are_of_as_many_conversations_as_asked_for_and_the_same_each_time() -> None:
    packets = traffic.made_up(100, 7)
    assert len(packets) == 100 and len(set(packets)) == 7
    assert packets == traffic.made_up(100, 7)
    assert all(traffic.routable4(int.from_bytes(p[at : at + 4], "big")) for p in packets for at in (12, 16))


def test_loopback_multicast_and_this_network_are_not_routable() -> None:
    refused = ("0.1.2.3", "127.0.0.1", "224.0.0.1", "255.255.255.255")
    assert not any(traffic.routable4(int(ipaddress.IPv4Address(text))) for text in refused)
    assert traffic.routable4(int(ipaddress.IPv4Address("223.255.255.1")))


def test_of_a_capture_only_whole_ip_packets_are_taken_and_padding_is_not() -> None:
    whole = traffic.udp4(1 << 24, 2 << 24, 1, 2)
    found = traffic.of_capture(
        iter([captured(whole + b"\0\0", len(whole)), captured(whole[:30], 50), captured(b"", 60, is_ip=False),
              captured(whole), captured(whole)]), 2,
    )  # fmt: skip
    assert found == [whole, whole]


def test_a_short_capture_is_taken_over_and_over() -> None:
    assert traffic.repeated([b"a", b"b"], 5) == [b"a", b"b", b"a", b"b", b"a"]

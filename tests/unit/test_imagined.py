"""Described packets: the bytes are sound, and what cannot be meant is refused."""

from __future__ import annotations

import dataclasses
import ipaddress
from typing import Any

import pytest

from wfpd.dataplane import parse_of
from wfpd.dataplane._parse import VERIFY_CHECKSUMS
from wfpd.errors import UsageError
from wfpd.imagined import Imagined, imagine, parse_end

V4 = ("192.0.2.1", "198.51.100.2")
V6 = ("2001:db8::1", "2001:db8::2")


def read(packet: Imagined, flags: int = VERIFY_CHECKSUMS) -> dict[str, int]:
    return parse_of(packet.data(), -1, flags)


@pytest.mark.parametrize("ends", [V4, V6], ids=["v4", "v6"])
@pytest.mark.parametrize("protocol", ["tcp", "udp", "udplite", "dccp"])
@pytest.mark.parametrize("payload", [0, 1, 1400])
def test_a_packet_with_ports_is_sound_down_to_its_checksums(protocol: str, ends: tuple[str, str], payload: int) -> None:
    source, destination = (f"{end}:{port}" if ":" not in end else f"[{end}]:{port}"
                           for end, port in zip(ends, (4321, 53), strict=True))  # fmt: skip
    view = read(imagine(protocol, source, destination, payload=payload))
    assert (view["status"], view["source_port"], view["destination_port"]) == (0, 4321, 53)
    assert view["payload_length"] == payload


@pytest.mark.parametrize("ends", [V4, V6], ids=["v4", "v6"])
def test_rare_parts_of_the_headers_can_be_said(ends: tuple[str, str]) -> None:
    source, destination = (ipaddress.ip_address(end) for end in ends)
    with_bytes = Imagined(17, source, destination, 1, 2, content=b"hello")
    assert with_bytes.data().endswith(b"hello") and read(with_bytes)["payload_length"] == 5
    numbered = read(Imagined(6, source, destination, 1, 2, sequence=2**32 - 1, acknowledged=7))
    assert (numbered["tcp_sequence"], numbered["tcp_acknowledgment"]) == (2**32 - 1, 7)
    made = Imagined(6, source, destination, 1, 2, ttl=3, tos=0xB9, window=7, options=b"\x02\x04\x01\xf4")
    view = read(made)
    assert [view[name] for name in ("status", "ttl", "dscp", "ecn", "tcp_mss", "tcp_window")] == [0, 3, 46, 1, 500, 7]
    fragments = [read(dataclasses.replace(made, fragment=number), 0) for number in (1, 2)]
    assert [(view["fragment"], view["has_ports"]) for view in fragments] == [(1, True), (2, False)]
    inner = Imagined(17, destination, source, 9, 53)
    error = Imagined(1 if source.version == 4 else 58, source, destination, icmp_type=3, quoted=inner.data())
    view = read(error)
    assert [view[name] for name in ("status", "is_icmp_error", "quoted_destination_port")] == [0, True, 53]


def test_sctp_has_no_checksum_and_is_else_sound() -> None:
    view = read(imagine("sctp", "192.0.2.1:1", "192.0.2.2:2"), 0)
    assert (view["status"], view["destination_port"]) == (0, 2)


@pytest.mark.parametrize(("ends", "number", "echo"), [(V4, 1, 8), (V6, 58, 128)])
def test_icmp_is_that_of_the_family_and_an_echo_request_by_default(
    ends: tuple[str, str], number: int, echo: int
) -> None:
    view = read(imagine("icmp", *ends))
    assert (view["status"], view["protocol"], view["icmp_type"], view["icmp_code"]) == (0, number, echo, 0)
    named = read(imagine("icmp", *ends, icmp="destination_unreachable/3", payload=40), 0)
    assert (named["icmp_type"], named["icmp_code"]) == (3 if number == 1 else 1, 3)
    assert read(imagine("icmp", *ends, icmp="200/7"))["icmp_type"] == 200


def test_flags_and_ports_have_defaults() -> None:
    view = read(imagine("tcp", "192.0.2.1", "192.0.2.2:22"))
    assert (view["tcp_flags"], view["source_port"]) == (2, 50000)
    assert read(imagine("TCP", "192.0.2.1", "192.0.2.2:22", flags="syn,ACK"))["tcp_flags"] == 18
    assert read(imagine("gre", *V4))["protocol"] == 47
    assert read(imagine("89", *V6))["protocol"] == 89


def test_an_end_is_an_address_and_perhaps_a_port() -> None:
    assert [(str(address), port) for address, port in map(parse_end, (
        "192.0.2.1", "192.0.2.1:80", "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:443"))] == [
        ("192.0.2.1", None), ("192.0.2.1", 80), ("2001:db8::1", None), ("2001:db8::1", None), ("2001:db8::1", 443),
    ]  # fmt: skip


def test_a_packet_of_a_capture_is_what_it_becomes() -> None:
    packet = imagine("udp", "192.0.2.1:1", "192.0.2.2:2").packet("eth0")
    assert (packet.number, packet.is_ip, packet.interface_name) == (1, True, b"eth0")
    assert packet.original_length == len(packet.data) == 28
    assert imagine("udp", "192.0.2.1:1", "192.0.2.2:2").packet().interface_name is None


@pytest.mark.parametrize(("arguments", "options", "says"), [
    (("tcp", "192.0.2.1", "192.0.2.2"), {}, "tcp goes to a port"),
    (("udp", "2001:db8::1", "2001:db8::2"), {}, "udp goes to a port"),
    (("tcp", "192.0.2.1", "[2001:db8::1]:80"), {}, "different families"),
    (("tcp", "here", "192.0.2.2:1"), {}, "'here' is no address"),
    (("tcp", "192.0.2.1:70000", "192.0.2.2:1"), {}, "at most 65535"),
    (("nonsense", "192.0.2.1", "192.0.2.2"), {}, "no protocol 'nonsense'"),
    (("256", "192.0.2.1", "192.0.2.2"), {}, "no protocol '256'"),
    (("icmp", "192.0.2.1:1", "192.0.2.2"), {}, "icmp has no ports"),
    (("udp", "192.0.2.1:1", "192.0.2.2:1"), {"flags": "syn"}, "udp has no flags"),
    (("tcp", "192.0.2.1:1", "192.0.2.2:1"), {"icmp": "8"}, "tcp has no ICMP types"),
    (("tcp", "192.0.2.1:1", "192.0.2.2:1"), {"flags": "syn,loud"}, "no TCP flag 'loud'"),
    (("icmp", "192.0.2.1", "192.0.2.2"), {"icmp": "loud"}, "no ICMP type"),
    (("icmp", "192.0.2.1", "192.0.2.2"), {"icmp": "8/300"}, "no ICMP type"),
    (("tcp", "192.0.2.1:1", "192.0.2.2:1"), {"payload": 1401}, "at most 1400 bytes"),
])  # fmt: skip
def test_what_cannot_be_meant_is_refused(arguments: tuple[str, str, str], options: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        imagine(*arguments, **options)

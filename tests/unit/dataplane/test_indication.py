"""What a callout reads of one indication: values, metadata, the packet, its filter."""

from __future__ import annotations

import ipaddress
import pathlib
import sys
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment

from tests.registering import IN, PACKET, asked_once, decided


def test_values_are_read_by_name_and_an_absent_one_is_none(tmp_path: pathlib.Path) -> None:
    seen: dict[str, Any] = {}

    def classify(c: Any) -> None:
        seen.update(source=c.values["ip_source_address"], port=c.values["ip_destination_port"])
        seen.update(flags=c.values["tcp_flags"], name=c.filter, layer=c.layer, action=c.action, right=c.write_right)
        seen.update(packet=bytes(c.packet), readonly=c.packet.readonly)
        with pytest.raises(KeyError):
            c.values["ip_local_port"]

    result, _ = asked_once(tmp_path, classify)
    assert seen == {
        "source": ipaddress.ip_address("192.0.2.1"), "port": 53, "flags": None, "name": "one",
        "layer": "ipforward_v4", "action": None, "right": True, "packet": PACKET, "readonly": True,
    }  # fmt: skip
    assert result["reason"] == "no_match"


def test_a_packet_view_is_not_copied(tmp_path: pathlib.Path) -> None:
    sizes: list[int] = []
    asked_once(tmp_path, lambda c: sizes.append(sys.getsizeof(c.packet[4:])))
    assert sizes and sizes[0] < 1000


def test_a_slice_that_is_kept_stays_what_it_was(tmp_path: pathlib.Path) -> None:
    kept: list[tuple[memoryview, bytes]] = []
    replayed, _ = decided(tmp_path, lambda c: kept.append((c.packet[4:], bytes(c.packet[4:]))), "inbound_transport")
    for number in range(4):
        replayed.send(IN / UDP(sport=9, dport=53) / (b"%d" % number * 100))
        replayed.send(IN / UDP(sport=9, dport=53) / bytes(100))
    assert len(kept) == 8 and all(bytes(part) == copy for part, copy in kept)


def test_metadata_is_read_by_name(tmp_path: pathlib.Path) -> None:
    seen: list[dict[str, Any]] = []
    replayed, _ = decided(tmp_path, lambda c: seen.append(dict(c.metadata.items())), "inbound_transport")
    replayed.send(IN / ICMP(id=7, seq=11) / b"abc")
    replayed.send(IN / UDP(sport=9, dport=53) / b"abc")
    replayed.send(IN / UDP(sport=9, dport=53) / b"abc")
    assert [(one["ip_header_size"], one["transport_header_size"], one["icmp_id_and_sequence"]) for one in seen] == [
        (20, 8, (7, 11)), (20, 8, None), (20, 8, None)]  # fmt: skip
    assert [one["ale_classify_required"] for one in seen] == [True, True, False]
    assert seen[1]["flow_handle"] == seen[2]["flow_handle"] is not None
    assert (seen[0]["compartment_id"], seen[0]["transport_endpoint_handle"]) == (None, None)


def test_metadata_of_another_layer_is_a_key_error(tmp_path: pathlib.Path) -> None:
    def classify(c: Any) -> None:
        assert "fragment_data" not in c.metadata
        with pytest.raises(KeyError):
            c.metadata["fragment_data"]
        c.block()

    replayed, _ = decided(tmp_path, classify, "inbound_transport")
    assert replayed.send(IN / UDP() / b"abc")["reason"] == "callout"


@pytest.mark.parametrize(("packet", "expected"), [
    (IN / UDP(), None),
    (IP(src="192.0.2.9", dst="192.0.2.1", id=5, flags="MF", frag=0) / UDP() / bytes(16), (5, 0, True)),
    (IP(src="192.0.2.9", dst="192.0.2.1", id=5, frag=3, proto=17) / bytes(16), (5, 24, False)),
    (IPv6(src="2001:db8::9", dst="2001:db8::1") / IPv6ExtHdrDestOpt() / IPv6ExtHdrFragment(id=77, offset=4, m=1, nh=17)
     / bytes(16), (77, 32, True)),
])  # fmt: skip
def test_fragment_data_say_what_the_header_says(tmp_path: pathlib.Path, packet: Any, expected: Any) -> None:
    seen: list[Any] = []
    replayed, _ = decided(tmp_path, lambda c: seen.append(c.metadata["fragment_data"]), "inbound_ippacket")
    replayed.send(packet)
    assert seen == [expected]


@pytest.mark.parametrize(("packet", "payload"), [
    (IN / UDP() / b"abc", b"abc"), (IN / TCP(dport=80, flags="S"), b""), (IN / TCP(dport=80, flags="S") / b"xy", b"xy"),
    (IPv6(src="2001:db8::9", dst="2001:db8::1") / IPv6ExtHdrDestOpt() / UDP() / b"six", b"six"),
])  # fmt: skip
def test_the_payload_follows_the_transport_header_without_a_copy(
    tmp_path: pathlib.Path, packet: Any, payload: bytes
) -> None:
    kept: list[memoryview] = []

    def classify(c: Any) -> None:
        kept.append(c.payload)
        assert (bytes(c.payload), c.payload.readonly, c.hook, c.direction) == (payload, True, "input", "inbound")
        c.block()

    replayed, _ = decided(tmp_path, classify, "inbound_transport")
    assert replayed.send(packet)["reason"] == "callout"
    with pytest.raises(ValueError):
        bytes(kept[0])


def test_scapy_sees_a_copy_of_either_family(tmp_path: pathlib.Path) -> None:
    seen: list[Any] = []
    replayed, _ = decided(tmp_path, lambda c: seen.append(c.scapy()), "inbound_transport")
    for packet in (IN / UDP(dport=53) / b"abc", IPv6(src="2001:db8::9", dst="2001:db8::1") / UDP(dport=54)):
        replayed.send(packet)
    assert [(type(one).__name__, one[UDP].dport) for one in seen] == [("IP", 53), ("IPv6", 54)]


def test_a_callout_knows_the_kind_the_flag_and_the_word_of_its_filter(tmp_path: pathlib.Path) -> None:
    seen: list[Any] = []
    more = """  - {name: two, layer: ipforward_v4, sublayer: low, action: {callout: c}, flags: [clear_action_right],
     on_error: block}
sublayers: [{name: low, weight: 5}]
"""

    def classify(c: Any) -> None:
        seen.append((c.kind, c.clear_action_right, c.error_word, c.direction, c.late_ns))

    replayed, _ = decided(tmp_path, classify, "ipforward_v4", kind=", kind: inspection", more=more)
    replayed.send(IP(src="198.51.100.1", dst="198.51.100.2") / UDP())
    assert seen == [("inspection", False, "permit", None, None), ("unknown", True, "block", None, None)]


def test_the_time_is_that_of_the_packet(tmp_path: pathlib.Path) -> None:
    seen: list[int] = []
    asked_once(tmp_path, lambda c: seen.append(c.now_ns))
    assert seen == [1]

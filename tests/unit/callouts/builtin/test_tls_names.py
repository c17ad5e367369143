"""TLS connections decided by the server's name: at layers of packets, at stream, and in replay."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet, Raw

from tests.replaying import decide
from tests.unit.callouts.builtin.fake import FakeContext, answer
from tests.unit.callouts.hellos import ECH, hello, message, records, server_name
from wfpd.callouts.builtin.tls_names import TlsNames

FRONT = IP(src="192.0.2.1", dst="198.51.100.2") / TCP(sport=40000, dport=443)
BACK = IP(src="198.51.100.2", dst="192.0.2.1") / TCP(sport=443, dport=40000)
START = 0xFFFFFF00
BAD, GOOD = hello(b"www.bad.example", 1500), hello(b"www.example.org", 1500)


def segments(data: bytes, cuts: list[int], front: Packet = FRONT, start: int = START) -> list[bytes]:
    """The handshake's first packet and the data in pieces that end at `cuts`."""
    packets, at = [], 0
    front = front.copy()
    front[TCP].flags, front[TCP].seq = "S", start - 1
    packets.append(bytes(front))
    front[TCP].flags = "PA"
    for cut in sorted({*cuts, len(data)}):
        if at < cut <= len(data):
            front[TCP].seq = start + at & 0xFFFFFFFF
            packets.append(bytes(front / Raw(data[at:cut])))
            at = cut
    return packets


def words(callout: TlsNames, packets: list[bytes]) -> list[str]:
    found = [answer(callout, FakeContext(packet)) for packet in packets]
    return [word if isinstance(word, str) else word[0] for word in found]


@given(st.lists(st.integers(1, 1700), max_size=6))
def test_however_it_is_cut_the_segment_that_completes_it_and_all_behind_get_the_answer(cuts: list[int]) -> None:
    packets = segments(BAD, cuts)
    found = words(TlsNames(".bad.example"), [*packets, packets[-1]])
    assert found == ["continue"] * (len(packets) - 1) + ["block", "block"]
    assert set(words(TlsNames(".bad.example"), segments(GOOD, cuts))) == {"continue"}


def test_segments_out_of_order_and_retransmitted_are_put_together() -> None:
    syn, first, second, third = segments(BAD, [100, 900])
    assert words(TlsNames("www.bad.example"), [syn, second, second, first, third]) == ["continue"] * 4 + ["block"]
    assert words(TlsNames("www.bad.example"), [syn, third, first, second, first]) == ["continue"] * 3 + ["block"] * 2


def test_a_connection_met_without_its_beginning_is_read_if_its_first_data_are_a_hello() -> None:
    packets = segments(BAD, [700])[1:]
    assert words(TlsNames("www.bad.example"), packets) == ["continue", "block"]
    assert words(TlsNames("www.bad.example", other="permit"), packets[1:]) == ["permit"]


def test_an_allow_list_permits_what_is_listed_and_refuses_the_rest() -> None:
    callout = TlsNames("*.example.org", listed="permit", unlisted="tcp_reset")
    assert words(callout, segments(GOOD, [])) == ["continue", "permit"]
    refused = [answer(callout, FakeContext(packet)) for packet in segments(BAD, [])]
    assert refused == ["continue", ("block", {"reply": "tcp_reset"})]


def test_the_answering_side_is_never_read() -> None:
    callout = TlsNames("www.bad.example", other="block")
    syn, data = segments(GOOD, [])
    back = [BACK.copy() for _ in range(2)]
    back[0][TCP].flags, back[1][TCP].flags = "SA", "PA"
    packets = [syn, bytes(back[0]), data, bytes(back[1] / Raw(b"\x16\x03\x03\x00\x04\x02\x00\x00\x00")), bytes(back[1])]
    assert words(callout, packets) == ["continue"] * 5


def test_ports_that_are_used_again_begin_anew() -> None:
    callout = TlsNames("www.bad.example")
    assert words(callout, segments(BAD, []) + segments(GOOD, [], start=7)) == [
        "continue",
        "block",
        "continue",
        "continue",
    ]


OTHERS = {
    "no_name": records(message()), "other": b"SSH-2.0-OpenSSH\r\n", "malformed": records(message(server_name(b""))),
    "malformed when too long": records(b"\x01\x00\xff\xff" + bytes(2000)),
    "ech": records(message(server_name(b"o.example") + ECH)),
}  # fmt: skip


@pytest.mark.parametrize("stream", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("how", ["continue", "permit", "block"])
def test_what_is_no_name_has_the_answer_its_option_declares(stream: bytes, how: str, request: Any) -> None:
    option = request.node.callspec.id.split("-", 1)[1].split()[0]
    callout = TlsNames("o.example", **{option: how})
    assert words(callout, segments(stream, [3]))[-1] == how
    assert callout.decided(stream)[0] == how


def test_the_outer_name_of_an_encrypted_hello_counts_by_default() -> None:
    assert words(TlsNames("o.example"), segments(OTHERS["ech"], []))[-1] == "block"


def test_records_of_one_byte_are_malformed_when_their_bytes_are_too_many() -> None:
    long = message(server_name(b"www.bad.example") + b"\x00\x15\x01\xf0" + bytes(0x1F0))
    stream = records(long, [1] * len(long))
    callout = TlsNames("www.bad.example", most=1024, malformed="permit")
    assert words(callout, segments(stream, list(range(100, 4000, 100))))[-1] == "permit"
    assert callout.beginnings.held == 0


def test_at_stream_it_asks_for_what_is_missing_and_allows_or_drops_the_connection() -> None:
    callout = TlsNames("www.bad.example")
    for stream, word in ((BAD, "drop_connection"), (GOOD, "allow_connection")):
        size, times = 1, 0
        while (found := answer(callout, FakeContext(layer="stream_v6", stream=memoryview(stream)[:size]))) != word:
            assert found[0] == "need_more" and size + found[1]["n"] <= len(stream)
            size, times = size + found[1]["n"], times + 1
        assert times <= 3


def test_a_direction_that_ends_without_data_passes() -> None:
    assert (
        answer(TlsNames("a.example", other="block"), FakeContext(layer="stream_v4", stream=memoryview(b""))) == "permit"
    )


def test_other_packets_pass() -> None:
    assert (
        words(TlsNames("a.example", other="block"), [b"", bytes(IP()), bytes(IPv6()), bytes(FRONT)]) == ["continue"] * 4
    )


def test_the_table_is_bounded(tmp_path: pathlib.Path) -> None:
    callout = TlsNames("a.example", entries=10)
    for port in range(50):
        front = FRONT.copy()
        front[TCP].sport = 1000 + port
        words(callout, segments(GOOD, [50], front)[: 2 + port % 2])
    assert len(callout.beginnings.flows) == 10 and callout.beginnings.evicted > 0


@pytest.mark.parametrize(
    "options",
    [
        {"names": "a", "most": 511}, {"names": "a", "entries": 0}, {"names": "a", "ech": "inner"},
        {"names": "a", "other": 1}, {"file": 3},
    ],
)  # fmt: skip
def test_options_that_mean_nothing_are_refused_by_name(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"^{list(options)[-1]}"):
        TlsNames(**options)


def test_replay_blocks_a_listed_server_in_both_families(tmp_path: pathlib.Path) -> None:
    names = tmp_path / "names"
    names.write_text("# blocked\n.bad.example\n")
    policy = f"""version: 1
callouts: [{{name: tls, use: "wfpd.callouts.builtin.tls_names:TlsNames", options: {{file: {names}}}}}]
filters:
  - {{name: one, layer: ipforward, action: {{callout: tls}}, when: {{ip_protocol: tcp, ip_destination_port: 443}}}}
"""
    front = IPv6(src="2001:db8::1", dst="2001:db8::2") / TCP(sport=40000, dport=443)
    packets: list[Packet | bytes] = [
        *segments(BAD, [800]),
        *segments(GOOD, [800], front),
        *segments(BAD, [800], front, 9),
    ]
    found = [line["verdict"] for line in decide(policy, packets)]
    assert found == ["permit", "permit", "block"] + ["permit"] * 3 + ["permit", "permit", "block"]

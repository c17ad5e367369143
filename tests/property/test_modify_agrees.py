"""Whatever callouts write, what goes back is well-formed, of the same flow, and has the checksums of the slow twin."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrDestOpt
from scapy.packet import Packet, Raw

from tests.oracle import checksums
from wfpd.dataplane._modify import Draft, modified_of, refused
from wfpd.dataplane._parse import VERIFY_CHECKSUMS, parse_of
from wfpd.errors import ActionRefused

PAYLOAD = st.binary(max_size=600)
V4 = st.builds(IP, src=st.just("192.0.2.1"), dst=st.just("198.51.100.7"), tos=st.integers(0, 255))
V6 = st.one_of(
    st.builds(IPv6, src=st.just("2001:db8::1"), dst=st.just("2001:db8:9::7"), tc=st.integers(0, 255)),
    st.just(IPv6(src="2001:db8::1", dst="2001:db8::7") / IPv6ExtHdrDestOpt()),
)
LAYERS = {6: TCP(sport=7, dport=80), 17: UDP(sport=7, dport=53)}
SAME = ("family", "source_hi", "source_lo", "destination_hi", "destination_lo", "protocol", "source_port",
        "destination_port", "icmp_type", "icmp_code", "icmp_id", "fragment", "transport_offset")  # fmt: skip


@st.composite
def packets(draw: st.DrawFn) -> tuple[bytes, int]:
    """A packet with right checksums and its protocol."""
    family, protocol = draw(st.sampled_from([4, 6])), draw(st.sampled_from([6, 17, 1]))
    header: Packet = draw(V4 if family == 4 else V6)
    if protocol == 1:
        protocol = 1 if family == 4 else 58
        layer = ICMP(id=5) if family == 4 else ICMPv6EchoRequest(id=5)
    else:
        layer = LAYERS[protocol].copy()
    return bytes(header / layer / Raw(draw(PAYLOAD))), protocol


def check(before: bytes, after: bytes | None, protocol: int) -> None:
    """What may go back on the wire."""
    assert after is not None
    was, now = parse_of(before), parse_of(after, -1, VERIFY_CHECKSUMS)
    assert now["status"] == 0 and now["length"] == len(after)
    assert [was[name] for name in SAME] == [now[name] for name in SAME]
    assert checksums.right(after, protocol, now["transport_offset"])


@given(packets(), st.data())
def test_another_payload_gets_its_lengths_and_checksums(made: tuple[bytes, int], data: st.DataObject) -> None:
    before, protocol = made
    view = parse_of(before)
    offset = view["payload_offset"]
    size = view["payload_length"]
    payload = data.draw(st.binary(min_size=size, max_size=size) if protocol == 6 else PAYLOAD)
    spoiled = bytearray(before[:offset] + payload)
    if before[0] >> 4 == 4:
        spoiled[10:12] = data.draw(st.binary(min_size=2, max_size=2))
    at = view["transport_offset"] + checksums.AT[protocol]
    spoiled[at : at + 2] = data.draw(st.binary(min_size=2, max_size=2))
    status, after = modified_of(before, bytes(spoiled))
    assert status == 0
    check(before, after, protocol)
    assert after is not None and after[offset:] == payload


@given(packets(), st.integers(0, 700), st.binary(max_size=40))
def test_what_is_written_anywhere_is_refused_or_right(made: tuple[bytes, int], offset: int, data: bytes) -> None:
    before, protocol = made
    status, after = modified_of(before, data, offset=offset)
    assert (status == 0) is (after is not None)
    if status == 0:
        check(before, after, protocol)
    elif offset + len(data) > len(before):
        assert status == 8


@given(packets(), st.binary(max_size=1500), st.booleans(), st.integers(-1, 3000))
def test_any_bytes_are_refused_or_right(made: tuple[bytes, int], data: bytes, gso: bool, original: int) -> None:
    before, protocol = made
    status, after = modified_of(before, data, gso=gso, original=original)
    if status == 0:
        check(before, after, protocol)
    else:
        assert after is None


@given(packets(), st.lists(st.tuples(st.integers(-1, 80), st.binary(max_size=40)), max_size=4), st.booleans(),
       st.integers(-1, 700))  # fmt: skip
def test_a_draft_changes_as_the_packet_does(
    made: tuple[bytes, int], steps: list[tuple[int, bytes]], gso: bool, original: int
) -> None:
    before, _ = made
    if original >= 0 and original < len(before):
        original = -1
    draft = Draft(before, original=original, gso=gso)
    for offset, data in steps:
        candidate = before[:28] + data if offset < 0 else data
        status, after = modified_of(before, candidate, gso=gso, original=original, offset=offset)
        change: Callable[[], None] = (
            partial(draft.modify, candidate) if offset < 0 else partial(draft.write, offset, candidate)
        )
        if after is None:
            with pytest.raises(ActionRefused) as caught:
                change()
            assert str(caught.value) == str(refused(status))
        else:
            change()
            before, original = after, -1
        view = parse_of(before, original)
        assert (draft.packet, draft.whole) == (before, original <= len(before))
        assert draft.payload_offset == (view["payload_offset"] or None)
        assert draft.payload == before[view["payload_offset"] or len(before) :][: view["payload_length"]]

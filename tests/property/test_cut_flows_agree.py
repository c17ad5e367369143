"""Which packets of cut flows are blocked, passed and asked about, as the slow twin says."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.builders import a_filter, a_policy, callout, slot, snapshot
from tests.oracle.cut_flows import SECOND, CutFlows
from wfpd.dataplane import Flows, Replayer
from wfpd.dataplane._streams import Streams
from wfpd.model.policy import Action

HERE, THERE = ("192.0.2.1", 5000), ("198.51.100.2", 80)
FLAGS = {"S": 0x02, "SA": 0x12, "A": 0x10, "PA": 0x18, "R": 0x04, "RA": 0x14}
PACKETS = st.lists(
    st.tuples(
        st.booleans(),  # Back.
        st.integers(0, 1),  # Which flow.
        st.sampled_from(["S", "SA", "A", "PA", "PA", "PA", "R", "RA"]),
        st.booleans() | st.just(False),  # Has the word.
        st.sampled_from([0, 0, 0, 9, 11, 59, 61]),  # Seconds since the packet before.
    ),
    max_size=14,
)


def made(family: int, tracked: bool, asked: list[int]) -> Replayer:
    """A policy whose callout resets what has the word."""

    def classify(c: Any) -> None:
        asked.append(1)
        if b"evil" in bytes(c.payload):
            c.block(reply="tcp_reset")
        else:
            c.permit()

    layers = ["inbound_transport", "outbound_transport"] if tracked else ["ipforward"]
    filters = [a_filter(f"f{layer}", Action.CALLOUT_UNKNOWN, at=slot(layer, family), callout="c") for layer in layers]
    if tracked:
        filters += [a_filter(f"f{layer}", Action.PERMIT, at=slot(layer, family))
                    for layer in ("ale_auth_connect", "ale_auth_recv_accept")]  # fmt: skip
    return Replayer(snapshot(a_policy(filters, callouts=[callout("c")]), [classify]), Flows(64, streams=Streams(16)))


def packet(family: int, back: bool, port: int, flags: str, data: bytes) -> bytes:
    """From 192.0.2.1 or its like to port 80 + `port`, or back; nobody looks at checksums."""
    ports = (80 + port, 5000) if back else (5000, 80 + port)
    tcp = struct.pack("!HHIIBBHHH", *ports, 1, 1, 5 << 4, FLAGS[flags], 8192, 0, 0) + data
    if family == 4:
        ends = b"\xc0\x00\x02\x01", b"\xc6\x33\x64\x02"
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 1, 0, 64, 6, 0)
    else:
        ends = b"\x20" + bytes(14) + b"\x01", b"\x20" + bytes(14) + b"\x02"
        head = struct.pack("!IHBB", 6 << 28, len(tcp), 6, 64)
    return head + b"".join(ends[::-1] if back else ends) + tcp


@pytest.mark.parametrize("tracked", [False, True])
@pytest.mark.parametrize("family", [4, 6])
@settings(deadline=None)
@given(packets=PACKETS)
@example(  # An entry whose time is over, of ends that were told, is none of the new cut.
    packets=[
        (True, 0, "SA", True, 0),
        (False, 0, "S", False, 9),
        (False, 0, "S", False, 59),
        (False, 0, "SA", True, 0),
        (False, 0, "S", False, 0),
    ]
)
def test_every_packet_is_decided_as_the_twin_says(family: int, tracked: bool, packets: list[Any]) -> None:
    asked: list[int] = []
    replayer, twin, now = made(family, tracked, asked), CutFlows(), SECOND
    for back, port, flags, has_word, later in packets:
        now += 0 if tracked else later * SECOND
        hook = "forward" if not tracked else "input" if back else "output"
        found = replayer.visit(packet(family, back, port, flags, b"evil" if has_word else b"good"), hook, now)
        there = (THERE[0], THERE[1] + port)
        source, destination = (there, HERE) if back else (HERE, there)
        expected = twin.decide(source, destination, flags, has_word, now, tracked=tracked, outbound=not back)
        if expected == ("permit", "callout") and tracked:  # The reason is that of the layer that came last.
            assert found["verdict"] == "permit"
        else:
            assert (found["verdict"], found["reason"]) == expected
        assert expected[0] == "permit" or found["reply"] == "tcp_reset"
    assert len(asked) == twin.asked

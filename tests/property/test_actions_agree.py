"""Whatever callouts write through their context, the packet is as it was, or right by Scapy's sums."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.target_actions import attempt
from tests.property.test_modify_agrees import packets

WRITE = st.tuples(st.integers(0, 120) | st.integers(0, 70_000), st.binary(max_size=40))
WHOLE = st.tuples(st.none(), st.binary(max_size=200))


@given(packets(), st.lists(WRITE | WHOLE, min_size=1, max_size=4))
def test_any_bytes_anywhere_are_refused_or_right(
    made: tuple[bytes, int], attempts: list[tuple[int | None, bytes]]
) -> None:
    attempt(made[0], attempts)


@given(packets(), st.data())
def test_the_packet_itself_with_a_few_other_bytes_is_refused_or_right(
    made: tuple[bytes, int], data: st.DataObject
) -> None:
    spoiled = bytearray(made[0])
    for at in data.draw(st.lists(st.integers(0, len(spoiled) - 1), min_size=1, max_size=5)):
        spoiled[at] = data.draw(st.integers(0, 255))
    attempt(made[0], [(None, bytes(spoiled)), (None, bytes(spoiled) + b"more")])


@given(packets())
def test_other_payload_is_taken(made: tuple[bytes, int]) -> None:
    packet, protocol = made
    assert attempt(packet, [(None, packet)]) == 1
    if protocol == 17:
        assert attempt(packet, [(None, packet + b"more"), (len(packet), b"less")]) == 2

"""A packet that waits behind the stream layer: its bytes are shown once, and its stream ends where it makes no flow."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest
from scapy.layers.inet import IP, TCP

from tests.unit.dataplane.test_pended import HERE, THERE, Pends, World, row

FILTERS = """  - {name: authorize, layer: ale_auth_connect, action: permit}
  - {name: st, layer: stream, action: {callout: stream, kind: unknown}}
  - {name: ask, layer: outbound_transport, action: {callout: waits, kind: unknown}}"""
MIDDLE = IP(src=HERE, dst=THERE) / TCP(sport=9, dport=80, flags="PA", seq=2, ack=2) / b"hello"
"""The first packet that is seen of its flow."""


class Stream:
    """Permits what it is shown."""

    def __init__(self) -> None:
        self.shown: list[tuple[int, bytes]] = []

    def classify(self, c: Any) -> None:
        self.shown.append((c.stream_offset, bytes(c.stream)))
        c.permit()


@pytest.fixture
def world(tmp_path: pathlib.Path) -> World:
    return World(tmp_path, FILTERS, stream=Stream(), waits=Pends())


def callout(world: World, name: str) -> Any:
    return world.decided.items[name].instance


def n_streams(world: World) -> int:
    return len(world.decided.replay.flows.streams)


def test_the_stream_goes_on_with_the_flow_that_the_packet_makes(world: World) -> None:
    waits, stream = callout(world, "waits"), callout(world, "stream")
    assert world.send(MIDDLE)["verdict"] == "parked"
    assert n_streams(world) == 1
    assert waits.handles[0].complete("permit")
    (line,) = world.due()
    assert line["verdict"] == "permit"
    assert [one["layer"] for one in line["layers"]] == ["ale_auth_connect_v4", "outbound_transport_v4"]
    assert row(line, "outbound_transport_v4")["callouts"] == ["waits"]
    more = MIDDLE.copy()
    more[TCP].seq += 5
    assert world.send(more)["verdict"] == "parked"
    assert waits.handles[1].complete("permit")
    (line,) = world.due()
    assert (line["verdict"], stream.shown, n_streams(world)) == ("permit", [(0, b"hello"), (5, b"hello")], 1)


def test_a_packet_that_waits_twice_shows_its_bytes_once(tmp_path: pathlib.Path) -> None:
    stream, first, then = Stream(), Pends(), Pends()
    world = World(tmp_path, FILTERS + "\n  - {name: next, layer: outbound_ippacket, action: {callout: then}}",
                  stream=stream, waits=first, then=then)  # fmt: skip
    assert world.send(MIDDLE)["verdict"] == "parked"
    assert first.handles[0].complete("permit")
    assert (world.due(), n_streams(world)) == ([], 1)
    assert then.handles[0].complete("permit")
    (line,) = world.due()
    assert (line["verdict"], stream.shown, n_streams(world)) == ("permit", [(0, b"hello")], 1)


@pytest.mark.parametrize("how", ["blocked", "late"])
def test_the_stream_of_a_packet_that_makes_no_flow_ends(world: World, how: str) -> None:
    assert world.send(MIDDLE)["verdict"] == "parked"
    if how == "blocked":
        assert callout(world, "waits").handles[0].complete("block")
    (line,) = world.due(None)
    assert (line["verdict"], n_streams(world)) == ("block", 0)


def test_the_stream_ends_where_another_packet_has_made_the_flow(tmp_path: pathlib.Path) -> None:
    stream, waits = Stream(), Pends(times=1)
    world = World(tmp_path, FILTERS, stream=stream, waits=waits)
    assert world.send(MIDDLE)["verdict"] == "parked"
    more = MIDDLE.copy()
    more[TCP].seq += 5
    assert world.send(more)["verdict"] == "permit"
    assert n_streams(world) == 2
    assert waits.handles[0].complete("permit")
    (line,) = world.due()
    assert (line["verdict"], n_streams(world)) == ("permit", 1)

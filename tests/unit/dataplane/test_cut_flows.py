"""A callout's reset reaches both ends: the flow is cut, and the other end is reset by its own next packet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6

from tests.integration.live import snapshot_of
from wfpd.dataplane import Flows, Replayer

SECOND = 1_000_000_000
ENDS = {4: (IP, "192.0.2.1", "198.51.100.2"), 6: (IPv6, "2001:db8::1", "2001:db8::2")}


def segment(family: int, back: bool = False, flags: str = "PA", port: int = 80) -> bytes:
    layer, here, there = ENDS[family]
    if back:
        return bytes(layer(src=there, dst=here) / TCP(sport=port, dport=5000, flags=flags) / b"data")
    return bytes(layer(src=here, dst=there) / TCP(sport=5000, dport=port, flags=flags) / b"data")


class Way:
    """A policy with one callout, which sees the TCP packets of a layer; later ones are permitted."""

    def __init__(self, folder: Path, answer: Callable[[Any], None], layer: str = "ipforward", ale: str = "",
                 also: str = "", **more: Any) -> None:  # fmt: skip
        self.asked = 0
        self._answer = answer
        filters = f"  - {{name: asked, layer: {layer}, action: {{callout: watch}}, when: {{ip_protocol: tcp}}}}"
        if ale:
            filters += f"\n  - {{name: ale, layer: {ale}, action: permit}}"
        filters += also
        self.flows = Flows(64)
        self._replayer = Replayer(snapshot_of(folder, filters, callouts={"watch": self._call}, **more), self.flows)
        self.now = SECOND

    def _call(self, c: Any) -> None:
        self.asked += 1
        if self.asked == 1:
            self._answer(c)
        else:
            c.permit()

    def visit(self, data: bytes, hook: str = "forward") -> dict[str, Any]:
        found: dict[str, Any] = self._replayer.visit(data, hook, self.now)
        return found

    def send(self, data: bytes, hook: str = "forward") -> tuple[str, str, str | None]:
        found = self.visit(data, hook)
        return found["verdict"], found["reason"], found["reply"]


def reset(c: Any) -> None:
    c.block(reply="tcp_reset")


CUT = ("block", "flow", "tcp_reset")


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("first_is_back", [False, True])
def test_both_directions_of_a_cut_forwarded_flow_are_reset_without_a_call(
    tmp_path: Path, family: int, first_is_back: bool
) -> None:
    way = Way(tmp_path, reset)
    assert way.send(segment(family, first_is_back)) == ("block", "callout", "tcp_reset")
    assert way.send(segment(family, not first_is_back)) == CUT
    assert way.send(segment(family, first_is_back)) == CUT
    assert way.asked == 1
    assert way.send(segment(family, port=81)) == ("permit", "callout", None)  # Another flow.
    assert list(way.flows.drain_ended()) == [] and way.flows.page(0, 10)[0] == []  # No flow of anybody's.


def test_an_rst_passes_and_a_syn_begins_another_flow(tmp_path: Path) -> None:
    way = Way(tmp_path, reset)
    way.send(segment(4))
    assert way.send(segment(4, True, "R")) == ("permit", "flow", None)
    assert way.send(segment(4, True)) == CUT
    assert way.send(segment(4, False, "S")) == ("permit", "callout", None)
    assert way.send(segment(4, True)) == ("permit", "callout", None)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("tracked", [False, True])
def test_a_syn_begins_no_other_flow_before_both_ends_were_told(tmp_path: Path, family: int, tracked: bool) -> None:
    # Else the end that was not told would go on with what nobody has seen from its beginning.
    here, there = ("output", "input") if tracked else ("forward", "forward")
    way = Way(tmp_path, reset, "outbound_transport" if tracked else "ipforward", "ale_auth_connect" if tracked else "")
    way.send(segment(family), here)
    assert way.send(segment(family, False, "S"), here) == CUT
    assert way.send(segment(family, True), there) == CUT
    assert way.send(segment(family, False, "S"), here)[0] == "permit"
    assert way.flows.streams.counters()["cut"] == 1


def test_a_later_packet_names_the_layer_and_filter_that_cut(tmp_path: Path) -> None:
    way = Way(tmp_path, reset)
    first, later = way.visit(segment(6)), way.visit(segment(6, True))
    assert first["filter"] is not None
    assert [later[name] for name in ("filter", "slot")] == [first[name] for name in ("filter", "slot")]


@pytest.mark.parametrize("family", [4, 6])
def test_a_discard_twin_silences_the_packet_and_the_flow_stays_cut(tmp_path: Path, family: int) -> None:
    twin = "\n  - {name: hush, layer: inbound_transport_discard, action: block}"
    way = Way(tmp_path, reset, "inbound_transport", also=twin)
    assert way.send(segment(family), "input") == ("block", "callout", None)
    assert way.send(segment(family, False, "S"), "input") == CUT  # Nobody was told so far.
    assert way.send(segment(family), "input") == CUT


def test_an_rst_of_no_known_flow_cuts_nothing(tmp_path: Path) -> None:
    way = Way(tmp_path, reset)
    assert way.send(segment(4, False, "R"))[0] == "block"
    assert way.send(segment(4, True))[0] == "permit"


def test_a_cut_is_forgotten_in_a_minute_or_ten_seconds_after_both_ends_were_reset(tmp_path: Path) -> None:
    way = Way(tmp_path, reset)
    way.send(segment(4))
    way.now += 59 * SECOND
    assert way.send(segment(4, True)) == CUT
    way.now += 9 * SECOND
    assert way.send(segment(4, True)) == CUT
    way.now += 11 * SECOND
    assert way.send(segment(4, True)) == ("permit", "callout", None)


@pytest.mark.parametrize(
    "answer",
    [
        lambda c: c.block(reply="tcp_reset", reset_both=False),
        lambda c: c.block(),
        lambda c: c.block(absorb=True),
        lambda c: c.permit(),
    ],
)
def test_only_a_reset_of_both_cuts(tmp_path: Path, answer: Callable[[Any], None]) -> None:
    way = Way(tmp_path, answer)
    way.send(segment(4))
    assert way.send(segment(4, True)) == ("permit", "callout", None)


def test_a_blocked_syn_cuts_nothing_and_audit_neither(tmp_path: Path) -> None:
    way = Way(tmp_path, reset)
    assert way.send(segment(4, False, "S"))[0] == "block"
    assert way.send(segment(4, True))[0] == "permit"
    way = Way(tmp_path, reset, audit=True)
    way.send(segment(4))
    assert way.send(segment(4, True)) == ("permit", "callout", None)


@pytest.mark.parametrize("family", [4, 6])
def test_a_tracked_flow_is_cut_in_its_entry(tmp_path: Path, family: int) -> None:
    way = Way(tmp_path, lambda c: c.permit(), layer="outbound_transport", ale="ale_auth_connect")
    way.send(segment(family, False, "S"), "output")
    way.asked, way._answer = 0, reset
    assert way.send(segment(family), "output") == ("block", "callout", "tcp_reset")
    assert way.send(segment(family, True), "input") == CUT
    assert way.send(segment(family, True, "R"), "input") == ("permit", "flow", None)
    (flow,) = way.flows.page(0, 10)[0]
    assert flow["state"] == "closing" and flow["packets"] == (1, 0)
    assert way.send(segment(family, False, "S"), "output")[0] == "permit"


def test_a_reset_of_both_without_a_reset_is_refused(tmp_path: Path) -> None:
    errors: list[BaseException] = []

    def wrong(c: Any) -> None:
        try:
            c.block(reset_both=True)
        except ValueError as error:
            errors.append(error)

    Way(tmp_path, wrong).send(segment(4))
    assert "tcp_reset" in str(errors[0])

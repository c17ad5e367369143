"""A compiled callout that has packets wait, with a method in Python that is handed them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP
from scapy.packet import Raw

from tests.registering import Decided
from tests.unit.dataplane.native import CONTEXTS, QUESTION, TRANSPORT, talk
from wfpd.callouts._told import Told

PEND = 8  # WFPD_PEND
PENDS = CONTEXTS.replace("version: 1", "version: 1\nfaults: {on_late: block, on_error: block, late_after: 2s}")


class Pended:
    """A compiled callout that pends, and keeps what it is handed."""

    parks = modifies = True

    def __init__(self, **answer: Any) -> None:
        self.told = Told(**{"kind": PEND, **answer})
        self.native = self.told.native
        self.handles: list[Any] = []
        self.seen: list[tuple[str, bytes]] = []

    def pended(self, c: Any, handle: Any) -> None:
        self.seen.append((c.layer, bytes(c.payload)))
        self.handles.append(handle)


def due(run: Decided) -> list[dict[str, Any]]:
    return [line for _, line in run.replay.due(run.at)]


@pytest.mark.parametrize("verdict", ["permit", "block", "continue"])
def test_what_it_pends_is_completed_by_the_handle_and_it_is_not_asked_again(tmp_path: Path, verdict: str) -> None:
    c = Pended()
    run = Decided(tmp_path, PENDS, {"c": c}, parks=True)
    assert run.send(QUESTION)["verdict"] == "parked"
    assert c.seen == [("inbound_transport_v4", b"question")] and due(run) == []
    assert c.handles[0].complete(verdict) and not c.handles[0].complete("block")
    (line,) = due(run)
    assert line["verdict"] == verdict.replace("continue", "permit") and c.told.calls == 1
    assert run.snapshot.root.watches()["c"]["failed"] == 0


def test_without_an_answer_it_is_asked_again_and_may_pend_again(tmp_path: Path) -> None:
    c = Pended()
    run = Decided(tmp_path, PENDS, {"c": c}, parks=True)
    run.send(QUESTION)
    assert c.handles[0].complete() and due(run) == [] and len(c.handles) == 2
    c.told.say(kind=2)
    assert c.handles[1].complete()
    (line,) = due(run)
    assert (line["verdict"], c.told.calls, len(c.handles)) == ("block", 3, 2)


def test_what_it_pends_may_become_another_packet(tmp_path: Path) -> None:
    c = Pended()
    run = Decided(tmp_path, PENDS, {"c": c}, parks=True)
    run.send(QUESTION)
    other = bytes(IP(src="198.51.100.2", dst="192.0.2.1") / UDP(sport=9, dport=53) / Raw(b"else"))
    assert c.handles[0].complete("permit", packet=other)
    (line,) = due(run)
    assert line["verdict"] == "permit" and c.told.calls == 1 and len(c.handles) == 1
    assert run.replay.visits[-1][1]["modified"] == other


def test_what_nobody_completes_is_late(tmp_path: Path) -> None:
    run = Decided(tmp_path, PENDS, {"c": Pended()}, parks=True)
    run.send(QUESTION)
    run.at += 3_000_000_000
    assert [(line["verdict"], line["reason"]) for line in due(run)] == [("block", "late")]


def test_a_flow_that_waits_hands_over_its_first_packet_only(tmp_path: Path) -> None:
    c = Pended()
    text = PENDS.replace("inbound_transport", "ale_auth_recv_accept").replace("permit}", "permit, weight: 1}")
    run = Decided(tmp_path, text.replace("action: {callout", "weight: 9, action: {callout"), {"c": c}, parks=True)
    assert [run.send(QUESTION)["verdict"] for _ in range(2)] == ["parked", "parked"]
    assert (len(c.handles), c.told.calls) == (1, 2)
    assert c.handles[0].complete("permit")
    assert [line["verdict"] for line in due(run)] == ["permit", "permit"] and c.told.calls == 2


def test_a_flow_context_of_what_it_pends_lives_with_the_packet(tmp_path: Path) -> None:
    c = Pended(steps=[("set", TRANSPORT, 77)])
    run = Decided(tmp_path, PENDS, {"c": c}, parks=True)
    run.send(QUESTION)
    run.send(IP(src="198.51.100.3", dst="192.0.2.1") / UDP(sport=9, dport=53) / Raw(b"other"))
    assert c.told.ended == []
    assert c.handles[0].complete("permit") and c.handles[1].complete("block") and len(due(run)) == 2
    assert [value for _, value in c.told.ended] == [77]


def test_what_may_not_wait_is_decided_by_on_error_and_counted(tmp_path: Path) -> None:
    class Parkless(Pended):
        parks = False

    class Deaf(Pended):
        parks = False
        pended = None  # type: ignore[assignment]

    class Raises(Pended):
        def pended(self, c: Any, handle: Any) -> None:
            raise ValueError("it cannot")

    established = PENDS.replace("inbound_transport", "ale_flow_established")
    for made, text, room in ((Deaf(), PENDS, True), (Raises(), PENDS, True), (Pended(), established, True),
                             (Parkless(), PENDS, False)):  # fmt: skip
        run = Decided(tmp_path, text, {"c": made}, parks=room)
        line = run.send(QUESTION)
        assert (line["verdict"], line["reason"]) == ("block", "error") and due(run) == []
        assert run.replay.replayer.context.errors == {"c": 1} and made.told.calls == 1


def test_at_the_stream_layer_packets_do_not_wait() -> None:
    conversation = talk(Told(kind=PEND))
    conversation.open()
    found = conversation.visit(conversation.packet(0, b"abc", "PA", ack=0))
    assert (found["verdict"], found["reason"]) == ("block", "error")

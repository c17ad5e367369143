"""What a compiled callout keeps with flows, gives other callouts, and gets with its filters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import UDP
from scapy.layers.inet6 import IPv6

from tests.builders import slot
from tests.registering import Decided
from tests.unit.dataplane.native import (
    CONTEXTS,
    EXISTS,
    NO_FLOW,
    NOT_FOUND,
    OK,
    PACKETS,
    PARAMETER,
    QUESTION,
    STREAM_LAYER,
    TRANSPORT,
    decided,
    tables,
    visit,
)
from wfpd.callouts._told import Told
from wfpd.model.layers import LAYER


def test_a_context_comes_back_and_its_end_is_told_without_the_interpreter(tmp_path: Path) -> None:
    told = Told(steps=[("set", TRANSPORT, 77)])
    run = decided(tmp_path, told)
    run.send(QUESTION)
    assert (told.statuses, told.call()["flow_context"], told.after()["flow_context"]) == ([OK], 0, 77)
    flow = told.call()["flow_id"]
    assert flow > 0 and told.ended == []
    run.send(QUESTION)
    assert (told.call()["flow_id"], told.call()["flow_context"], told.statuses) == (flow, 77, [EXISTS])
    run.replay.close()
    assert told.ended == [(flow, 77)]


def test_a_context_that_is_removed_is_told_as_ended(tmp_path: Path) -> None:
    steps: list[tuple[str, int, int]] = [("set", TRANSPORT, 5), ("remove", TRANSPORT, 0), ("remove", TRANSPORT, 0)]
    told = Told(steps=steps)
    run = decided(tmp_path, told)
    run.send(QUESTION)
    assert (told.statuses, told.after()["flow_context"]) == ([OK, OK, NOT_FOUND], 0)
    assert told.ended == [(told.call()["flow_id"], 5)]


def test_contexts_of_other_layers_are_kept_apart(tmp_path: Path) -> None:
    told = Told(steps=[("set", STREAM_LAYER, 5), ("set", STREAM_LAYER + 16, 6)])
    run = decided(tmp_path, told)
    run.send(QUESTION)
    assert (told.statuses, told.after()["flow_context"]) == ([OK, OK], 0)
    run.replay.close()
    assert sorted(value for _, value in told.ended) == [5, 6]


@pytest.mark.parametrize("where", [13, 15, 32, 255, 1 << 31])
def test_a_context_of_no_layer_is_refused(tmp_path: Path, where: int) -> None:
    told = Told(steps=[("set", where, 1), ("remove", where, 0)])
    decided(tmp_path, told).send(QUESTION)
    assert told.statuses == [PARAMETER, PARAMETER]


def test_a_context_of_nothing_and_one_without_flow_delete_are_refused(tmp_path: Path) -> None:
    empty, keepless = Told(steps=[("set", TRANSPORT, 0)]), Told(steps=[("set", TRANSPORT, 1)], keeps=False)
    for told in (empty, keepless):
        decided(tmp_path, told).send(QUESTION)
        assert told.statuses == [PARAMETER]


def test_without_a_flow_there_is_no_context(tmp_path: Path) -> None:
    told = Told(steps=[("set", TRANSPORT, 1), ("remove", TRANSPORT, 0)])
    run = decided(tmp_path, told, CONTEXTS.replace("ale_auth_recv_accept", "inbound_ippacket"))
    run.send(QUESTION)
    assert (told.statuses, told.call()["flow_id"]) == ([NO_FLOW, NO_FLOW], 0)


def test_a_context_of_a_flow_that_its_packet_does_not_make_ends(tmp_path: Path) -> None:
    told = Told(kind=2, steps=[("set", TRANSPORT, 9)])
    run = decided(tmp_path, told)
    assert run.send(QUESTION)["verdict"] == "block"
    run.send(QUESTION)
    assert [value for _, value in told.ended] == [9, 9] and told.statuses == [OK]


def test_one_that_is_conditional_on_flow_is_asked_of_flows_with_its_context_only(tmp_path: Path) -> None:
    told = Told(kind=2)
    run = decided(tmp_path, told, conditional_on_flow=True)
    assert run.send(QUESTION)["verdict"] == "permit" and told.calls == 0
    flow, transport = run.replay.visits[-1][1]["flow_id"], slot("inbound_transport")
    assert run.replay.flows.contexts.add_number(flow, transport, run.items["c"].number, 5) == "ok"
    assert run.send(QUESTION)["verdict"] == "block"
    assert (told.calls, told.call()["flow_context"], told.call()["flow_id"]) == (1, 5, flow)


GIVEN = """version: 1
callouts: [{name: c, use: "m:C"}, {name: other, use: "m:C"}, {name: bare}]
provider_contexts:
  - {name: p, data: {rate: [5, 1.5, null], name: "käse \U0001f9c0"}}
  - {name: empty}
  - {name: text, data: x}
filters:
  - {name: authorize, layer: ale_auth_recv_accept, action: permit}
  - {name: give, layer: ale_flow_established, action: {callout: c, kind: unknown}, provider_context: p}
  - {name: ask, layer: datagram_data, action: {callout: other, kind: unknown}CONTEXT}
"""
DATAGRAM, NO_CALLOUT = LAYER["datagram_data"].index, 15


class Other:
    """A callout that is called for flows with its context only."""

    conditional_on_flow = True

    def __init__(self, told: Told) -> None:
        self.told, self.native = told, told.native


class OtherInPython:
    conditional_on_flow = True

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.gone: list[Any] = []

    def classify(self, c: Any) -> None:
        self.seen.append(c.flow_context)

    def flow_delete(self, f: Any) -> None:
        self.gone.append((f.layer, f.context))


def given(folder: Path, told: Told, other: object, context: str = "") -> Decided:
    class Owner:
        native = told.native

    return Decided(folder, GIVEN.replace("CONTEXT", context), {"c": Owner(), "other": other})


@pytest.mark.parametrize("family", [4, 6])
def test_it_gives_another_compiled_callout_its_context(tmp_path: Path, family: int) -> None:
    told, other = Told(steps=[("set_of", DATAGRAM, ("other", 77))]), Other(Told(kind=2))
    run = given(tmp_path, told, other)
    packet = QUESTION if family == 4 else IPv6(src="2001:db8::9", dst="2001:db8::1") / UDP(sport=9, dport=53)
    assert run.send(packet)["verdict"] == "block"
    assert (told.statuses, told.after()["flow_context"]) == ([OK], 0), "its own context is another one"
    assert (other.told.calls, other.told.call()["flow_context"]) == (1, 77)
    run.replay.close()
    assert (told.ended, other.told.ended) == ([], [(told.call()["flow_id"], 77)])


def test_a_callout_in_python_gets_the_number(tmp_path: Path) -> None:
    told, other = Told(steps=[("set_of", DATAGRAM, ("other", (1 << 64) - 1))]), OtherInPython()
    run = given(tmp_path, told, other)
    run.send(QUESTION)
    run.send(QUESTION)
    assert (told.calls, told.statuses, other.seen) == (1, [OK], [(1 << 64) - 1] * 2)
    assert run.replay.flows.contexts.count_of(run.items["other"].number) == 1
    run.replay.close()
    assert other.gone == [("datagram_data_v4", (1 << 64) - 1)]


def test_it_takes_away_what_it_gave_and_its_own_by_its_name(tmp_path: Path) -> None:
    flow_established = LAYER["ale_flow_established"].index
    told = Told(steps=[
        ("remove_of", DATAGRAM, ("other", 0)), ("set_of", DATAGRAM, ("other", 5)), ("set_of", DATAGRAM, ("other", 6)),
        ("remove_of", DATAGRAM, ("other", 0)), ("set_of", flow_established, ("c", 9)),
    ])  # fmt: skip
    other = OtherInPython()
    run = given(tmp_path, told, other)
    run.send(QUESTION)
    assert told.statuses == [NOT_FOUND, OK, EXISTS, OK, OK] and told.after()["flow_context"] == 9
    assert (other.seen, other.gone, told.ended) == ([], [("datagram_data_v4", 5)], [])


def test_a_context_that_cannot_be_given_is_refused(tmp_path: Path) -> None:
    class Keepless:
        def classify(self, c: Any) -> None: ...

    steps = [("set_of", DATAGRAM, (name, 1)) for name in ("no such", "bare", "", "othe", "other")]
    told = Told(steps=[*steps, ("remove_of", DATAGRAM, ("bare", 0)), ("set_of", 13, ("c", 1)), ("set_of", 0, ("c", 0))])
    given(tmp_path, told, Keepless()).send(QUESTION)
    assert told.statuses == [*[NO_CALLOUT] * 4, PARAMETER, NO_CALLOUT, PARAMETER, PARAMETER]


def test_without_a_flow_there_is_nothing_to_give(tmp_path: Path) -> None:
    told = Told(steps=[("set_of", DATAGRAM, ("other", 1)), ("remove_of", DATAGRAM, ("other", 0))])
    text = GIVEN.split("filters:")[0] + "filters: [{name: f, layer: inbound_ippacket, action: {callout: c}}]\n"
    run = Decided(tmp_path, text, {"c": Asks(told), "other": OtherInPython()})
    run.send(QUESTION)
    assert told.statuses == [NO_FLOW, NO_FLOW]


class Asks:
    def __init__(self, told: Told) -> None:
        self.native = told.native


def test_it_is_told_its_filters_provider_context_as_json(tmp_path: Path) -> None:
    told, other = Told(steps=[("set_of", DATAGRAM, ("other", 1))]), Other(Told())
    run = given(tmp_path, told, other)
    run.send(QUESTION)
    text = told.call()["provider_context"]
    assert text == '{"rate":[5,1.5,null],"name":"käse \U0001f9c0"}'.encode()
    assert told.call()["provider_context_length"] == len(text)
    assert json.loads(text) == run.policy.provider_contexts[0].data
    assert other.told.call()["provider_context"] is None and not other.told.call()["provider_context_length"]


@pytest.mark.parametrize(("name", "seen"), [("empty", None), ("text", b'"x"')])
def test_a_provider_context_without_data_is_none(tmp_path: Path, name: str, seen: bytes | None) -> None:
    other = Asks(told := Told())
    run = given(tmp_path, Told(), other, f", provider_context: {name}")
    run.send(QUESTION)
    assert (told.calls, told.call()["provider_context"]) == (1, seen)


def test_what_notify_has_set_reaches_it_where_it_is_a_number(tmp_path: Path) -> None:
    told = Told()
    made = tables(tmp_path, "ipforward", told)
    for value, seen in ((1 << 63, 1 << 63), ("text", 0), (-1, 0), (None, 0)):
        made.set_filter_contexts({told.call()["filter"]: value})
        visit(made, PACKETS["UDP"], "forward")
        assert told.call()["filter_context"] == seen

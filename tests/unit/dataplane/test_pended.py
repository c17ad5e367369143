"""Pended packets: the visit goes on with what complete() says, as if the callout had answered at once."""

from __future__ import annotations

import io
import json
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet

from tests.oracle.arbitration import Answer, decide_layer
from tests.registering import SECOND, Decided
from wfpd.capture import CapturedPacket
from wfpd.config import load_policy
from wfpd.dataplane._engine import Engine
from wfpd.errors import FwpError
from wfpd.model.layers import LAYER
from wfpd.model.policy import Filter
from wfpd.replay import run

HEAD = """version: 1
faults: {on_late: block, on_error: block, late_after: 2s}
sublayers: [{name: top, weight: 0x9000}, {name: low, weight: 0x100}]
"""
SLOT_DATAGRAM = LAYER["datagram_data"].slot(4)
HERE, THERE = "192.0.2.1", "198.51.100.9"
Line = dict[str, Any]


def datagram(port: int = 53, data: bytes = b"asked", six: bool = False) -> Packet:
    layer = IPv6(src="2001:db8::9", dst="2001:db8::1") if six else IP(src=THERE, dst=HERE)
    return layer / UDP(sport=5000, dport=port) / data


class Pends:
    """Pends what it is asked about, the first `times` times; says `then` at once later."""

    parks = True

    def __init__(self, times: int = 1 << 30, then: str = "permit", at_once: Any = None) -> None:
        self.times, self.then, self.at_once = times, then, at_once
        self.handles: list[Any] = []
        self.seen: list[Any] = []

    def classify(self, c: Any) -> None:
        flags = c.values.get("flags", 0)
        reason = c.values.get("reauthorize_reason")
        self.seen.append((c.layer, c.action, c.write_right, flags & 4, reason))
        if len(self.handles) < self.times:
            self.handles.append(c.pend())
            if self.at_once is not None:
                self.at_once(self.handles[-1])
        else:
            getattr(c, self.then)()


class Says:
    """Answers at once, or pends and has the handle say it."""

    parks = True

    def __init__(self, pends: bool, answer: Answer) -> None:
        self.pends, self.answer = pends, answer
        self.shown: list[tuple[str | None, bool]] = []
        self.handle: Any = None

    def classify(self, c: Any) -> None:
        self.shown.append((c.action, c.write_right))
        if self.pends:
            self.handle = c.pend()
        else:
            say: Callable[..., None] = {"permit": c.permit, "block": c.block, "continue": c.continue_}[self.answer.kind]
            say(clear_right=self.answer.clear_right)


class Counts:
    """Is asked, and answers."""

    def __init__(self, answer: str = "continue_") -> None:
        self.answer, self.n = answer, 0
        self.flags: list[int] = []
        self.packets: list[bytes] = []

    def classify(self, c: Any) -> None:
        self.n += 1
        self.flags.append(c.values["flags"] & 4 if "flags" in c.values else 0)
        self.packets.append(bytes(c.payload))
        getattr(c, self.answer)()


class World:
    """A replay in which callouts may park."""

    def __init__(self, folder: pathlib.Path, filters: str, more: str = "", **callouts: Any) -> None:
        names = ", ".join(f'{{name: {name}, use: "m:C"}}' for name in callouts)
        text = f"{HEAD}{more}callouts: [{names}]\nfilters:\n{filters}\n"
        self.decided = Decided(folder, text, callouts, parks=True)
        self.errors = self.decided.replay.replayer.context.errors

    def send(self, packet: Packet) -> Line:
        return self.decided.send(packet)

    def due(self, after: int | None = 0) -> list[Line]:
        at = None if after is None else self.decided.at + after
        return [line for _, line in self.decided.replay.due(at)]


def row(line: Line, layer: str) -> Line:
    (found,) = [one for one in line["layers"] if one["layer"] == layer]
    return dict(found)


LAYERED = """  - {name: first, layer: inbound_transport, sublayer: top, action: {callout: before}}
  - {name: ask, layer: inbound_transport, action: {callout: c}}
  - {name: under, layer: inbound_transport, sublayer: low, action: {callout: below}}
  - {name: data, layer: datagram_data, action: {callout: after}}"""


@pytest.mark.parametrize("six", [False, True])
def test_the_visit_goes_on_with_the_answer_and_asks_those_that_were_not_asked(
    tmp_path: pathlib.Path, six: bool
) -> None:
    c, before, below, after = Pends(), Counts(), Counts(), Counts("permit")
    world = World(tmp_path, LAYERED, c=c, before=before, below=below, after=after)
    assert world.send(datagram(six=six))["verdict"] == "parked"
    assert (before.n, below.n, after.n, world.due()) == (1, 0, 0, [])
    assert c.handles[0].complete("permit")
    (line,) = world.due()
    assert (before.n, below.n, after.n, len(c.seen)) == (1, 1, 1, 1)
    assert (line["packet"], line["verdict"], line["filter"]) == (1, "permit", "data")
    family = "_v6" if six else "_v4"
    assert row(line, "inbound_transport" + family)["callouts"] == ["before", "c", "below"]
    assert row(line, "datagram_data" + family)["callouts"] == ["after"]
    assert not c.handles[0].complete("block")


@pytest.mark.parametrize(("words", "below", "expected"), [
    ({"verdict": "permit"}, "block", ("block", "under", "set", False)),
    ({"verdict": "permit", "clear_right": True}, "block", ("block", "under", "clear", True)),
    ({"verdict": "permit", "clear_right": True}, "permit", ("permit", "ask", "clear", False)),
    ({"verdict": "block"}, "permit", ("permit", "under", "set", False)),
    ({"verdict": "block", "clear_right": True}, "permit", ("block", "ask", "clear", False)),
    ({"verdict": "continue"}, "continue_", ("none", None, "set", False)),
])  # fmt: skip
def test_rights_are_those_of_an_answer_given_at_once(
    tmp_path: pathlib.Path, words: Any, below: str, expected: tuple[str, str, str, bool]
) -> None:
    lines = []
    for pends in (True, False):
        c = Says(pends, Answer(words["verdict"], words.get("clear_right", False)))
        world = World(tmp_path, LAYERED, c=c, before=Counts(), below=Counts(below), after=Counts())
        line = world.send(datagram())
        if pends:
            c.handle.complete(**words)
            (line,) = world.due()
        lines.append(line)
        found = row(line, "inbound_transport_v4")
        assert (found["action"], found["filter"], found["right"], line["veto"]) == expected
    assert lines[0] == lines[1] | {"packet": 1}


def test_without_an_answer_the_callout_is_asked_again_and_may_pend_again(tmp_path: pathlib.Path) -> None:
    c, before = Pends(2, "block"), Counts()
    world = World(tmp_path, LAYERED, c=c, before=before, below=Counts(), after=Counts())
    world.send(datagram())
    assert c.handles[0].complete()
    assert world.due() == [] and len(c.handles) == 2
    assert not c.handles[0].complete("permit") and c.handles[1].complete()
    (line,) = world.due()
    assert (line["verdict"], len(c.seen), before.n) == ("block", 3, 1)


def test_a_later_callout_may_pend_in_the_visit_that_goes_on(tmp_path: pathlib.Path) -> None:
    c, below, after = Pends(), Pends(), Pends()
    world = World(tmp_path, LAYERED, c=c, before=Counts(), below=below, after=after)
    world.send(datagram())
    for one in (c, below, after):
        assert world.due() == [] and [len(each.handles) for each in (c, below, after)].count(1) == 1 + (
            c,
            below,
            after,
        ).index(one)
        assert one.handles[0].complete("permit")
    (line,) = world.due()
    assert (line["verdict"], [len(one.seen) for one in (c, below, after)]) == ("permit", [1, 1, 1])
    assert row(line, "inbound_transport_v4")["callouts"] == ["before", "c", "below"]


def test_a_packet_completed_within_the_call_goes_on_at_once(tmp_path: pathlib.Path) -> None:
    c = Pends(at_once=lambda handle: handle.complete("permit"))
    after = Counts("block")
    world = World(tmp_path, LAYERED, c=c, before=Counts(), below=Counts(), after=after)
    assert world.send(datagram())["filter"] == "data" and after.n == 1


def test_a_class_that_does_not_say_that_it_parks_cannot_in_replay_either(tmp_path: pathlib.Path) -> None:
    c = Pends()
    c.parks = False
    world = World(tmp_path, LAYERED, c=c, before=Counts(), below=Counts(), after=Counts())
    line = world.send(datagram())
    assert (line["verdict"], line["reason"], line["filter"]) == ("block", "error", "ask")
    assert (c.handles, sum(world.errors.values())) == ([], 1)


def test_what_waits_too_long_by_the_captures_clock_gets_on_late(tmp_path: pathlib.Path) -> None:
    c = Pends()
    world = World(tmp_path, LAYERED, c=c, before=Counts(), below=Counts(), after=Counts())
    world.send(datagram())
    assert world.due(2 * SECOND) == []
    (line,) = world.due(2 * SECOND + 1)
    assert (line["verdict"], line["reason"], line["filter"]) == ("block", "late", "ask")
    assert not c.handles[0].complete("permit")
    world.send(datagram())
    (line,) = world.due(None)  # The capture is over.
    assert line["reason"] == "late"


def test_a_later_packets_callout_may_complete_an_earlier_packet(tmp_path: pathlib.Path) -> None:
    class Pairs:
        parks = True
        waiting: Any = None

        def classify(self, c: Any) -> None:
            if bytes(c.payload) == b"question":
                self.waiting = c.pend()
            else:
                self.waiting.complete("permit" if bytes(c.payload) == b"good" else "block")
                c.permit()

    world = World(tmp_path, "  - {name: ask, layer: datagram_data, action: {callout: c}}", c=Pairs())
    for word, verdict in ((b"good", "permit"), (b"bad", "block")):
        assert world.send(datagram(data=b"question"))["verdict"] == "parked"
        assert world.send(datagram(data=word))["verdict"] == "permit"
        assert [line["verdict"] for line in world.due()] == [verdict]


def test_the_packet_may_be_changed_with_the_answer(tmp_path: pathlib.Path) -> None:
    c, after = Pends(), Counts("permit")
    world = World(tmp_path, LAYERED, c=c, before=Counts(), below=Counts(), after=after)
    world.send(datagram())
    changed = bytes(datagram(data=b"other words"))
    c.handles[0].complete("permit", packet=bytearray(changed))
    (line,) = world.due()
    assert (line["verdict"], after.packets) == ("permit", [b"other words"])
    assert bytes(IP(world.decided.replay.passed)[UDP].payload) == b"other words"


@pytest.mark.parametrize("changed", [False, True])
def test_a_callout_whose_flow_context_is_gone_meanwhile_has_given_its_answer(
    tmp_path: pathlib.Path, changed: bool
) -> None:
    class Conditional(Pends):
        conditional_on_flow = True

        def flow_delete(self, f: Any) -> None:
            pass

        def classify(self, c: Any) -> None:
            super().classify(c)
            c.remove_flow_context(c.layer)

    class Marks:
        def classify(self, c: Any) -> None:
            world.decided.replay.flows.contexts.add(c.flow_id, SLOT_DATAGRAM, world.decided.items["c"], "x")

    c = Conditional()
    filters = """  - {name: mark, layer: ale_auth_recv_accept, action: {callout: marks}}
  - {name: ask, layer: datagram_data, action: {callout: c}}"""
    world = World(tmp_path, filters, c=c, marks=Marks())
    assert world.send(datagram())["verdict"] == "parked"
    assert c.handles[0].complete("block", packet=bytes(datagram(data=b"other")) if changed else None)
    (line,) = world.due()
    assert (line["verdict"], line["filter"], world.errors) == ("block", "ask", {})


def test_a_change_that_is_refused_is_the_callouts_error(tmp_path: pathlib.Path) -> None:
    c = Pends()
    world = World(tmp_path, LAYERED, c=c, before=Counts(), below=Counts(), after=Counts())
    world.send(datagram())
    c.handles[0].complete("permit", packet=bytes(datagram(port=54)))
    (line,) = world.due()
    assert (line["verdict"], line["reason"], world.errors) == ("block", "error", {"c": 1})


@pytest.mark.parametrize(("both", "other"), [(None, ("block", "flow")), (False, ("permit", "no_match"))])
def test_a_reset_given_later_is_of_both_ends_unless_it_says_otherwise(
    tmp_path: pathlib.Path, both: bool | None, other: tuple[str, str]
) -> None:
    c = Pends()
    filters = """  - {name: ask, layer: inbound_transport, action: {callout: c}}
  - {name: other, layer: outbound_transport, action: permit, when: {ip_protocol: udp}}"""
    world = World(tmp_path, filters, c=c)
    assert world.send(IP(src=THERE, dst=HERE) / TCP(sport=80, dport=9, flags="A"))["verdict"] == "parked"
    with pytest.raises(ValueError, match="tcp_reset"):
        c.handles[0].complete("block", reset_both=True)
    assert c.handles[0].complete("block", reply="tcp_reset", reset_both=both)
    (line,) = world.due()
    assert line["verdict"] == "block"
    line = world.send(IP(src=HERE, dst=THERE) / TCP(sport=9, dport=80, flags="A"))
    assert (line["verdict"], line["reason"]) == other


RUN = """
class Run:
    parks = True

    def __init__(self):
        self.waiting = []

    def classify(self, c):
        if bytes(c.payload) == b"go":
            for handle in self.waiting:
                handle.complete("block")
        else:
            self.waiting.append(c.pend())
"""


def test_the_command_prints_a_packet_when_it_is_decided(tmp_path: pathlib.Path) -> None:
    (tmp_path / "pended_run.py").write_text(RUN)
    path = tmp_path / "policy.yaml"
    path.write_text(f"""{HEAD}daemon: {{callout_path: [{tmp_path}]}}
callouts: [{{name: c, use: "pended_run:Run"}}]
filters: [{{name: ask, layer: ipforward, action: {{callout: c}}}}]
""")
    packets = []
    for number, (at, word) in enumerate(((0, b"a"), (1, b"b"), (2, b"go"), (2, b"c"), (9, b"d")), 1):
        data = bytes(datagram(data=word))
        packets.append(CapturedPacket(number, at * SECOND // 2, data, len(data), True, None, 101))
    out, err = io.StringIO(), io.StringIO()
    try:
        policy = load_policy(str(path), trust="warn")
        assert run(policy, iter(packets), as_json=True, out=out, err=err) == 0
    finally:
        sys.modules.pop("pended_run", None)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [(line["packet"], line["verdict"], line["reason"]) for line in lines] == [
        (3, "permit", "no_match"), (1, "block", "callout"), (2, "block", "callout"), (4, "block", "late"),
        (5, "block", "late")]  # fmt: skip
    assert err.getvalue().startswith("5 packets, 1 permitted, 4 blocked")


@pytest.mark.parametrize(("kind", "word", "verdict"), [
    ("inspection", "block", "permit"), ("terminating", "continue", "block"), ("unknown", "continue", "permit")
])  # fmt: skip
def test_the_kind_of_the_filter_holds_for_what_complete_says(
    tmp_path: pathlib.Path, kind: str, word: str, verdict: str
) -> None:
    c = Pends()
    world = World(tmp_path, f"  - {{name: ask, layer: datagram_data, action: {{callout: c, kind: {kind}}}}}", c=c)
    world.send(datagram())
    c.handles[0].complete(word)
    assert [line["verdict"] for line in world.due()] == [verdict]


@pytest.mark.parametrize("words", [
    {"verdict": "drop"}, {"verdict": "permit", "reply": "tcp_reset"}, {"verdict": "block", "reply": "shout"},
    {"verdict": "permit", "absorb": True}, {"verdict": "block", "absorb": True, "reply": "tcp_reset"},
    {"packet": b"x"}, {"reply": "tcp_reset"},
])  # fmt: skip
def test_what_no_callout_could_answer_is_refused_and_decides_nothing(tmp_path: pathlib.Path, words: Any) -> None:
    c = Pends()
    world = World(tmp_path, LAYERED, c=c, before=Counts(), below=Counts(), after=Counts())
    world.send(datagram())
    with pytest.raises(ValueError, match=r"permit, block or continue|absorbed|goes with"):
        c.handles[0].complete(**words)
    assert world.due() == [] and c.handles[0].waits


def test_fail_is_the_on_error_of_the_filter(tmp_path: pathlib.Path) -> None:
    c = Pends()
    world = World(tmp_path, LAYERED, c=c, before=Counts(), below=Counts("permit"), after=Counts())
    world.send(datagram())
    c.handles[0].fail("block")
    (line,) = world.due()
    assert (line["verdict"], line["reason"], line["filter"]) == ("block", "error", "ask")


def test_a_parking_queue_has_counters_before_its_thread_has_turned_once() -> None:
    engine = Engine(1)
    engine.add_parking(9, 0, capacity=4, memory=100)
    counters = engine.counters()["parking"]
    assert (counters["late"], counters["capacity"], counters["most_bytes"], counters["bytes"]) == (0, 4, 100, 0)


def test_no_more_wait_than_the_policy_says(tmp_path: pathlib.Path) -> None:
    c = Pends()
    filters = "  - {name: ask, layer: datagram_data, action: {callout: c}}"
    world = World(tmp_path, filters, more="daemon: {pended: {max: 2}}\n", c=c)
    lines = [world.send(datagram()) for _ in range(3)]
    assert [line["verdict"] for line in lines] == ["parked", "parked", "block"]
    assert (lines[2]["reason"], world.errors) == ("error", {"c": 1})
    c.handles[0].complete("permit")
    assert len(world.due()) == 1 and world.send(datagram())["verdict"] == "parked"


# ------------------------------------------------------------------------------------------ ALE

OUT = IP(src=HERE, dst=THERE) / TCP(sport=4000, dport=80, flags="S", seq=7)
IN = IP(src=THERE, dst=HERE) / TCP(sport=4000, dport=80, flags="S", seq=7)
AUTH = """  - {name: ask, layer: [ale_auth_connect, ale_auth_recv_accept], action: {callout: c}}
  - {name: under, layer: [ale_auth_connect, ale_auth_recv_accept], sublayer: low, action: {callout: below}}"""


def test_completing_at_connect_is_a_reauthorization_which_cannot_be_pended(tmp_path: pathlib.Path) -> None:
    refused: list[Any] = []

    class Below:
        def classify(self, c: Any) -> None:
            refused.append((c.values["flags"] & 4, c.values["reauthorize_reason"]))
            with pytest.raises(FwpError) as error:
                c.pend()
            refused.append((error.value.code, error.value.number))

    c = Pends()
    world = World(tmp_path, AUTH, c=c, below=Below())
    world.send(OUT)
    assert c.seen == [("ale_auth_connect_v4", None, True, 0, 0)]
    c.handles[0].complete("permit")
    (line,) = world.due()
    assert line["verdict"] == "permit"
    assert refused == [(4, 0x10), ("STATUS_FWP_CANNOT_PEND", 0xC0220103)]


def test_asked_again_at_connect_a_callout_sees_why(tmp_path: pathlib.Path) -> None:
    c = Pends(1)
    world = World(tmp_path, AUTH, c=c, below=Counts())
    world.send(OUT)
    c.handles[0].complete()
    assert len(world.due()) == 1
    assert [(flags, reason) for *_, flags, reason in c.seen] == [(0, 0), (4, 0x10)]


def test_permitting_at_recv_accept_authorizes_the_flow_without_a_reauthorization(tmp_path: pathlib.Path) -> None:
    c, below = Pends(), Counts()
    world = World(tmp_path, AUTH, c=c, below=below)
    world.send(IN)
    assert len(world.decided.replay.flows) == 0
    c.handles[0].complete("permit")
    (line,) = world.due()
    assert (line["verdict"], below.flags, len(world.decided.replay.flows)) == ("permit", [0], 1)
    answer = world.send(IP(src=HERE, dst=THERE) / TCP(sport=80, dport=4000, flags="SA", seq=9, ack=8))
    assert (answer["verdict"], answer["reason"], len(c.seen)) == ("permit", "flow", 1)


@pytest.mark.parametrize(("verdict", "flows"), [("permit", 1), ("block", 0)])
@pytest.mark.parametrize("packet", [IN, OUT, datagram()], ids=["accept", "connect", "udp"])
def test_packets_of_the_flow_wait_with_the_first_and_are_decided_as_it_is(
    tmp_path: pathlib.Path, packet: Packet, verdict: str, flows: int
) -> None:
    c = Pends()
    world = World(tmp_path, AUTH, c=c, below=Counts())
    assert [world.send(packet)["verdict"] for _ in range(3)] == ["parked"] * 3
    assert len(c.seen) == 1
    c.handles[0].complete(verdict)
    lines = world.due()
    assert [line["packet"] for line in lines] == [1, 2, 3]
    assert [line["verdict"] for line in lines] == [verdict] * 3
    assert (len(c.seen), len(world.decided.replay.flows)) == (1, flows)
    other = packet.copy()
    other[TCP if TCP in other else UDP].sport = 4001
    assert world.send(other)["verdict"] == "parked" and len(c.seen) == 2


def test_a_packet_whose_flow_was_late_is_asked_about_itself(tmp_path: pathlib.Path) -> None:
    c = Pends()
    world = World(tmp_path, AUTH, c=c, below=Counts())
    world.send(OUT)
    assert [line["reason"] for line in world.due(2 * SECOND + 1)] == ["late"]
    world.send(OUT)
    assert len(c.seen) == 2


def test_flow_established_cannot_be_pended(tmp_path: pathlib.Path) -> None:
    c = Pends()
    world = World(tmp_path, "  - {name: ask, layer: ale_flow_established, action: {callout: c}}", c=c)
    assert (world.send(datagram())["reason"], world.errors) == ("error", {"c": 1})


def test_a_flow_keeps_the_id_that_its_callout_was_told(tmp_path: pathlib.Path) -> None:
    ids: list[Any] = []

    class Tells(Pends):
        def classify(self, c: Any) -> None:
            ids.append(c.flow_id)
            super().classify(c)

    c = Tells()
    world = World(
        tmp_path, AUTH + "\n  - {name: data, layer: datagram_data, action: {callout: c}}", c=c, below=Counts()
    )
    world.send(datagram())
    c.handles[0].complete("permit")
    assert world.due() == []
    c.handles[1].complete("permit")
    assert len(world.due()) == 1 and ids[0] == ids[1] is not None


# ---------------------------------------------------------------------------------- the property

ANSWERS = st.builds(Answer, st.sampled_from(["permit", "block", "continue"]), st.booleans())
ACTIONS = st.sampled_from(
    ["permit", "block", *(f"{{callout: c%d, kind: {kind}}}" for kind in ("terminating", "inspection", "unknown"))]
)
FILTERS = st.lists(
    st.tuples(ACTIONS, st.sampled_from(["top", "universal", "low"]), st.booleans()), min_size=1, max_size=6
)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(filters=FILTERS, answers=st.lists(ANSWERS, min_size=6, max_size=6),
       pends=st.lists(st.booleans(), min_size=6, max_size=6))  # fmt: skip
def test_pended_and_completed_is_as_answered_at_once(
    tmp_path: pathlib.Path, filters: list[tuple[str, str, bool]], answers: list[Answer], pends: list[bool]
) -> None:
    lines = []
    for index, (action, sublayer, hard) in enumerate(filters):
        said = action.replace("%d", str(index))
        flags = ", flags: [clear_action_right]" if hard and action == "permit" else ""
        item = f"name: f{index}, layer: ipforward_v4, sublayer: {sublayer}, action: {said}, weight: {9 - index}{flags}"
        lines.append(f"  - {{{item}}}")
    callouts = {f"c{index}": Says(pends[index], answers[index]) for index in range(6)}
    world = World(tmp_path, "\n".join(lines), **callouts)
    line = world.send(IP(src="203.0.113.1", dst="203.0.113.2") / UDP())
    while line["verdict"] == "parked":
        (waits,) = [one for one in callouts.values() if one.handle is not None and one.handle.waits]
        assert waits.handle.complete(waits.answer.kind, clear_right=waits.answer.clear_right)
        found = world.due()
        line = found[0] if found else line
    policy = world.decided.policy

    def answer_of(item: Filter) -> Answer | None:
        return answers[int(item.name[1:])]

    outcome = decide_layer(policy, 24, {}, answer_of)
    assert (line["verdict"] == "block") == (outcome.action == "block")
    if outcome.filter is not None:
        found_row = row(line, "ipforward_v4")
        assert (found_row["action"], found_row["filter"]) == (outcome.action, outcome.filter)
        assert (found_row["right"] == "set", line["veto"]) == (outcome.right, outcome.veto)
    shown = [one for item in outcome.callouts for one in callouts[f"c{item[1:]}"].shown]
    assert shown == outcome.seen and sum(len(one.shown) for one in callouts.values()) == len(outcome.callouts)


# ------------------------------------------------------------------------------- flow contexts


class Keeps:
    """Keeps something with the flow, and is told of its end."""

    def __init__(self) -> None:
        self.ended: list[Any] = []
        self.found: list[Any] = []

    def classify(self, c: Any) -> None:
        if c.layer.startswith("ale"):
            c.set_flow_context("datagram_data", "kept")
        else:
            self.found.append(c.flow_context)
        c.continue_()

    def flow_delete(self, f: Any) -> None:
        self.ended.append(f.context)


KEEPS = """  - {name: keep, layer: ale_auth_recv_accept, sublayer: top, action: {callout: keeps}}
  - {name: ask, layer: ale_auth_recv_accept, action: {callout: c}}
  - {name: data, layer: datagram_data, action: {callout: keeps}}"""


@pytest.mark.parametrize(("said", "found", "ended"), [("permit", ["kept"], []), ("block", [], ["kept"]),
                                                      (None, [], ["kept"])])  # fmt: skip
def test_what_is_kept_with_a_flow_that_is_not_made_yet_waits_with_the_packet(
    tmp_path: pathlib.Path, said: str | None, found: list[str], ended: list[str]
) -> None:
    c, keeps = Pends(), Keeps()
    world = World(tmp_path, KEEPS, c=c, keeps=keeps)
    world.send(datagram())
    world.decided.replay.flows.contexts.drain()
    assert keeps.ended == []
    if said is not None:
        c.handles[0].complete(said)
    assert len(world.due(2 * SECOND + 1)) == 1
    world.decided.replay.flows.contexts.drain()
    assert (keeps.found, keeps.ended) == (found, ended)


def test_in_replay_what_is_asked_again_without_an_end_is_late(tmp_path: pathlib.Path) -> None:
    """Two packets that complete each other."""
    c = Pends()
    c.at_once = lambda handle: len(c.handles) >= 2 and c.handles[-2].complete()
    world = World(tmp_path, "  - {name: ask, layer: datagram_data, action: {callout: c}}", c=c)
    lines = [world.send(datagram()) for _ in range(2)] + world.due() + world.due(None)
    late = [(line["packet"], line["reason"]) for line in lines if line["verdict"] == "block"]
    assert sorted(late) == [(packet, "late") for packet in (1, 2)]


def test_a_callout_that_asks_for_itself_again_and_again_gets_on_error(tmp_path: pathlib.Path) -> None:
    c = Pends(at_once=lambda handle: handle.complete())
    world = World(tmp_path, "  - {name: ask, layer: datagram_data, action: {callout: c}}", c=c)
    line = world.send(datagram())
    assert (line["verdict"], line["reason"], len(c.seen), len(c.handles)) == ("block", "error", 17, 16)
    assert sum(world.errors.values()) == 1


def test_a_callout_may_be_asked_again_by_others_more_often(tmp_path: pathlib.Path) -> None:
    c = Pends()
    world = World(tmp_path, "  - {name: ask, layer: datagram_data, action: {callout: c}}", c=c)
    world.send(datagram())
    for _ in range(40):
        assert c.handles[-1].complete() and world.due() == []
    assert c.handles[-1].complete("permit")
    assert [line["verdict"] for line in world.due()] == ["permit"]


class Injects:
    """Injects a packet that says what it was asked about."""

    injects = True

    def classify(self, c: Any) -> None:
        c.inject(bytes(datagram(data=bytes(c.payload) + c.layer.encode())))
        c.continue_()


def test_what_is_injected_because_of_a_pended_packet_is_told_with_its_line(tmp_path: pathlib.Path) -> None:
    c = Pends()
    world = World(tmp_path, LAYERED, c=c, before=Injects(), below=Counts(), after=Injects())
    replay = world.decided.replay
    world.send(datagram(data=b"1"))
    assert [order.packet[28:] for order in replay.injected] == [b"1inbound_transport_v4"]
    for number in (2, 3):
        world.send(datagram(data=b"%d" % number))
    c.handles[0].complete("permit")
    (line,) = world.due()
    assert (line["packet"], line["injected"]) == (1, 2)
    assert [order.packet[28:] for order in replay.injected] == [b"1inbound_transport_v4", b"1datagram_data_v4"]
    told = [(line["packet"], line["injected"], replay.injected[0].packet[28:29]) for _, line in replay.due(None)]
    assert told == [(2, 1, b"2"), (3, 1, b"3")]


class Conditional:
    conditional_on_flow = True

    def classify(self, c: Any) -> None:
        raise AssertionError("it is called")


def test_a_conditional_callout_that_is_not_called_at_stream_takes_no_others_place(tmp_path: pathlib.Path) -> None:
    text = (
        HEAD
        + """callouts: [{name: c}, {name: waits}]
filters:
  - {name: authorize, layer: ale_auth_connect, action: permit}
  - {name: spared, layer: stream, action: {callout: c, kind: unknown}}
  - {name: ask, layer: outbound_transport, action: {callout: waits, kind: unknown}}
"""
    )
    made = Pends()
    run = Decided(tmp_path, text, {"c": Conditional(), "waits": made}, parks=True)
    for flags, data in (("S", b""), ("PA", b"hello")):
        packet = IP(src=HERE, dst=THERE) / TCP(sport=9, dport=80, flags=flags, seq=2 - (flags == "S"), ack=2) / data
        assert run.send(packet)["verdict"] == "parked" and made.handles[-1].complete("permit")
        (line,) = [line for _, line in run.replay.due(run.at)]
    assert [(row["layer"], row["callouts"]) for row in line["layers"] if row["layer"].startswith("outbound")] == [
        ("outbound_transport_v4", ["waits"])
    ]

"""A compiled callout that hands packets to the classify of its class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Raw

from tests.builders import a_filter, a_policy, callout, slot, snapshot
from tests.registering import Decided
from tests.streams import Conversation
from wfpd.callouts._told import Told
from wfpd.dataplane import Replayer
from wfpd.errors import ActionRefused
from wfpd.injection.wire import Order
from wfpd.model.layers import LAYER
from wfpd.model.policy import Action, Word
from wfpd.netfilter.marks import Marks, Way

PERMIT, BLOCK, PEND, ASK = 1, 2, 8, 9
TRANSPORT = LAYER["inbound_transport"].index
HEAD = """version: 1
faults: {on_late: block, on_error: block, late_after: 2s}
provider_contexts: [{name: limits, data: {rate: 5}}]
callouts: [{name: c, use: "m:C"}]
filters:
  - {name: authorize, layer: ale_auth_recv_accept, action: permit, weight: 1}
"""
ASKS = (
    HEAD + "  - {name: ask, layer: LAYER, weight: 9, provider_context: limits, action: {callout: c, kind: unknown}}\n"
)
QUESTION = IP(src="198.51.100.2", dst="192.0.2.1") / UDP(sport=9, dport=53) / Raw(b"question")
QUESTIONS = {4: QUESTION, 6: IPv6(src="2001:db8::2", dst="2001:db8::1") / UDP(sport=9, dport=53) / Raw(b"question")}


class Asks:
    """A compiled callout that asks Python, which does as it is told."""

    parks = modifies = True

    def __init__(self, does: Any = None, **answer: Any) -> None:
        self.told = Told(**{"kind": ASK, **answer})
        self.native = self.told.native
        self.does = does or (lambda c: c.permit())
        self.calls = 0
        self.ended: list[Any] = []

    def classify(self, c: Any) -> None:
        self.calls += 1
        self.does(c)


class Injects(Asks):
    injects = True


def asked(folder: Path, made: Any, layer: str = "inbound_transport", **words: Any) -> Decided:
    return Decided(folder, ASKS.replace("LAYER", layer), {"c": made}, parks=True, **words)


def due(run: Decided) -> list[dict[str, Any]]:
    return [line for _, line in run.replay.due(run.at)]


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("layer", ["inbound_ippacket", "inbound_transport", "datagram_data", "ale_flow_established"])
@pytest.mark.parametrize("verdict", ["permit", "block"])
def test_python_answers_what_it_is_asked(tmp_path: Path, family: int, layer: str, verdict: str) -> None:
    seen = []

    def answers(c: Any) -> None:
        seen.append((c.layer, bytes(c.payload), c.provider_context, c.filter, c.scapy()[UDP].dport))
        (c.permit if verdict == "permit" else c.block)(clear_right=True)

    made = Asks(answers)
    line = asked(tmp_path, made, layer).send(QUESTIONS[family])
    assert seen == [(f"{layer}_v{family}", b"question", {"rate": 5}, "ask", 53)]
    row = next(one for one in line["layers"] if one["layer"] == f"{layer}_v{family}")
    assert (line["verdict"], row["right"], row["callouts"]) == (verdict, "clear", ["c"])
    assert (made.told.calls, made.calls) == (1, 1)


def test_what_the_compiled_half_answers_does_not_reach_python(tmp_path: Path) -> None:
    made = Asks(kind=BLOCK)
    run = asked(tmp_path, made)
    assert run.send(QUESTION)["verdict"] == "block"
    made.told.say(kind=ASK, absorb=1, reply=7, clear_right=1)  # Beside it nothing else means anything.
    line = run.send(QUESTION)
    assert (line["verdict"], line["layers"][0]["right"], made.told.calls, made.calls) == ("permit", "set", 2, 1)


def test_no_answer_of_python_is_continue(tmp_path: Path) -> None:
    line = asked(tmp_path, Asks(lambda c: None)).send(QUESTION)
    assert (line["verdict"], line["filter"]) == ("permit", "authorize")


def test_a_class_without_classify_that_asks_is_decided_by_on_error_and_counted(tmp_path: Path) -> None:
    class Dumb:
        told = Told(kind=ASK)
        native = told.native

    run = asked(tmp_path, Dumb())
    errors: list[Any] = []
    run.replay.replayer.context.on_error = lambda name, error: errors.append((name, str(error)))
    line = run.send(QUESTION)
    assert (line["verdict"], line["reason"]) == ("block", "error")
    assert run.replay.replayer.context.errors == {"c": 1}
    assert errors == [("c", "a compiled callout asks Python, and its class has no method classify(c)")]


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
def test_what_classify_raises_is_decided_by_on_error_and_counted(tmp_path: Path, error: type[BaseException]) -> None:
    def raises(c: Any) -> None:
        c.permit()
        raise error("it cannot")

    run = asked(tmp_path, Asks(raises))
    line = run.send(QUESTION)
    assert (line["verdict"], line["reason"], run.replay.replayer.context.errors) == ("block", "error", {"c": 1})


def test_a_discard_twins_callout_asks_too(tmp_path: Path) -> None:
    seen: list[Any] = []
    text = HEAD + ("  - {name: no, layer: inbound_transport, action: block}\n"
                   "  - {name: twin, layer: inbound_transport_discard, action: {callout: c}}\n")  # fmt: skip
    made = Asks(lambda c: seen.append((c.layer, c.metadata["discard_reason"])))
    run = Decided(tmp_path, text, {"c": made}, parks=True)
    assert run.send(QUESTION)["filter"] == "no"
    assert seen == [("inbound_transport_v4_discard", ("general", "firewall_policy"))]


# ------------------------------------------------------------------- what was done before Python


def test_what_is_written_before_python_sees_and_writes_stays(tmp_path: Path) -> None:
    seen = []

    def more(c: Any) -> None:
        seen.append(bytes(c.payload))
        c.write(c.payload_offset + 7, b"!")
        c.permit()

    run = asked(tmp_path, Asks(more, steps=[("write", 28, b"Q")]))
    run.send(QUESTION)
    assert seen == [b"Question"]
    assert run.replay.passed == bytes(IP(src="198.51.100.2", dst="192.0.2.1") / UDP(sport=9, dport=53) / b"Questio!")


def test_what_is_written_does_not_wait_and_on_error_decides(tmp_path: Path) -> None:
    run = asked(tmp_path, Asks(lambda c: c.pend(), steps=[("write", 28, b"Q")]))
    line = run.send(QUESTION)
    assert (line["verdict"], line["reason"], due(run)) == ("block", "error", [])


def test_numbers_kept_with_the_flow_are_seen_by_both_halves(tmp_path: Path) -> None:
    seen = []

    def keeps(c: Any) -> None:
        seen.append(c.flow_context)
        if seen == [None]:
            c.set_flow_context("inbound_transport", 77)
        else:
            c.remove_flow_context("inbound_transport")
        c.permit()

    made = Asks(keeps)
    run = asked(tmp_path, made)
    for context in (0, 77):
        run.send(QUESTION)
        assert made.told.call()["flow_context"] == context
    assert seen == [None, 77]
    run.replay.close()
    assert made.told.ended == [(made.told.call()["flow_id"], 77)]


def test_what_the_compiled_half_keeps_python_finds(tmp_path: Path) -> None:
    seen = []
    made = Asks(lambda c: seen.append(c.flow_context), steps=[("set", TRANSPORT, 5)])
    asked(tmp_path, made).send(QUESTION)
    assert seen == [5]


@pytest.mark.parametrize("value", ["a text", -1, 0, 1 << 64, True, 1.5])
def test_what_is_no_number_for_compiled_code_needs_a_method_flow_delete(tmp_path: Path, value: Any) -> None:
    class Told2(Asks):
        def flow_delete(self, f: Any) -> None:
            self.ended.append(f.context)

    def keeps(c: Any) -> None:
        c.set_flow_context("inbound_transport", value)
        c.permit()

    assert asked(tmp_path, Asks(keeps)).send(QUESTION)["reason"] == "error"
    made = Told2(keeps)
    run = asked(tmp_path, made)
    assert run.send(QUESTION)["verdict"] == "permit"
    made.does = lambda c: c.permit()
    run.send(QUESTION)
    assert made.told.call()["flow_context"] == 0
    run.replay.close()
    assert (made.ended, made.told.ended) == ([value], [])


def test_without_a_compiled_flow_delete_the_method_is_told_of_a_number(tmp_path: Path) -> None:
    class Kept(Asks):
        def flow_delete(self, f: Any) -> None:
            self.ended.append(f.context)

    made = Kept(lambda c: c.set_flow_context("inbound_transport", 7), keeps=False)
    run = asked(tmp_path, made)
    run.send(QUESTION)
    made.told.say(kind=PERMIT)
    run.send(QUESTION)
    assert made.told.call()["flow_context"] == 7
    run.replay.close()
    assert made.ended == [7]


# -------------------------------------------------------------------------------------- waiting


@pytest.mark.parametrize("verdict", ["permit", "block", "continue"])
def test_python_pends_and_completes(tmp_path: Path, verdict: str) -> None:
    handles = []
    made = Asks(lambda c: handles.append(c.pend()))
    run = asked(tmp_path, made)
    assert run.send(QUESTION)["verdict"] == "parked" and due(run) == []
    assert handles[0].complete(verdict)
    (line,) = due(run)
    assert line["verdict"] == verdict.replace("continue", "permit")
    assert (made.told.calls, made.calls) == (1, 1)


def test_without_an_answer_the_compiled_half_is_asked_again(tmp_path: Path) -> None:
    handles = []
    made = Asks(lambda c: handles.append(c.pend()))
    run = asked(tmp_path, made)
    run.send(QUESTION)
    assert handles[0].complete() and due(run) == [] and (made.told.calls, made.calls) == (2, 2)
    made.told.say(kind=BLOCK)
    assert handles[1].complete()
    (line,) = due(run)
    assert (line["verdict"], made.told.calls, made.calls) == ("block", 3, 2)


def test_the_packet_may_be_changed_with_the_answer(tmp_path: Path) -> None:
    handles = []
    made = Asks(lambda c: handles.append(c.pend()))
    run = asked(tmp_path, made)
    run.send(QUESTION)
    other = bytes(IP(src="198.51.100.2", dst="192.0.2.1") / UDP(sport=9, dport=53) / Raw(b"else"))
    assert handles[0].complete("permit", packet=other)
    assert [line["verdict"] for line in due(run)] == ["permit"] and (made.told.calls, made.calls) == (1, 1)
    assert run.replay.visits[-1][1]["modified"] == other


def test_one_that_asks_and_one_that_pends_share_a_flow_that_waits(tmp_path: Path) -> None:
    handles = []

    class Both(Asks):
        def pended(self, c: Any, handle: Any) -> None:
            handles.append(handle)

    made = Both(lambda c: handles.append(c.pend()))
    run = asked(tmp_path, made, "ale_auth_recv_accept")
    assert run.send(QUESTION)["verdict"] == "parked"
    made.told.say(kind=PEND)
    assert run.send(QUESTION)["verdict"] == "parked" and len(handles) == 1
    made.told.say(kind=BLOCK)  # Answered, it does not wait.
    assert run.send(QUESTION)["verdict"] == "block"
    assert handles[0].complete("permit")
    assert [line["verdict"] for line in due(run)] == ["permit", "permit"]
    assert (made.told.calls, made.calls) == (3, 1)


@pytest.mark.parametrize(("word", "verdict"), [("bad", "block"), ("good", "permit")])
def test_a_coroutine_answers_what_it_is_asked(tmp_path: Path, word: str, verdict: str) -> None:
    class Awaits:
        def __init__(self) -> None:
            self.told = Told(kind=ASK)
            self.native = self.told.native

        async def classify(self, c: Any) -> None:
            (c.block if word == "bad" else c.permit)()

    made = Awaits()
    run = asked(tmp_path, made)
    assert run.send(QUESTION)["verdict"] == verdict
    made.told.say(kind=BLOCK)
    assert run.send(QUESTION)["verdict"] == "block"


def test_a_coroutine_is_not_asked_about_what_cannot_wait(tmp_path: Path) -> None:
    class Awaits:
        modifies = True

        def __init__(self) -> None:
            self.told = Told(kind=ASK, steps=[("write", 28, b"Q")])
            self.native = self.told.native

        async def classify(self, c: Any) -> None:
            raise AssertionError("it is asked")

    run = asked(tmp_path, Awaits())
    errors: list[str] = []
    run.replay.replayer.context.on_error = lambda name, error: errors.append(str(error))
    assert run.send(QUESTION)["reason"] == "error"
    assert errors == [
        "pend(): the packet was modified in this call, or at the layer stream: give complete() the packet"
    ]


# ------------------------------------------------------------------------------------ injection


def injected_mark(run: Decided) -> int:
    """That of a packet which the callout has injected."""
    injections = run.replay.replayer.context.injections
    return Marks().injected(injections.number(run.items["c"]), Way.OUTBOUND)


def marked(run: Decided, mark: int | None) -> dict[str, Any]:
    return dict(run.replay.replayer.visit(bytes(QUESTION), "input", run.at, mark=mark))


def test_python_injects_and_reinjects(tmp_path: Path) -> None:
    more = bytes(IP(src="198.51.100.2", dst="192.0.2.1") / UDP(sport=9, dport=53) / b"question and more")
    made = Injects(lambda c: c.reinject(bytes(c.packet) + b" and more"))
    run = asked(tmp_path, made)
    line = run.send(QUESTION)
    assert line["verdict"] == "block" and line["injected"] == 1
    (order,) = run.replay.injected
    assert isinstance(order, Order) and order.packet == more


@pytest.mark.parametrize("sees", [False, True])
@pytest.mark.parametrize("kind", [ASK, BLOCK])
def test_what_it_has_injected_itself_passes_it_without_a_call(tmp_path: Path, sees: bool, kind: int) -> None:
    states = []

    class Sees(Injects):
        sees_injected = sees

    def blocks(c: Any) -> None:
        states.append(c.injection_state)
        c.block()

    made = Sees(blocks, kind=kind)
    run = asked(tmp_path, made)
    found = marked(run, injected_mark(run))
    assert found["verdict"] == ("block" if sees else "permit")
    assert (made.told.calls, states) == (int(sees), ["injected_by_self"] * (sees and kind == ASK))
    if sees:
        assert made.told.call()["injected"] == 1


@pytest.mark.parametrize("kind", [ASK, BLOCK, PERMIT])
def test_what_others_have_injected_is_asked_about(tmp_path: Path, kind: int) -> None:
    made = Injects(lambda c: c.block(), kind=kind)
    run = asked(tmp_path, made)
    found = marked(run, Marks().injected(Marks().injected_by(injected_mark(run)) + 1, Way.INBOUND))
    assert (made.told.calls, made.calls, made.told.call()["injected"]) == (1, int(kind == ASK), 1)
    assert found["verdict"] == ("permit" if kind == PERMIT else "block")


def test_of_what_others_have_injected_python_sees_what_was_written_before(tmp_path: Path) -> None:
    seen: list[tuple[bytes, bytes]] = []
    made = Injects(lambda c: seen.append((bytes(c.packet[28:]), bytes(c.payload))), steps=[("write", 28, b"Q")])
    run = asked(tmp_path, made)
    marked(run, Marks().injected(Marks().injected_by(injected_mark(run)) + 1, Way.INBOUND))
    assert seen == [(b"Question", b"Question")]


@pytest.mark.parametrize("mark", [None, 0, 7, 1 << 30, Marks().reply, 0xFFF00000])
def test_marks_of_other_kinds_mean_nothing(tmp_path: Path, mark: Any) -> None:
    mark = Marks().mask if callable(mark) else mark
    made = Injects(kind=PERMIT)
    run = asked(tmp_path, made)
    assert marked(run, mark)["verdict"] == "permit"
    assert (made.told.calls, made.told.call()["injected"]) == (1, 0)


def test_one_that_inspects_says_nothing_of_its_own_packets(tmp_path: Path) -> None:
    made = Injects(kind=PERMIT)
    text = ASKS.replace("LAYER", "inbound_transport").replace("unknown", "inspection")
    run = Decided(tmp_path, text, {"c": made}, parks=True)
    assert marked(run, injected_mark(run))["verdict"] == "permit" and made.told.calls == 0


def test_pended_injects_but_does_not_reinject(tmp_path: Path) -> None:
    refused: list[ActionRefused] = []

    class Pends:
        parks = injects = True

        def __init__(self) -> None:
            self.told = Told(kind=PEND)
            self.native = self.told.native

        def pended(self, c: Any, handle: Any) -> None:
            assert c.inject(bytes(c.packet), direction="outbound")
            with pytest.raises(ActionRefused) as raised:
                c.reinject()
            refused.append(raised.value)
            handle.complete("block")

    run = asked(tmp_path, Pends())
    line = run.send(QUESTION)
    assert (line["verdict"], line["reason"], line["injected"]) == ("block", "callout", 1)
    assert [one.message for one in refused] == ["the packet has its verdict already"]


# -------------------------------------------------------------------------------------- streams


def talk(made: Any, family: int = 4) -> Conversation:
    filters = [a_filter(f"f{six}", Action.CALLOUT_UNKNOWN, at=slot("stream", six), callout="c") for six in (4, 6)]
    policy = snapshot(a_policy(filters, callouts=[callout("c")]), [made], on_error=Word.BLOCK)
    found = Conversation(policy, family=family)
    found.open()
    return found


@pytest.mark.parametrize("family", [4, 6])
def test_at_the_stream_layer_python_gives_the_stream_answers(family: int) -> None:
    seen = []

    def lines(c: Any) -> None:
        data = bytes(c.stream)
        seen.append(data)
        if b"evil" in data:
            c.drop_connection()
        elif b"\n" in data:
            c.permit()
            c.enforce(data.index(b"\n") + 1)
        else:
            c.need_more()

    made = Asks(lines)
    conversation = talk(made, family)
    assert conversation.send(0, b"one")[0] == "block"
    assert conversation.send(3, b"\ntwo\nth")[0] == "block"
    assert seen == [b"one", b"one\ntwo\nth", b"two\nth", b"th"]
    made.told.say(kind=PERMIT)
    assert conversation.send(10, b"ree")[0] == "permit" and made.told.call()["stream"] == b"three"
    made.told.say(kind=ASK)
    assert conversation.send(13, b"evil") == ("block", "tcp_reset")
    assert made.calls == 5 and made.told.calls == 6


def test_python_allows_the_connection_for_both_halves() -> None:
    made = Asks(lambda c: c.allow_connection())
    conversation = talk(made)
    for at in (0, 3, 6):
        assert conversation.send(at, b"abc")[0] == "permit"
    assert (made.told.calls, made.calls) == (1, 1)


def test_python_defers_and_the_compiled_half_is_asked_when_it_is_resumed() -> None:
    handles = []
    made = Asks(lambda c: handles.append(c.defer()))
    conversation = talk(made)
    assert conversation.send(0, b"abc")[0] == "block"
    made.told.say(kind=PERMIT)
    assert handles[0].resume()
    assert conversation.send(0, b"abc")[0] == "permit" and (made.told.calls, made.calls) == (2, 1)


@pytest.mark.parametrize("does", [lambda c: c.pend(), lambda c: c.reinject(), lambda c: c.need_more(0)])
def test_what_is_refused_at_the_stream_layer_is_decided_by_on_error(does: Any) -> None:
    conversation = talk(Injects(does))
    found = conversation.visit(conversation.packet(0, b"abc", "PA", ack=0))
    assert (found["verdict"], found["reason"]) == ("block", "error")


# ------------------------------------------------------------------------------- nobody is asked


def test_answers_in_its_place_leave_both_halves_alone(tmp_path: Path) -> None:
    made = Injects(lambda c: c.block())
    run = asked(tmp_path, made)
    replayer = Replayer(run.snapshot, run.replay.flows)
    found = replayer.visit(bytes(QUESTION), "input", 1, answers=lambda callout: ("permit", False), near=1)
    assert (found["verdict"], made.told.calls, made.calls) == ("permit", 0, 0)


@pytest.mark.parametrize(
    "how", ["the Python half raises", "the answer cannot be given", "it pends after it has written"]
)
def test_of_a_call_that_fails_nothing_stays_that_the_compiled_half_has_written(tmp_path: Path, how: str) -> None:
    def raises(c: Any) -> None:
        c.write(30, b"XX")
        raise ValueError

    kind, more = {"the Python half raises": (ASK, {}), "the answer cannot be given": (PERMIT, {"reply": 1}),
                  "it pends after it has written": (PEND, {})}[how]  # fmt: skip
    seen: list[bytes] = []

    class Sees:
        def classify(self, c: Any) -> None:
            seen.append(bytes(c.payload))
            c.permit()

    text = HEAD.replace("callouts: [", 'callouts: [{name: sees, use: "m:C"}, ') + (
        "  - {name: ask, layer: inbound_transport, weight: 9, action: {callout: c, kind: inspection}}\n"
        "  - {name: see, layer: inbound_transport, weight: 2, action: {callout: sees, kind: unknown}}\n"
    )
    c = Asks(raises, kind=kind, steps=[("write", 28, b"Q"), ("write", 29, b"UE")], **more)
    run = Decided(tmp_path, text, {"c": c, "sees": Sees()}, parks=True)
    line = run.send(QUESTION)
    assert (line["verdict"], seen, run.replay.passed) == ("permit", [b"question"], bytes(QUESTION))
    assert c.told.calls == 1 and c.calls == (how == "the Python half raises")

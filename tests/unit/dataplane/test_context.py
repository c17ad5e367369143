"""What a Python callout sees and may answer."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6

from tests.registering import IN, OUT, SECOND, Calls, Decided, asked_once, decided
from wfpd.callouts._told import Told
from wfpd.config import load_policy
from wfpd.dataplane._replay import Replayer
from wfpd.errors import FwpError
from wfpd.replay import make_snapshot


def test_a_context_is_of_no_use_after_the_call(tmp_path: pathlib.Path) -> None:
    kept: list[Any] = []
    asked_once(tmp_path, kept.append)
    with pytest.raises(RuntimeError, match="only while"):
        kept[0].permit()


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
def test_whatever_a_callout_raises_the_packet_gets_a_verdict(
    tmp_path: pathlib.Path, error: type[BaseException]
) -> None:
    def classify(c: Any) -> None:
        raise error(3)

    result, replayer = asked_once(tmp_path, classify)
    assert (result["verdict"], result["reason"]) == ("block", "error")
    assert replayer.context.errors == {"c": 1}


def test_absorb_where_wfp_does_not_allow_it_is_refused(tmp_path: pathlib.Path) -> None:
    result, _ = asked_once(tmp_path, lambda c: c.block(absorb=True))
    assert result["reason"] == "error"


def test_absorb_and_a_reply_contradict_each_other(tmp_path: pathlib.Path) -> None:
    for arguments, reason in (({"absorb": True, "reply": "tcp_reset"}, "error"), ({"absorb": True}, "callout")):
        result, _ = asked_once(tmp_path, lambda c, a=arguments: c.block(**a), "inbound_transport", "input")
        assert result["reason"] == reason


# --------------------------------------------------------------------------------- discard layers


def test_a_callout_at_a_twin_sees_the_reason_and_cannot_absorb(tmp_path: pathlib.Path) -> None:
    seen: list[Any] = []

    def classify(c: Any) -> None:
        seen.append((c.layer, c.metadata["discard_reason"], c.action))
        with pytest.raises(ValueError, match="absorb"):
            c.block(absorb=True)

    more = "  - {name: no, layer: inbound_transport, action: block, reply: tcp_reset}\n"
    replayed, _ = decided(tmp_path, classify, "inbound_transport_discard", more=more)
    line = replayed.send(IN / TCP(dport=80))
    assert seen == [("inbound_transport_v4_discard", ("general", "firewall_policy"), None)]
    assert (line["verdict"], line["filter"], line["layers"][-1]["callouts"]) == ("block", "no", ["c"])
    assert replayed.replay.visits[0][1]["reply"] == "tcp_reset"


@pytest.mark.parametrize(("answer", "reply"), [("block", None), ("permit", "tcp_reset"), ("continue_", "tcp_reset")])
def test_a_block_at_a_twin_takes_the_reply_away_and_a_permit_changes_nothing(
    tmp_path: pathlib.Path, answer: str, reply: str | None
) -> None:
    more = "  - {name: no, layer: inbound_transport, action: block, reply: tcp_reset}\n"
    replayed, _ = decided(tmp_path, lambda c: getattr(c, answer)(), "inbound_transport_discard", more=more)
    line = replayed.send(IN / TCP(dport=80))
    assert (line["verdict"], replayed.replay.visits[0][1]["reply"]) == ("block", reply)


def test_an_absorbed_packet_never_reaches_the_twin(tmp_path: pathlib.Path) -> None:
    seen: list[str] = []
    more = "  - {name: no, layer: inbound_transport, action: block, absorb: true}\n"
    replayed, _ = decided(tmp_path, lambda c: seen.append(c.layer), "inbound_transport_discard", more=more)
    assert (replayed.send(IN / TCP(dport=80))["verdict"], seen) == ("block", [])


# ---------------------------------------------------------------------------------- flow contexts


def keeper(layer: str, value: Any = "kept") -> Any:
    """Keeps a value with each flow that is established."""

    def classify(c: Any) -> None:
        if c.flow_context is None and "established" in c.layer:
            c.set_flow_context(layer, value)

    return classify


def test_a_context_reaches_the_callout_at_its_layer_for_its_flow(tmp_path: pathlib.Path) -> None:
    seen: list[Any] = []

    def classify(c: Any) -> None:
        if "established" in c.layer:
            c.set_flow_context("datagram_data", c.values["ip_remote_port"])
        else:
            seen.append((c.direction, c.flow_context, c.flow_id is not None))

    more = "  - {name: two, layer: datagram_data, action: {callout: c}}\n"
    replayed, calls = decided(tmp_path, classify, "ale_flow_established", more=more)
    replayed.send(IN / UDP(sport=5000, dport=53))
    replayed.send(OUT / UDP(sport=53, dport=5000))
    replayed.send(IN / UDP(sport=5001, dport=53))
    assert seen == [("inbound", 5000, True), ("outbound", 5000, True), ("inbound", 5001, True)]
    assert calls.gone == []
    replayed.replay.close()
    assert sorted(context for _, _, context in calls.gone) == [5000, 5001]


def test_a_context_ends_with_its_flow_by_the_captures_clock(tmp_path: pathlib.Path) -> None:
    replayed, calls = decided(tmp_path, keeper("datagram_data"), "ale_flow_established")
    replayed.send(IN / UDP(sport=5000, dport=53))
    replayed.at += 59 * SECOND
    replayed.send(IN / UDP(sport=5001, dport=53))
    assert calls.gone == []
    replayed.at += 2 * SECOND
    replayed.send(IP(src="198.51.100.1", dst="198.51.100.2") / UDP())
    assert [(layer, context) for _, layer, context in calls.gone] == [("datagram_data_v4", "kept")]


def test_what_cannot_be_kept_is_refused_with_the_engines_error(tmp_path: pathlib.Path) -> None:
    codes: list[str] = []

    def refused(do: Any, *arguments: Any) -> None:
        with pytest.raises(FwpError) as caught:
            do(*arguments)
        codes.append(caught.value.code)

    def classify(c: Any) -> None:
        refused(c.set_flow_context, "stream_packet", None)
        refused(c.set_flow_context, "no_such", 1)
        refused(c.remove_flow_context, "datagram_data")
        c.set_flow_context("datagram_data", 1)
        refused(c.set_flow_context, "datagram_data_v4", 2)
        c.set_flow_context("datagram_data_v6", 3)
        c.remove_flow_context("datagram_data")
        c.set_flow_context("datagram_data", 4)
        c.block()

    replayed, calls = decided(tmp_path, classify, "inbound_transport")
    assert replayed.send(IN / UDP())["reason"] == "callout", codes
    assert codes == [
        f"FWP_E_{name}" for name in ("INVALID_PARAMETER", "INVALID_PARAMETER", "NOT_FOUND", "ALREADY_EXISTS")
    ]
    assert sorted(one[2] for one in calls.gone) == [1, 3, 4], "the packet was blocked: it made no flow"


def test_without_flow_delete_or_without_a_flow_nothing_is_kept(tmp_path: pathlib.Path) -> None:
    codes: list[str] = []

    def classify(c: Any) -> None:
        try:
            c.set_flow_context("datagram_data", 1)
        except FwpError as error:
            codes.append(error.code)

    class Plain:
        def classify(self, c: Any) -> None:
            classify(c)

    replayed, _ = decided(tmp_path, Plain(), "inbound_transport")
    replayed.send(IN / UDP())
    replayed, _ = decided(tmp_path, classify, "ipforward")
    replayed.send(IP(src="198.51.100.1", dst="198.51.100.2") / UDP())
    assert codes == ["FWP_E_INVALID_PARAMETER", "FWP_E_NOT_FOUND"]


@pytest.mark.parametrize("kind", ["", ", kind: terminating"])
def test_a_callout_conditional_on_flow_is_called_for_flows_with_its_context_only(
    tmp_path: pathlib.Path, kind: str
) -> None:
    seen: list[int] = []

    def classify(c: Any) -> None:
        seen.append(c.values["ip_remote_port"])
        c.permit()

    class Marks:
        """Gives the other's context to every flow from port 5000."""

        def classify(self, c: Any) -> None:
            if c.values["ip_remote_port"] == 5000:
                c.set_flow_context("datagram_data", "x", callout="c")

    more = "  - {name: two, layer: ale_auth_recv_accept, action: {callout: other}, weight: {range: 15}}\n"
    replayed, _ = decided(tmp_path, Conditional(classify), "datagram_data", kind=kind, more=more, other=Marks())
    lines = [replayed.send(IN / UDP(sport=port, dport=53)) for port in (5001, 5000, 5001)]
    assert [line["verdict"] for line in lines] == ["permit"] * 3
    assert seen == [5000]
    assert [line["layers"][-1]["callouts"] for line in lines] == [[], ["c"], []]


@pytest.mark.parametrize("kind", ["", ", kind: terminating"])
def test_without_its_context_the_filters_behind_a_conditional_one_decide(tmp_path: pathlib.Path, kind: str) -> None:
    more = "  - {name: behind, layer: datagram_data, action: block, weight: {range: 0}}\n"
    replayed, _ = decided(tmp_path, Conditional(lambda c: c.permit()), "datagram_data", kind=kind, more=more)
    line = replayed.send(IN / UDP(sport=5001, dport=53))
    assert (line["verdict"], line["filter"]) == ("block", "behind")


CONDITIONAL = """version: 1
callouts: [{name: c, use: "m:C"}, {name: giver, use: "m:C"}, {name: bare}, {name: plain, use: "m:C"}]
filters:
  - {name: authorize, layer: [ale_auth_recv_accept, ale_auth_connect], action: permit}
  - {name: give, layer: LAYER, action: {callout: giver, kind: unknown}}
  - {name: data, layer: datagram_data, action: {callout: c}}
"""


class Conditional(Calls):
    """Is called for flows that another one has marked."""

    conditional_on_flow = True


class Plain:
    """Keeps nothing."""

    def classify(self, c: Any) -> None:
        c.permit()


def with_giver(
    folder: pathlib.Path, give: Any, c: object = None, *, layer: str = "ale_flow_established", **words: Any
) -> tuple[Decided, list[Any]]:
    """A replay, and what `c` has seen: (its context, the packet's remote port)."""
    seen: list[Any] = []
    c = c or Conditional(lambda c: seen.append((c.flow_context, c.values["ip_remote_port"])))
    text = CONDITIONAL.replace("LAYER", layer)
    return Decided(folder, text, {"c": c, "giver": Calls(give), "plain": Plain()}, **words), seen


@pytest.mark.parametrize("family", [4, 6])
def test_a_sibling_gives_a_conditional_callout_its_context(tmp_path: pathlib.Path, family: int) -> None:
    def give(c: Any) -> None:
        if c.values["ip_remote_port"] == 5000:
            c.set_flow_context("datagram_data", ["of", c.filter], callout="c")

    run, seen = with_giver(tmp_path, give)
    near, far = ("192.0.2.1", "192.0.2.9") if family == 4 else ("2001:db8::1", "2001:db8::9")
    ip = IP if family == 4 else IPv6
    packets = [ip(src=far, dst=near) / UDP(sport=port, dport=53) for port in (5001, 5000, 5001)]
    lines = [run.send(one) for one in (*packets, ip(src=near, dst=far) / UDP(sport=53, dport=5000))]
    assert [line["layers"][-1]["callouts"] for line in lines] == [[], ["c"], [], ["c"]]
    assert seen == [(["of", "give"], 5000)] * 2
    giver, c = (run.items[name] for name in ("giver", "c"))
    assert [run.replay.flows.contexts.count_of(one.number) for one in (giver, c)] == [0, 1]
    assert (giver.instance.gone, c.instance.gone) == ([], [])
    run.replay.close()
    assert giver.instance.gone == []
    assert [(layer, value) for _, layer, value in c.instance.gone] == [(f"datagram_data_v{family}", ["of", "give"])]


def test_what_a_sibling_gives_can_be_taken_away_again(tmp_path: pathlib.Path) -> None:
    def give(c: Any) -> None:
        if c.flow_context is None:
            c.set_flow_context("inbound_transport", "mine")
            c.set_flow_context("datagram_data", "theirs", callout="c")
        else:
            c.remove_flow_context("datagram_data", callout="c")

    run, seen = with_giver(tmp_path, give, layer="inbound_transport")
    packet = IN / UDP(sport=5000, dport=53)
    for _ in range(2):
        run.send(packet)
    assert seen == [("theirs", 5000)]
    assert [value for _, _, value in run.items["c"].instance.gone] == ["theirs"], "only the removed one has ended"
    assert run.items["giver"].instance.gone == []


def test_a_context_for_another_is_refused_with_the_engines_error(tmp_path: pathlib.Path) -> None:
    found: dict[str, str] = {}

    def give(c: Any) -> None:
        deeds = {
            "no such callout": (c.set_flow_context, "datagram_data", 1, "no such"),
            "not registered": (c.set_flow_context, "datagram_data", 1, "bare"),
            "no name": (c.set_flow_context, "datagram_data", 1, 5),
            "a longer name": (c.set_flow_context, "datagram_data", 1, "c\0d"),
            "no flow_delete": (c.set_flow_context, "datagram_data", 1, "plain"),
            "nothing": (c.set_flow_context, "datagram_data", None, "c"),
            "no layer": (c.set_flow_context, "no_such", 1, "c"),
            "none there": (c.remove_flow_context, "datagram_data", "c"),
            "to take from nobody": (c.remove_flow_context, "datagram_data", "bare"),
            "the first": (c.set_flow_context, "datagram_data", 1, "c"),
            "a second": (c.set_flow_context, "datagram_data", 1, "c"),
        }
        for name, (do, *arguments, callout) in deeds.items():
            try:
                do(*arguments, callout=callout)
                found[name] = ""
            except FwpError as error:
                found[name] = error.code.removeprefix("FWP_E_")

    run, seen = with_giver(tmp_path, give)
    run.send(IN / UDP(sport=5000, dport=53))
    assert found == {
        "no such callout": "CALLOUT_NOT_FOUND", "not registered": "CALLOUT_NOT_FOUND", "no name": "CALLOUT_NOT_FOUND",
        "a longer name": "CALLOUT_NOT_FOUND", "no flow_delete": "INVALID_PARAMETER", "nothing": "INVALID_PARAMETER",
        "no layer": "INVALID_PARAMETER", "none there": "NOT_FOUND", "to take from nobody": "CALLOUT_NOT_FOUND",
        "the first": "", "a second": "ALREADY_EXISTS",
    }  # fmt: skip
    assert seen == [(1, 5000)]


def test_without_a_flow_there_is_nothing_to_give(tmp_path: pathlib.Path) -> None:
    codes: list[str] = []

    def give(c: Any) -> None:
        with pytest.raises(FwpError) as caught:
            c.set_flow_context("datagram_data", 1, callout="c")
        codes.append(caught.value.code)

    run, _ = with_giver(tmp_path, give, layer="ipforward")
    run.send(IP(src="198.51.100.1", dst="198.51.100.2") / UDP())
    assert codes == ["FWP_E_NOT_FOUND"]


def test_a_callout_that_no_filter_names_keeps_what_it_is_given(tmp_path: pathlib.Path) -> None:
    text = CONDITIONAL.replace("LAYER", "ale_flow_established").replace("callout: c}", "callout: plain}")
    c = Conditional(lambda c: None)
    giver = Calls(lambda c: c.set_flow_context("datagram_data", 7, callout="c"))
    run = Decided(tmp_path, text, {"c": c, "giver": giver, "plain": Plain()})
    run.send(IN / UDP(sport=5000, dport=53))
    assert run.replay.flows.contexts.count_of(run.items["c"].number) == 1
    run.replay.close()
    assert [value for _, _, value in c.gone] == [7]


def test_a_context_that_a_sibling_gave_ends_with_a_packet_that_makes_no_flow(tmp_path: pathlib.Path) -> None:
    def give(c: Any) -> None:
        c.set_flow_context("datagram_data", "x", callout="c")
        c.block()

    run, seen = with_giver(tmp_path, give, layer="inbound_transport")
    assert run.send(IN / UDP(sport=5000, dport=53))["reason"] == "callout"
    run.replay.flows.contexts.drain()
    assert ([value for _, _, value in run.items["c"].instance.gone], seen) == (["x"], [])


@pytest.mark.parametrize("value", ["x", 1.0, 0, -1, 1 << 64, None])
def test_a_compiled_callout_gets_numbers_only(tmp_path: pathlib.Path, value: object) -> None:
    told, codes = Told(), []

    class Compiled:
        native = told.native
        conditional_on_flow = True

    def give(c: Any) -> None:
        with pytest.raises(FwpError) as caught:
            c.set_flow_context("datagram_data", value, callout="c")
        codes.append(caught.value.code)
        c.set_flow_context("datagram_data", (1 << 64) - 1, callout="c")

    run, _ = with_giver(tmp_path, give, Compiled())
    for _ in range(2):
        run.send(IN / UDP(sport=5000, dport=53))
    assert codes == ["FWP_E_INVALID_PARAMETER"]
    assert (told.calls, told.call()["flow_context"]) == (2, (1 << 64) - 1)
    run.replay.close()
    assert [number for _, number in told.ended] == [(1 << 64) - 1]


def test_nothing_is_kept_for_a_callout_that_is_on_its_way_out(tmp_path: pathlib.Path) -> None:
    codes: list[str] = []

    def give(c: Any) -> None:
        try:
            c.set_flow_context("datagram_data", 1, callout="c")
        except FwpError as error:
            codes.append(error.code)

    run, seen = with_giver(tmp_path, give)
    run.items["c"].over[0] = 1
    run.send(IN / UDP(sport=5000, dport=53))
    assert (codes, seen) == (["FWP_E_CALLOUT_NOT_FOUND"], [])


def test_a_reauthorization_that_blocks_ends_the_flows_contexts(tmp_path: pathlib.Path) -> None:
    replayed, calls = decided(tmp_path, keeper("datagram_data"), "ale_flow_established")
    replayed.send(IN / UDP(sport=5000, dport=53))
    path = tmp_path / "other.yaml"
    path.write_text("version: 1\nfilters: [{name: no, layer: ale_auth_recv_accept, action: block}]\n")
    after = Replayer(make_snapshot(load_policy(str(path), trust="warn"), generation=2), replayed.replay.flows)
    assert after.visit(bytes(IN / UDP(sport=5000, dport=53)), "input", 2 * SECOND)["verdict"] == "block"
    replayed.replay.flows.contexts.drain()
    assert [context for _, _, context in calls.gone] == ["kept"]

"""A callout by itself: described packets, captures, streams, its life, and what it raises."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.utils import wrpcap

from wfpd.callouts._told import Chooses
from wfpd.callouts.counting import Counting
from wfpd.errors import CaptureError, FwpError, PolicyError, UsageError
from wfpd.netfilter.marks import Marks, Way
from wfpd.testing.callouts import FAR, HOST, PEER, CalloutRun, asking_policy, hosts_of, layers_of


class Port:
    """Blocks a port, and tells its life."""

    def __init__(self, port: int = 23, refuses: str = "") -> None:
        self.port, self.refuses = port, refuses
        self.life: list[Any] = []

    def notify(self, n: Any) -> None:
        if n.provider_context == "no":
            raise ValueError("refused")
        self.life.append((n.kind, n.layer))

    def classify(self, c: Any) -> None:
        self.life.append((c.hook, c.values["ip_protocol"], bytes(c.payload)))
        if c.flow_context is None and c.layer.startswith("ale_flow"):
            c.set_flow_context("datagram_data", "kept")
        if c.values["ip_local_port"] == self.port:
            c.block(clear_right=True, reply="tcp_reset")
        if bytes(c.payload) == b"boom":
            raise LookupError("boom")

    def flow_delete(self, f: Any) -> None:
        self.life.append(("over", f.context))
        if self.refuses == "flow_delete":
            raise LookupError("flow_delete")

    def close(self) -> None:
        self.life.append("closed")
        if self.refuses == "close":
            raise LookupError("close")


class Words:
    """Holds a stream until a line is whole; blocks evil ones."""

    def classify(self, c: Any) -> None:
        data = bytes(c.stream)
        if b"evil" in data:
            c.block()
        elif b"\n" in data or "NO_MORE_DATA" in c.stream_flags:
            c.permit()
        else:
            c.need_more()


@pytest.fixture
def runs() -> Iterator[list[CalloutRun]]:
    """Runs that are closed after the test."""
    made: list[CalloutRun] = []
    yield made
    for one in made:
        one.close()


def test_described_packets_have_verdict_reply_layer_calls_and_reason(runs: list[CalloutRun]) -> None:
    run = CalloutRun.of(Port, "inbound_transport", options={"port": 24}, when={"ip_protocol": "tcp"})
    runs.append(run)
    found = run.packet(dport=24)
    assert (found.verdict, found.reply, found.layer) == ("block", "tcp_reset", "inbound_transport_v4")
    assert (found.number, found.packet, found.filter) == (1, None, "ask-inbound_transport")
    assert "match   callout  ask-inbound_transport  answers block" in found.explain
    other = run.packet(src=f"[{PEER[6]}]:999", dport=25, payload=b"x")
    assert (other.verdict, other.packet, other.number) == ("permit", other.given, 2)
    assert [tuple(call) for call in other.calls] == [("callout", "inbound_transport_v6")]
    assert run.packet(proto="udp", dport=24).calls == ()
    assert run.instance.life[-1] == ("input", 6, b"x")
    assert run.last.number == 3 and len(run.results) == 3


class Halves(Chooses):
    """Datagrams that begin with 9 are Python's."""

    injects = True

    def classify(self, c: Any) -> None:
        if bytes(c.payload) == b"9 wrong":
            raise ValueError("it cannot")
        c.reinject(bytes(c.packet) + b" and more")


def test_both_halves_of_a_compiled_one_are_asked(runs: list[CalloutRun]) -> None:
    run = CalloutRun.of(Halves, "inbound_transport")
    runs.append(run)
    passed, blocked, left = (run.packet(proto="udp", dport=9, payload=data) for data in (b"1", b"2", b"9"))
    assert [one.verdict for one in (passed, blocked, left)] == ["permit", "block", "block"]
    assert (passed.injected, blocked.injected) == ((), ())
    (clone,) = left.injected
    assert bytes(IP(clone)[UDP].payload) == b"9 and more"
    again = run.packet(clone, mark=Marks().injected(1, Way.INBOUND))  # It has the first handle.
    assert (again.verdict, again.injected) == ("permit", ())
    with pytest.raises(ValueError, match="it cannot"):
        run.packet(proto="udp", dport=9, payload=b"9 wrong")
    assert [run.instance.chosen(kind) for kind in (1, 2, 9)] == [1, 1, 2]


def test_packets_that_say_no_ends_pass_the_layer(runs: list[CalloutRun]) -> None:
    for layer, ends in (
        ("outbound_transport", (HOST, PEER)),
        ("ipforward", (PEER, FAR)),
        ("ale_auth_recv_accept", (PEER, HOST)),
    ):
        run = CalloutRun.of(Counting(), layer)
        runs.append(run)
        found = run.packet(proto="udp", dport=9)
        assert [call.layer for call in found.calls] == [f"{layer}_v4"]
        packet = IP(found.given)
        assert (packet.src, packet.dst) == (ends[0][4], ends[1][4])


def test_packets_may_be_bytes_or_of_scapy_and_pass_where_one_says(runs: list[CalloutRun]) -> None:
    run = CalloutRun.of(Port, "inbound_transport")
    runs.append(run)
    packet = IP(src="203.0.113.1", dst="203.0.113.2") / TCP(dport=23)
    assert run.packet(packet).calls == ()
    assert run.packet(packet, hook="input").verdict == "block"
    assert run.packet(bytes(packet), hook="input").verdict == "block"


@pytest.mark.parametrize(
    ("said", "message"),
    [({"dst": "192.0.2.1:5", "dport": 6}, "has a port"), ({}, "goes to a port: dport="),
     ({"proto": "nothing"}, "no protocol"), ({"proto": 300}, "no protocol"),
     ({"src": PEER[6], "dst": HOST[4], "dport": 1}, "families"),
     *(({"dport": 1, **more}, message) for more, message in [
         ({"payload": bytes(65_001)}, "at most"), ({"family": 5}, "4 or 6"), ({"hook": "moon"}, "one of input"),
         ({"dport": -1}, "no address"), ({"dport": 70000}, "at most"), ({"mark": 1 << 32}, "32 bits"),
         ({"mark": -1}, "32 bits"), ({"after": -1}, "seconds"), ({"after": float("nan")}, "seconds"),
     ])],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(runs: list[CalloutRun], said: dict[str, Any], message: str) -> None:
    runs.append(CalloutRun.of(Port, "inbound_transport"))
    with pytest.raises(UsageError, match=message):
        runs[0].packet(**said)


def test_a_conversation_or_a_capture_that_cannot_be_is_refused(runs: list[CalloutRun], tmp_path: Path) -> None:
    run = CalloutRun.of(Port, "inbound_transport")
    for wrong in ({"port": 0}, {"port": 65536}, {"family": 5}):
        with pytest.raises(UsageError):
            run.stream([b"x"], **wrong)
    for wrong_place in ({"hook": "moon"}, {"local": "here"}):
        with pytest.raises(UsageError):
            run.capture(tmp_path / "none.pcap", **wrong_place)
    with pytest.raises(FileNotFoundError):
        run.capture(tmp_path / "none.pcap")
    run.close()
    with pytest.raises(UsageError, match="closed"):
        run.packet(dport=1)


def test_the_host_is_where_local_says(runs: list[CalloutRun]) -> None:
    run = CalloutRun.of(Words, "stream", kind="unknown", local="10.0.0.0/24, 10.1.0.1, fd00::7")
    runs.append(run)
    assert hosts_of("") == HOST and hosts_of("10.0.0.9") == {4: "10.0.0.9", 6: HOST[6]}
    for family, host in ((4, "10.0.0.1"), (6, "fd00::7")):
        assert run.stream([b"evil"], family=family).reset
        packet = run.packet(dport=1, family=family).given
        assert str((IP if family == 4 else IPv6)(packet).dst) == host
    with pytest.raises(UsageError, match="local"):
        CalloutRun.of(Words, "stream", local="here")


def test_a_layer_or_a_policy_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="no layer 'inbound'"):
        CalloutRun.of(Port, "inbound")
    with pytest.raises(UsageError, match="no layer is said"):
        layers_of(())
    with pytest.raises(PolicyError, match="no_such"):
        CalloutRun.of(Port, "inbound_transport", when={"no_such": 1})
    with pytest.raises(UsageError, match="made already"):
        CalloutRun.of(Port(), "inbound_transport", options={"port": 1})
    with pytest.raises(FwpError, match="refuses filter"):
        CalloutRun.of(Port, "inbound_transport", provider_context="no")
    with pytest.raises(TypeError, match="neither classify nor native"):
        CalloutRun.of(int, "inbound_transport")


def test_the_document_has_a_filter_for_each_layer_and_those_beside_it() -> None:
    document = asking_policy(
        ["stream", "ipforward_v4"], use="m:C", options={"n": 1}, kind="inspection", when={"a": 1}, on_error="permit",
        provider_context={"x": 2}, filters=[{"name": "other"}], attach=[],
    )  # fmt: skip
    assert [item["name"] for item in document["filters"]] == ["other", "ask-stream", "ask-ipforward_v4"]
    assert document["filters"][1] == {
        "name": "ask-stream", "layer": "stream", "action": {"callout": "callout", "kind": "inspection"},
        "when": {"a": 1}, "on_error": "permit", "provider_context": "given",
    }  # fmt: skip
    assert document["provider_contexts"] == [{"name": "given", "data": {"x": 2}}]
    assert document["callouts"] == [{"name": "callout", "use": "m:C", "options": {"n": 1}}] and "attach" in document


def test_an_exception_is_raised_as_it_is_unless_on_error_is_said(runs: list[CalloutRun]) -> None:
    runs.append(CalloutRun.of(Port, "inbound_transport"))
    with pytest.raises(LookupError, match="boom") as caught:
        runs[0].packet(dport=1, payload=b"boom")
    assert caught.traceback[-1].name == "classify"
    assert runs[0].packet(dport=1, payload=b"good").errors == ()
    runs.append(CalloutRun.of(Port, "inbound_transport", on_error="block"))
    found = runs[1].packet(dport=1, payload=b"boom")
    assert (found.verdict, found.reason, [type(error) for error in found.errors]) == ("block", "error", [LookupError])


def test_life_ends_with_notify_flow_delete_and_close_once() -> None:
    allowed = {"name": "allow", "layer": "ale_auth_recv_accept", "action": "permit"}
    run = CalloutRun.of(Port, ["ale_flow_established_v4", "datagram_data_v4"], filters=[allowed])
    life = run.instance.life
    run.packet(proto="udp", sport=7, dport=8, payload=b"x")
    assert [call.layer for call in run.last.calls] == ["ale_flow_established_v4", "datagram_data_v4"]
    run.close()
    run.close()
    assert life[-4:] == [
        ("delete", "ale_flow_established_v4"),
        ("delete", "datagram_data_v4"),
        ("over", "kept"),
        "closed",
    ]


@pytest.mark.parametrize("what", ["flow_delete", "close"])
def test_what_the_end_raises_is_raised_by_it(what: str) -> None:
    allowed = {"name": "allow", "layer": "ale_auth_recv_accept", "action": "permit"}
    for on_error in (None, "block"):
        run = CalloutRun.of(
            Port, "ale_flow_established", options={"refuses": what}, filters=[allowed], on_error=on_error
        )
        run.packet(proto="udp", sport=7, dport=8)
        if on_error:
            run.close()
        else:
            with pytest.raises(LookupError, match=what):
                run.close()
        assert run.instance.life[-1] == "closed"


def test_a_flow_ends_by_the_clock_that_a_test_moves(runs: list[CalloutRun]) -> None:
    allowed = {"name": "allow", "layer": "ale_auth_recv_accept", "action": "permit"}
    run = CalloutRun.of(Port, "ale_flow_established", filters=[allowed])
    runs.append(run)
    run.packet(proto="udp", sport=7, dport=8)
    run.packet(proto="udp", sport=9, dport=8, after=7200)
    assert ("over", "kept") in run.instance.life


def test_a_capture_is_decided_with_places_and_counts(runs: list[CalloutRun], tmp_path: Path) -> None:
    path = tmp_path / "some.pcap"
    wrpcap(str(path), [IP(src=PEER[4], dst="203.0.113.5") / UDP(dport=port) / b"x" for port in (22, 23, 24, 23)])
    run = CalloutRun.of(Port, "inbound_transport")
    runs.append(run)
    assert run.capture(path).calls == 0
    found = run.capture(path, local="203.0.113.0/24")
    assert (found.counts, found.blocked, found.calls) == ({"permit": 2, "block": 2}, [2, 4], 4)
    assert run.capture(str(path), hook="input").blocked == [2, 4]
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(CaptureError):
        run.capture(path, hook="input")


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("outbound", [False, True])
def test_streams_pass_or_end_however_they_are_cut(runs: list[CalloutRun], family: int, outbound: bool) -> None:
    run = CalloutRun.of(Words, "stream", kind="unknown")
    runs.append(run)
    for cut in ([b"GET /\n"], [b"G", b"ET", b" /\n"], [b"no end"]):
        found = run.stream(cut, [b"ok\n"], family=family, outbound=outbound)
        assert (found.verdict, found.server_received, found.client_received) == ("permit", b"".join(cut), b"ok\n")
        assert found.calls
    for cut in ([b"evil"], [b"say e", b"v", b"il\n", b"more"]):
        found = run.stream(cut, [b"ok\n"], family=family, outbound=outbound)
        assert (found.verdict, found.reset, found.server_received) == ("block", True, b"")


def test_a_conversation_can_be_led_segment_by_segment(runs: list[CalloutRun]) -> None:
    run = CalloutRun.of(Words, "stream", kind="unknown")
    runs.append(run)
    found = run.conversation(port=7000)
    found.client(b"\n", at=5)
    found.client(b"hello", at=0)
    assert found.server_received == b"hello\n"
    found.server(b"no line yet")
    assert (found.verdict, found.client_received) == ("held", b"")


def test_a_coroutine_runs_to_its_end_and_what_it_raises_is_raised(runs: list[CalloutRun]) -> None:
    class Waits:
        async def classify(self, c: Any) -> None:
            await asyncio.sleep(0)
            if bytes(c.payload) == b"boom":
                raise LookupError("boom")
            c.block()

    runs.append(CalloutRun.of(Waits, "inbound_transport"))
    assert runs[0].packet(dport=1).verdict == "block"
    with pytest.raises(LookupError, match="boom"):
        runs[0].packet(dport=1, payload=b"boom")


def test_a_coroutine_that_never_returns_is_late_and_one_that_modifies_is_seen(runs: list[CalloutRun]) -> None:
    class Waits:
        modifies = True

        async def classify(self, c: Any) -> None:
            c.write(c.payload_offset, bytes(c.payload).upper())
            if bytes(c.payload) == b"NEVER":
                await asyncio.get_running_loop().create_future()

    runs.append(CalloutRun.of(Waits, "inbound_transport", kind="unknown", faults={"late_after": "1ms"}))
    found = runs[0].packet(proto="udp", dport=1, payload=b"hello")
    assert found.verdict == "permit" and (found.packet or b"").endswith(b"HELLO")
    found = runs[0].packet(proto="udp", dport=1, payload=b"never")
    assert (found.reason, (found.packet or b"")[-5:], found.errors) == ("late", b"never", ())


def test_a_packet_that_a_callout_changes_is_seen_as_it_leaves(runs: list[CalloutRun]) -> None:
    class Upper:
        modifies = True

        def classify(self, c: Any) -> None:
            c.write(c.payload_offset, bytes(c.payload).upper())

    runs.append(CalloutRun.of(Upper, "inbound_transport"))
    found = runs[0].packet(proto="udp", dport=1, payload=b"hello")
    assert found.packet is not None and found.packet.endswith(b"HELLO") and found.given.endswith(b"hello")


class Echo:
    """Injects what came, then a longer one in its place."""

    injects = True

    def classify(self, c: Any) -> None:
        if len(c.payload):
            c.inject(bytes(c.packet))
            c.reinject(bytes(c.packet) + b"!")


def test_what_a_callout_injects_is_seen(runs: list[CalloutRun]) -> None:
    run = CalloutRun.of(Echo, "inbound_transport")
    runs.append(run)
    found = run.packet(proto="udp", dport=9, payload=b"a")
    assert (found.verdict, [one[28:] for one in found.injected]) == ("block", [b"a", b"a!"])
    assert run.packet(proto="udp", dport=9).injected == ()


def test_a_compiled_callout_is_asked_and_answers(runs: list[CalloutRun]) -> None:
    runs.append(CalloutRun.of(Counting, "inbound_transport"))
    assert len(runs[0].packet(dport=1).calls) == 1


def test_a_policy_file_runs_with_its_own_callouts(runs: list[CalloutRun], tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(
        'version: 1\ncallouts: [{name: c, use: "wfpd.callouts.fixed:Fixed", options: {answer: block}}]\n'
        "filters: [{name: f, layer: inbound_transport, action: {callout: c}, when: {ip_local_port: 23}}]\n"
    )
    run = CalloutRun.of_policy(path)
    runs.append(run)
    assert (run.packet(dport=23).verdict, run.packet(dport=24).verdict) == ("block", "permit")
    assert list(run.callouts) == ["c"]
    path.write_text("version: 1\ncallouts: [{name: c, use: 'no_such_module:C'}]\n")
    with pytest.raises(PolicyError, match="no_such_module"):
        CalloutRun.of_policy(path)


class Parks:
    """Takes each packet out of its queue; completes those of port 9 when the next comes."""

    parks = True

    def __init__(self) -> None:
        self.waiting: list[Any] = []

    def classify(self, c: Any) -> None:
        for one in self.waiting:
            one.complete("block")
        self.waiting.clear()
        handle = c.pend()
        if c.values["ip_local_port"] == 9:
            self.waiting.append(handle)


def test_what_is_parked_is_decided_when_it_is_completed_or_late_in_a_capture_too(tmp_path: Path) -> None:
    run = CalloutRun.of(
        Parks, "inbound_transport", filters=[{"name": "later", "layer": "datagram_data", "action": "permit"}]
    )
    packets = [IP(src=PEER[4], dst=HOST[4]) / UDP(sport=7, dport=port) for port in (9, 10, 9)]
    assert [run.packet(one).verdict for one in packets] == ["parked"] * 3
    assert [(one.number, one.verdict, one.reason) for one in run.due()] == [(1, "block", "callout")]
    assert [(one.number, one.reason) for one in run.due(after=60)] == [(2, "late"), (3, "late")]
    wrpcap(str(tmp_path / "some.pcap"), packets)
    found = run.capture(tmp_path / "some.pcap")
    assert [(one.verdict, one.reason) for one in found.results] == [
        ("block", "callout"), ("permit", "late"), ("permit", "late"),
    ]  # fmt: skip
    run.close()

"""A compiled callout that asks Python about every packet decides as the Python one alone does, whatever that does."""

from __future__ import annotations

import pathlib
import tempfile
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6

from tests.builders import a_filter, a_policy, callout, slot, snapshot
from tests.registering import Decided
from tests.streams import Conversation
from wfpd.callouts._told import Told
from wfpd.model.policy import Action, Word
from wfpd.netfilter.marks import Marks, Way

ASK = 9
TEXT = """version: 1
faults: {on_late: block, on_error: block, late_after: 2s}
callouts: [{name: c, use: "m:C"}]
filters:
  - {name: authorize, layer: [ale_auth_recv_accept, ale_auth_connect], action: permit, weight: 1}
  - {name: no, layer: LAYER, action: block, weight: 1, when: {ip_remote_address: [198.51.100.7, "2001:db8::7"]}}
  - {name: ask, layer: [TWIN], weight: 9, action: {callout: c, kind: KIND}}
"""
LAYERS = ("inbound_ippacket", "inbound_transport", "datagram_data", "ale_auth_recv_accept", "stream_packet")
DEEDS = st.lists(
    st.one_of(
        st.sampled_from(["permit", "block", "continue_", "pend", "reinject", "inject", "raise", "forget"]),
        st.tuples(st.just("write"), st.integers(20, 40)),
        st.tuples(st.just("keep"), st.one_of(st.integers(-1, 3), st.just("a text"))),
        st.tuples(st.sampled_from(["permit", "block"]), st.just("clear")),
    ),
    max_size=4,
)
PACKETS = [
    made(src=src, dst=dst) / transport / b"payload"
    for made, srcs, dst in (
        (IP, ("198.51.100.2", "198.51.100.7"), "192.0.2.1"),
        (IPv6, ("2001:db8::2", "2001:db8::7"), "2001:db8::1"),
    )
    for src in srcs
    for transport in (UDP(sport=9, dport=53), TCP(sport=9, dport=80, flags="PA"))
]


class Plain:
    """Does with its n-th packet what the n-th list says; remembers what it saw, and its handles."""

    parks = modifies = injects = True

    def __init__(self, programs: list[list[Any]]) -> None:
        self.programs = list(programs)
        self.seen: list[Any] = []
        self.handles: list[Any] = []
        self.ended: list[Any] = []

    def classify(self, c: Any) -> None:
        self.seen.append((c.layer, c.action, c.write_right, bytes(c.packet), c.flow_context, c.injection_state))
        for deed in self.programs.pop(0) if self.programs else ():
            self.do(c, deed)

    def do(self, c: Any, deed: Any) -> None:
        name, value = deed if isinstance(deed, tuple) else (deed, None)
        if name == "write":
            c.write(value, b"x")
        elif name == "keep":
            c.set_flow_context(c.layer.removesuffix("_discard"), value)
        elif name == "forget":
            c.remove_flow_context(c.layer)
        elif name == "pend":
            self.handles.append(c.pend())
        elif name == "inject":
            c.inject(bytes(c.packet))
        elif name == "raise":
            raise ValueError("it is told to")
        elif value == "clear":
            getattr(c, name)(clear_right=True)
        else:
            getattr(c, name)()

    def flow_delete(self, f: Any) -> None:
        self.ended.append((f.layer, f.context))  # Compiled code gives a flow its id earlier.


class Hybrid(Plain):
    """The same, by way of compiled code without a flow_delete of its own."""

    def __init__(self, programs: list[list[Any]]) -> None:
        super().__init__(programs)
        self.told = Told(kind=ASK, keeps=False)
        self.native = self.told.native


def story(callout: Plain, layer: str, kind: str, packets: list[tuple[int, int]], words: list[str | None]) -> Any:
    """Lines, what the callout saw, what went out, and its failures."""
    with tempfile.TemporaryDirectory() as folder:
        twin = layer if layer == "stream_packet" else f"{layer}, {layer}_discard"
        text = TEXT.replace("LAYER", layer).replace("TWIN", twin).replace("KIND", kind)
        run = Decided(pathlib.Path(folder), text, {"c": callout}, parks=True)
        injections = run.replay.replayer.context.injections
        marks = [None, 0x1234, *(Marks().injected(n, Way.INBOUND) for n in (injections.number(run.items["c"]), 5))]
        found: list[Any] = []
        replay = run.replay
        for number, (which, mark) in enumerate(packets):
            found.append(
                (run.send(PACKETS[which], marks[mark]), replay.passed, [order.packet for order in replay.injected])
            )
            if callout.handles:
                word = words[number % len(words)]
                found.append(callout.handles.pop().complete(*([word] if word else [])))
                found.append([line for _, line in replay.due(run.at)])
        found.append([line for _, line in replay.due()])
        errors = dict(replay.replayer.context.errors)
        replay.close()
        return found, callout.seen, sorted(map(repr, callout.ended)), errors


@settings(max_examples=250, deadline=None)
@given(
    programs=st.lists(DEEDS, min_size=1, max_size=6), layer=st.sampled_from(LAYERS),
    kind=st.sampled_from(["unknown", "inspection", "terminating"]),
    packets=st.lists(st.tuples(st.integers(0, len(PACKETS) - 1), st.integers(0, 3)), min_size=1, max_size=6),
    words=st.lists(st.sampled_from(["permit", "block", "continue", None]), min_size=1, max_size=3),
)  # fmt: skip
def test_it_decides_packets_as_python_alone(
    programs: list[list[Any]], layer: str, kind: str, packets: list[tuple[int, int]], words: list[str | None]
) -> None:
    alone, hybrid = Plain(programs), Hybrid(programs)
    assert story(hybrid, layer, kind, packets, words) == story(alone, layer, kind, packets, words)
    assert hybrid.told.calls >= len(hybrid.seen)  # Not for what waits with another packet of its flow.


STREAM_DEEDS = st.one_of(
    st.sampled_from([("permit",), ("block",), ("continue_",), ("drop_connection",), ("allow_connection",), ("defer",),
                     ("pend",), ()]),
    st.tuples(st.just("need_more"), st.integers(0, 4)), st.tuples(st.just("enforce"), st.integers(0, 4)),
)  # fmt: skip


class Streams:
    """Does with its n-th indication what the n-th tuple says."""

    def __init__(self, deeds: list[tuple[Any, ...]], stream_mode: str) -> None:
        self.deeds, self.stream_mode = list(deeds), stream_mode
        self.seen: list[Any] = []

    def classify(self, c: Any) -> None:
        self.seen.append((bytes(c.stream), c.stream_offset, sorted(c.stream_flags), c.missed_bytes))
        name, *values = (self.deeds.pop(0) if self.deeds else ()) or (None,)
        if name == "enforce":
            c.permit()
        if name:
            getattr(c, name)(*values)


class HybridStreams(Streams):
    """The same, by way of compiled code."""

    def __init__(self, deeds: list[tuple[Any, ...]], stream_mode: str) -> None:
        super().__init__(deeds, stream_mode)
        self.told = Told(kind=ASK)
        self.native = self.told.native


@settings(max_examples=200, deadline=None)
@given(
    deeds=st.lists(STREAM_DEEDS, max_size=8), mode=st.sampled_from(["hold", "pass"]), family=st.sampled_from([4, 6]),
    sent=st.lists(st.tuples(st.integers(0, 12), st.integers(1, 5), st.sampled_from(["PA", "FPA"])), max_size=8),
)  # fmt: skip
def test_it_decides_streams_as_python_alone(
    deeds: list[tuple[Any, ...]], mode: str, family: int, sent: list[tuple[int, int, str]]
) -> None:
    def told(made: Streams) -> Any:
        filters = [a_filter(f"f{six}", Action.CALLOUT_UNKNOWN, at=slot("stream", six), callout="c") for six in (4, 6)]
        tables = snapshot(a_policy(filters, callouts=[callout("c")]), [made.classify], on_error=Word.BLOCK)
        conversation = Conversation(tables, family=family)
        conversation.open()
        data = bytes(range(65, 65 + 20))
        found = [conversation.send(at, data[at : at + n], flags) for at, n, flags in sent]
        return found, made.seen

    hybrid = HybridStreams(deeds, mode)
    assert told(hybrid) == told(Streams(deeds, mode))
    assert hybrid.told.calls == len(hybrid.seen)

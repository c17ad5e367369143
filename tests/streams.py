"""TCP conversations by the layer `stream` of a policy: callouts are given as functions, packets as what is sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6

from tests.builders import a_filter, a_policy, callout, slot, snapshot
from wfpd.dataplane import Flows, Replayer, Snapshot
from wfpd.dataplane._streams import Streams
from wfpd.model.policy import Action, Sublayer, Word

CLIENT, SERVER = ("192.0.2.1", "2001:db8::1"), ("198.51.100.2", "2001:db8::2")
Classify = Callable[[Any], object]


class Callouts:
    """A callout object of one function, with the way in which packets wait for it."""

    def __init__(self, function: Classify, stream_mode: str = "hold") -> None:
        self.function, self.stream_mode = function, stream_mode

    def classify(self, c: Any) -> None:
        """Call the function."""
        self.function(c)


def a_snapshot(
    *functions: Classify | tuple[Classify, Action] | Action, mode: str = "hold", sublayers: tuple[Sublayer, ...] = (),
    **options: Any,
) -> Snapshot:  # fmt: skip
    """A filter of each family at stream for each function, of kind `unknown`, in its own of the sublayers if given."""
    filters, callouts, made = [], [], []
    for number, given in enumerate(functions):
        function, action = given if isinstance(given, tuple) else (given, Action.CALLOUT_UNKNOWN)
        members: dict[str, Any] = {"sublayer": sublayers[number].name} if sublayers else {}
        if isinstance(function, Action):
            action = function
        else:
            callouts.append(callout(f"c{number}"))
            made.append(Callouts(function, mode).classify)
            members["callout"] = f"c{number}"
        for family in (4, 6):
            filters.append(a_filter(f"f{number}v{family}", action, at=slot("stream", family), **members))
    policy = a_policy(filters, sublayers=sublayers, callouts=callouts)
    return snapshot(policy, made, **{"on_error": Word.BLOCK, **options})


class Conversation:
    """One connection to a server at this host (`outbound`: from it); sequence numbers count from the SYN."""

    def __init__(
        self, tables: Snapshot, *, family: int = 4, initial: tuple[int, int] = (1000, 9000), outbound: bool = False,
        streams: Streams | None = None, checksums: bool = False,
    ) -> None:  # fmt: skip
        self.flows = Flows(64, streams=streams)
        self.replayer = Replayer(tables, self.flows, checksums=checksums)
        self.family, self.initial, self.outbound = family, initial, outbound
        self.now = 0

    def swap(self, tables: Snapshot) -> None:
        """Go on under another policy."""
        self.replayer = Replayer(tables, self.flows)

    def packet(self, at: int, data: bytes, flags: str, *, server: bool = False, ack: int | None = None) -> bytes:
        """A packet whose first byte is at `at` of its stream (a SYN's at -1)."""
        index = 0 if self.family == 4 else 1
        ends = (SERVER[index], CLIENT[index]) if server else (CLIENT[index], SERVER[index])
        ports = (80, 40000) if server else (40000, 80)
        sequence = (self.initial[server] + 1 + at) % 2**32
        acknowledged = 0 if ack is None else (self.initial[not server] + 1 + ack) % 2**32
        tcp = TCP(sport=ports[0], dport=ports[1], flags=flags, seq=sequence, ack=acknowledged, urgptr=0)
        made: bytes = bytes((IP if self.family == 4 else IPv6)(src=ends[0], dst=ends[1]) / tcp / data)
        return made

    def visit(self, packet: bytes, *, server: bool = False) -> dict[str, Any]:
        """Decide one packet."""
        self.now += 1_000_000
        hook = "output" if server != self.outbound else "input"
        found: dict[str, Any] = self.replayer.visit(packet, hook, self.now)
        return found

    def send(
        self, at: int, data: bytes = b"", flags: str = "PA", *, server: bool = False, ack: int | None = 0
    ) -> tuple[str, str | None]:
        """(verdict, reply) of one packet."""
        found = self.visit(self.packet(at, data, flags, server=server, ack=ack), server=server)
        return found["verdict"], found["reply"]

    def open(self) -> None:
        """The handshake."""
        assert self.send(-1, flags="S", ack=None)[0] == "permit"
        assert self.send(-1, flags="SA", server=True)[0] == "permit"
        assert self.send(0, flags="A")[0] == "permit"

    def counters(self) -> dict[str, int]:
        """What the table of streams has counted."""
        return self.flows.streams.counters()


PASSED, HELD, RESET = ("permit", None), ("block", None), ("block", "tcp_reset")


class Recorder:
    """Permits everything and keeps what it was shown."""

    def __init__(self, answer: Any = None) -> None:
        self.seen: list[tuple[str, int, bytes, set[str]]] = []
        self.answer = answer

    def __call__(self, c: Any) -> None:
        self.seen.append((c.stream_direction, c.stream_offset, bytes(c.stream), c.stream_flags))
        if self.answer is not None:
            self.answer(c)
        else:
            c.permit()


def block_keyword(c: Any) -> None:
    """Wait for a line, and block what has the word."""
    data = bytes(c.stream)
    if b"evil" in data:
        c.block()
    elif "RECEIVE_DISCONNECT" in c.stream_flags or "NO_MORE_DATA" in c.stream_flags or data.endswith(b"\n"):
        c.permit()
    else:
        c.need_more()

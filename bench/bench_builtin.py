"""The callouts shipped, beside a script that does the same with Scapy.

    python -m bench.bench_builtin [--connections 20] [--names 100000] [--rounds 9] [--json]

Callouts: replayed packets at ipforward, each put before the callout by its real context; nanoseconds of the calls as
the packet path counts them, values and verdict included.  Scapy: `IP(bytes)`, then the same question asked of its
fields; what netfilterqueue costs a packet comes on top.  Scapy's own TLS layer needs another package and costs more
than the slices that find the name here.  A callout that writes finds nothing to be written, and is asked by its
Python side (the packet path asks the compiled one).  Parsers: the same ClientHello, query or request given to each,
Scapy's in its packet where it is TLS.  Both sides take turns, the median of the rounds stands.  No root needed.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from scapy.layers.dns import DNS, DNSQR
from scapy.layers.http import HTTPRequest
from scapy.layers.inet import IP, TCP, UDP

from bench.policies import snapshot
from bench.report import Table, main, settings
from wfpd.callouts._client_hello import read_client_hello
from wfpd.callouts._names import NameList
from wfpd.callouts._question import read_question
from wfpd.callouts.builtin.byte_patterns import BytePatterns
from wfpd.callouts.builtin.dns_names import DnsNames
from wfpd.callouts.builtin.dscp_set import DscpSet
from wfpd.callouts.builtin.http_requests import Requests
from wfpd.callouts.builtin.mss_clamp import MssClamp
from wfpd.callouts.builtin.rate_limit import RateLimit
from wfpd.callouts.builtin.reset import Reset
from wfpd.callouts.builtin.silent_drop import SilentDrop
from wfpd.callouts.builtin.tls_names import TlsNames
from wfpd.dataplane import Replayer, Snapshot
from wfpd.model.layers import LAYER
from wfpd.model.policy import Action, Callout, Filter, Policy, Sublayer, default_key

NAME = b"www.example.org"
REQUEST = b"GET /index.html HTTP/1.1\r\nHost: www.example.org\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n"


def _vector(width: int, content: bytes) -> bytes:
    return len(content).to_bytes(width, "big") + content


def client_hello(padding: int = 1100, name: bytes = NAME) -> bytes:
    """A record as a browser sends it: a key share of post-quantum size before the name."""
    named = b"\x00\x00" + _vector(2, _vector(2, b"\x00" + _vector(2, name)))
    extensions = b"\x00\x33" + _vector(2, bytes(padding)) + named + b"\x00\x2b\x00\x03\x02\x03\x04"
    body = b"\x03\x03" + bytes(32) + _vector(1, bytes(32)) + _vector(2, b"\x13\x01\x13\x02") + b"\x01\x00"
    return b"\x16\x03\x01" + _vector(2, b"\x01" + _vector(3, body + _vector(2, extensions)))


def connections(count: int) -> list[bytes]:
    """TLS connections: SYN, ACK, a ClientHello in two segments, ten packets of data."""
    hello, found = client_hello(), []
    for number in range(count):
        front = IP(src=f"192.0.2.{number % 250}", dst="198.51.100.2") / TCP(sport=20000 + number, dport=443)
        data = b"\x17\x03\x03\x05\x00" + bytes(1280)
        for flags, seq, load in [("S", 99, b""), ("A", 100, b""), ("A", 100, hello[:1000]), ("PA", 1100, hello[1000:]),
                                 *(("A", 100 + len(hello) + n * len(data), data) for n in range(10))]:  # fmt: skip
            front[TCP].flags, front[TCP].seq = flags, seq
            found.append(bytes(front / load if load else front))
    return found


class ScapyTls:
    """What a script does: Scapy for the packet, slices for the name, first segments joined by flow."""

    def __init__(self, names: set[str]) -> None:
        self.names, self.begun = names, dict[tuple[str, int, str, int], bytes | None]()

    def __call__(self, data: bytes) -> bool:
        """Whether the packet passes."""
        packet = IP(data)
        tcp = packet[TCP]
        key = packet.src, tcp.sport, packet.dst, tcp.dport
        if tcp.flags & 2:
            self.begun[key] = b""
            return True
        before, load = self.begun.get(key), bytes(tcp.payload)
        if before is None or not load:
            return True
        stream = before + load
        if len(stream) < 5 or len(stream) < 5 + int.from_bytes(stream[3:5], "big"):
            self.begun[key] = stream
            return True
        self.begun[key] = None
        at = 9 + 34
        at += 1 + stream[at]
        at += 2 + int.from_bytes(stream[at : at + 2], "big")
        at += 1 + stream[at] + 2
        while stream[at : at + 2] != b"\0\0":
            at += 4 + int.from_bytes(stream[at + 2 : at + 4], "big")
        length = int.from_bytes(stream[at + 7 : at + 9], "big")
        return stream[at + 9 : at + 9 + length].decode() not in self.names


@dataclass
class Case:
    """A callout, packets, and the script that does the same with each."""

    name: str
    callout: Any
    packets: Sequence[bytes]
    script: Callable[[bytes], object]


def cases(count: int, entries: list[str]) -> list[Case]:
    """Those that a packet at ipforward can ask."""
    tls = connections(count)
    dns = [bytes(IP(src="192.0.2.1") / UDP(dport=53) / DNS(qd=DNSQR(qname=NAME)))] * len(tls)
    syn = [bytes(IP() / TCP(flags="S", options=[("MSS", 1200), ("WScale", 7)]))] * len(tls)
    known = set(entries)
    sources: dict[str, int] = {}

    def counted(data: bytes) -> None:
        packet = IP(data)
        sources[packet.src] = sources.get(packet.src, 0) + packet.len

    return [
        Case("TLS server names", TlsNames(entries), tls, ScapyTls(known)),
        Case("DNS names", DnsNames(entries), dns, lambda data: IP(data)[DNS].qd[0].qname.decode() in known),
        Case("byte patterns", BytePatterns("needle"), tls, lambda data: b"needle" in bytes(IP(data)[TCP].payload)),
        Case("rate limit by source", RateLimit(rate=9 * 10**9, unit="bytes", per="source"), tls, counted),
        Case("rate limit by flow", RateLimit(rate=9 * 10**9, per="flow"), tls, counted),
        Case("DSCP set, in Python", DscpSet(0), tls, lambda data: IP(data).tos >> 2 == 0),
        Case("MSS clamp, in Python", MssClamp(mss=1300), syn, lambda data: dict(IP(data)[TCP].options)["MSS"] > 1300),
        Case("reset", Reset(), tls, lambda data: TCP in IP(data)),
        Case("silent drop", SilentDrop(), tls, IP),
    ]  # fmt: skip


def _forward(classify: Any) -> Snapshot:
    """Every packet of ipforward_v4 is put before the callout."""
    one = Filter("one", uuid.UUID(int=1), LAYER["ipforward"].slot(4), "top", Action.CALLOUT_UNKNOWN, 0, 1, (),
                 callout="callout")  # fmt: skip
    top = Sublayer("top", default_key("file", "sublayer", "top"), 0x9000)
    callout = Callout("callout", default_key("file", "callout", "callout"), "c")
    return snapshot(Policy(filters=(one,), sublayers=(top,), callouts=(callout,)), [classify])


def _called(replayer: Replayer, packets: Sequence[bytes]) -> float:
    """Nanoseconds a call."""
    before = list(replayer.context.durations.get("callout", [0, 0]))
    for packet in packets:
        replayer.visit(packet, "forward", 1)
    after = replayer.context.durations["callout"]
    assert after[0] - before[0] == len(packets) and not replayer.context.errors
    return (after[1] - before[1]) / len(packets)


def _timed(step: Callable[[bytes], object], given: Sequence[bytes]) -> float:
    began = time.perf_counter_ns()
    for one in given:
        step(one)
    return (time.perf_counter_ns() - began) / len(given)


def _row(table: Table, name: str, ours: Callable[[], float], theirs: Callable[[], float], rounds: int) -> None:
    pairs = [(ours(), theirs()) for _ in range(rounds)]
    mine, other = (statistics.median(side) for side in zip(*pairs, strict=True))
    table.add(name, mine, other, other / mine)


def callouts(given: argparse.Namespace, entries: list[str]) -> Table:
    """A row for each."""
    assert __doc__ is not None
    table = Table("Callouts shipped", __doc__.rpartition("\n\n")[2].strip(), ["", "wfpd: ns", "Scapy: ns", "times"])
    for case in cases(given.connections, entries):
        replayer = Replayer(_forward(partial(type(case.callout).classify, case.callout)))
        ours, theirs = partial(_called, replayer, case.packets), partial(_timed, case.script, case.packets)
        _row(table, case.name, ours, theirs, given.rounds)
    return table


def parsers(given: argparse.Namespace) -> Table:
    """A row for each protocol."""
    table = Table("Parsers of the callouts shipped", "As above.", ["", "wfpd: ns", "Scapy: ns", "times"])
    query, script = bytes(DNS(qd=DNSQR(qname=NAME))), ScapyTls(set())
    hello = bytes(IP() / TCP(flags="PA", dport=443) / client_hello())
    key = IP(hello).src, 20, IP(hello).dst, 443

    def by_slices(data: bytes) -> bool:
        script.begun[key] = b""
        return script(data)

    many = 10 * given.connections
    for name, ours, mine, theirs, other in (
        ("ClientHello", read_client_hello, client_hello(), by_slices, hello),
        ("DNS query", read_question, query, DNS, query),
        ("HTTP request", lambda data: Requests(16384).scan(data), REQUEST, HTTPRequest, REQUEST),
    ):
        _row(table, name, partial(_timed, ours, [mine] * many), partial(_timed, theirs, [other] * many), given.rounds)
    return table


def lists(given: argparse.Namespace, entries: list[str]) -> Table:
    """A small list and a large one."""
    table = Table("Host name lists", "Half of the names asked for are listed.",
                  ["names", "load: ms", "bytes a name", "one question: ns"])  # fmt: skip
    for size in (min(1000, given.names), given.names):
        began = time.perf_counter_ns()
        listed = NameList(entries[:size])
        loaded = time.perf_counter_ns() - began
        asked = [entry.lstrip("*.").encode() for entry in random.Random(2).sample(entries[:size], min(size, 5000))]
        asked += [b"www." + name + b".test" for name in asked]
        times = [_timed(listed.match, asked) for _ in range(given.rounds)]
        table.add(f"{size:,}", loaded / 1e6, listed.size / len(listed), statistics.median(times))
    return table


def bench(given: argparse.Namespace) -> list[Table]:
    """Three tables."""
    rng = random.Random(1)
    fronts = ["", ".", "*."]
    entries = [f"{rng.choice(fronts)}host{n}.zone{rng.randrange(997)}.example" for n in range(given.names)]
    return [callouts(given, entries), parsers(given), lists(given, entries)]


def arguments() -> argparse.ArgumentParser:
    """Its options."""
    return settings("bench_builtin", __doc__, connections=20, names=100_000, rounds=9)


if __name__ == "__main__":
    sys.exit(main(arguments(), bench))

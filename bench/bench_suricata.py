"""CPU a packet of a TLS server-name policy: Suricata 7 in IPS mode and wfpd drain the same full queue.

    python -m bench.bench_suricata [--rounds 9] [--connections 300] [--names 1000] [--root DIR] [--mirror URL] [--json]

Forwarded TCP connections over IPv4: a handshake, a ClientHello of 1.2 KB in two segments, four answers of 1,400 bytes;
one connection in ten names a listed server.  Suricata has a rule for each name and serves its queue with one worker and
batches of 20 verdicts, wfpd the callout `tls_names` with the same list.  CPU time by the scheduler's account, of all
threads, in paired rounds.  Packets of connections that are refused do not pass; the part that passes is told for both:
Suricata drops the answers of a refused connection too, tls_names at ipforward what its client sends.

Suricata comes from Debian's bookworm-backports into a root file system of its own.  Where it cannot be had, that
is said and the exit status is 3: nothing was compared.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from scapy.layers.inet import IP, TCP

from bench import suricata
from bench.bench_builtin import client_hello
from bench.policies import snapshot
from bench.report import Table, main, settings
from wfpd.bench.drain import Drain, Drained, consumers, engine, median, ratio, rounds
from wfpd.bench.network import Ring, Sender
from wfpd.callouts.builtin.tls_names import TlsNames
from wfpd.callouts.registered import Registered
from wfpd.dataplane import Snapshot
from wfpd.model.layers import LAYER
from wfpd.model.policy import Action, Callout, Filter, Policy, Sublayer, default_key
from wfpd.netfilter.namespace import call_in

BATCH = 64
WHOLE = 65531
EXIT_UNAVAILABLE = 3
OURS, THEIRS = "wfpd, tls_names", "Suricata"
SIZE = 1400
"""Bytes of each of the server's segments."""


def record(kind: int, content: bytes) -> bytes:
    """A TLS record."""
    return bytes((kind, 3, 3)) + len(content).to_bytes(2, "big") + content


HELLO = b"\x03\x03" + bytes(32) + b"\x00\x13\x01\x00\x00\x06\x00\x2b\x00\x02\x03\x04"
SERVED = record(22, b"\x02" + len(HELLO).to_bytes(3, "big") + HELLO) + record(20, b"\x01")
ANSWERS = [SERVED + record(23, bytes(SIZE - len(SERVED) - 5)), *[record(23, bytes(SIZE - 5))] * 3]
"""The server's segments in each connection: ServerHello, then what is encrypted."""
LISTED_EVERY = 10


def policy(names: Sequence[str]) -> Snapshot:
    """The callout on every TCP packet; what it refuses does not pass."""
    callout = Callout("names", default_key("file", "callout", "names"))
    top = Sublayer("top", default_key("file", "sublayer", "top"), 0x9000)
    one = Filter("names", default_key("file", "filter", "names"), LAYER["ipforward"].slot(4), "top",
                 Action.CALLOUT_UNKNOWN, 0, 1, (), callout="names")  # fmt: skip
    made = Registered(callout, TlsNames(list(names), listed="absorb"))
    return snapshot(Policy(filters=(one,), sublayers=(top,), callouts=(callout,)), [made])


def connection(which: int, turn: int, name: str) -> Iterator[bytes]:
    """The packets of one connection, whose ends no other round has."""
    client, server = f"198.18.{100 + turn % 100}.{1 + which // 250}", f"198.51.100.{1 + which % 250}"
    there = {"sport": 20000 + which, "dport": 443}
    back = {"sport": 443, "dport": 20000 + which}
    hello = client_hello(name=name.encode())
    half = len(hello) // 2

    def segment(flags: str, seq: int, ack: int, data: bytes = b"", *, served: bool = False) -> bytes:
        ends = (server, client) if served else (client, server)
        head = IP(src=ends[0], dst=ends[1]) / TCP(**(back if served else there), flags=flags, seq=seq, ack=ack)
        return bytes(head / data)

    yield segment("S", 1000, 0)
    yield segment("SA", 9000, 1001, served=True)
    yield segment("A", 1001, 9001)
    yield segment("PA", 1001, 9001, hello[:half])
    yield segment("PA", 1001 + half, 9001, hello[half:])
    for number, answer in enumerate(ANSWERS):
        yield segment("PA", 9001 + number * SIZE, 1001 + len(hello), answer, served=True)
        yield segment("A", 1001 + len(hello), 9001 + (number + 1) * SIZE)


def packets(turn: int, connections: int, names: Sequence[str]) -> list[bytes]:
    """Those of a round; every tenth connection names a listed server."""
    found: list[bytes] = []
    for number in range(connections):
        listed = number % LISTED_EVERY == 0
        found += connection(number, turn, f"www{names[number % len(names)]}" if listed else f"host{number}.example.org")
    return found


class Turns:
    """A contender's turns: the next round's packets, which passed and which did not."""

    def __init__(self, ring: Ring, sender: Sender, traffic: Callable[[int], list[bytes]], queue: int, pid: int) -> None:
        self.ring, self.sender, self.traffic, self.queue, self.pid = ring, sender, traffic, queue, pid
        self.turn, self.passed, self.offered = 0, 0, 0

    def __call__(self) -> Drained:
        drain = Drain(self.ring, self.sender, self.traffic(self.turn))
        before = self._arrived()
        done = drain.turn(self.queue, self.pid)
        self.turn += 1
        self.passed += self._arrived() - before
        self.offered += done.packets
        return done

    def _arrived(self) -> int:
        path = Path("/proc/thread-self/net/dev")
        lines = call_in(self.ring.peer.netns, path.read_text).splitlines()
        return next(int(line.split()[2]) for line in lines if line.split()[0] == "sink:")


def measured(given: argparse.Namespace, program: str) -> Table:
    """Both contenders in the same rounds."""
    names = [f".name{number}.example" for number in range(given.names)]
    made = {turn: packets(turn, given.connections, names) for turn in range(given.rounds + 1)}
    with contextlib.ExitStack() as stack:
        ring = stack.enter_context(Ring("forward"))
        sender = stack.enter_context(ring.sender())
        work = engine(policy(names), 0, "forward", batch=BATCH)
        ours = stack.enter_context(consumers(ring, {OURS: (work, None)}, copy_bytes=WHOLE))[OURS]
        theirs = stack.enter_context(suricata.serving(ring, 1, given.root, names))
        turns = {OURS: Turns(ring, sender, made.__getitem__, 0, ours.pid),
                 THEIRS: Turns(ring, sender, made.__getitem__, 1, theirs)}  # fmt: skip
        found = rounds(turns, given.rounds)
    table = Table(
        "TLS server names, beside Suricata",
        f"CPU nanoseconds a packet of a process that drains a queue of {len(made[0])} forwarded packets of "
        f"{given.connections} TLS connections, one in {LISTED_EVERY} of them to one of {given.names:,} listed names; "
        f"medians of {given.rounds} paired rounds. Suricata {program}, in IPS mode with one worker and verdicts in "
        "batches of 20, has a rule for each name; wfpd has one callout with the list.",
        ["contender", "CPU, ns a packet", "Suricata / it", "passed"],
    )
    for name, one in turns.items():
        share = f"{one.passed / one.offered:.4f}"
        table.add(name, median(found, name), f"{ratio(found, THEIRS, name):.2f}", share)
    return table


def bench(given: argparse.Namespace) -> list[Table]:
    """One table; ends the program where Suricata cannot be had."""
    try:
        return [measured(given, suricata.get(given.root, given.mirror))]
    except suricata.NoSuricataError as error:
        mark = "*" * 72
        print(f"{mark}\nSURICATA CANNOT BE HAD HERE: NOTHING WAS COMPARED.\n{error}", file=sys.stderr)
        print("  hint: --mirror URL names another Debian mirror, --root DIR a root file system with Suricata 7",
              file=sys.stderr)  # fmt: skip
        print(mark, file=sys.stderr)
        raise SystemExit(EXIT_UNAVAILABLE) from None


def arguments() -> argparse.ArgumentParser:
    """The settings."""
    parser = settings("bench_suricata", __doc__, rounds=9, connections=300, names=1000)
    parser.add_argument("--root", type=Path, default=suricata.PLACE, help="root file system with Suricata")
    parser.add_argument("--mirror", help="Debian mirror that it is made from (default: that of this machine's apt)")
    return parser


if __name__ == "__main__":
    sys.exit(main(arguments(), bench))

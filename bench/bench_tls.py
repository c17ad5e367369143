"""A policy of TLS server names on real connections, beside a netfilterqueue script with Scapy that does the same.

    python -m bench.bench_tls [--rounds 5] [--packets 4096] [--names 100000] [--json]

Connections of tests/data/tls, copied with other client addresses until the queue at forward is full.  The policy is
that of docs/builtin-callouts.md: the callout `tls_names` reads what goes to port 443, with a list that refuses none of
them.  The script reads every packet with Scapy, joins the first segments by connection, finds the name by slices and
looks it up in a set.  Before anything is measured both have to refuse the same packets by a list of the names there.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from scapy.layers.inet import IP, TCP

from bench.bench_builtin import ScapyTls
from bench.draining import BATCH, SLOW, serving
from bench.peers import EMPTY, SCAPY, WFPD
from bench.policies import snapshot
from bench.report import Table, against, main, settings
from wfpd.bench.drain import Rounds, Works, empty_callback, engine, library, median, ratio, rounds
from wfpd.callouts.registry import load_callouts
from wfpd.capture import read_capture
from wfpd.config import load_policy
from wfpd.dataplane import Flows, Replayer, Snapshot

BAR = 10.0
CAPTURES = Path(__file__).resolve().parents[1] / "tests" / "data" / "tls"
PORT = 443
NAMES = ["lh3.google.com", "tls13.crypto.mozilla.org"]
"""The servers that the connections name."""
POLICY = """version: 1
callouts:
  - name: servers
    use: "wfpd.callouts.builtin.tls_names:TlsNames"
    options: {{file: {file}, listed: block}}
filters:
  - name: tls-names
    layer: ipforward
    action: {{callout: servers}}
    when: {{ip_protocol: tcp, ip_destination_port: 443}}
"""


class Script(ScapyTls):
    """ScapyTls for what goes to port 443."""

    def __call__(self, data: bytes) -> bool:
        """Whether the packet passes."""
        packet = IP(data)
        return TCP not in packet or packet[TCP].dport != PORT or super().__call__(data)


def callback(script: Script) -> Any:
    """The script as netfilterqueue calls it."""

    def decide(packet: Any) -> None:
        if script(packet.get_payload()):
            packet.accept()
        else:
            packet.drop()

    return decide


def copies(count: int) -> list[bytes]:
    """`count` packets at least: whole captures, whose clients have other addresses in each copy."""
    captured = [IP(packet.data) for path in sorted(CAPTURES.rglob("*.pcap")) for packet in read_capture(path)]
    found: list[bytes] = []
    number = 0
    while len(found) < count:
        client = f"10.{number >> 8}.{number & 255}.2"
        for packet in captured:
            made = packet.copy()
            if made[TCP].dport == PORT:
                made.src = client
            else:
                made.dst = client
            del made.chksum, made[TCP].chksum
            found.append(bytes(made))
        number += 1
    return found


def policy(directory: Path, names: Sequence[str]) -> Snapshot:
    """The policy with a list of names."""
    file, path = directory / "names", directory / "policy.yaml"
    file.write_text("\n".join(names))
    path.write_text(POLICY.format(file=file))
    read = load_policy(path, trust="warn")
    return snapshot(read, load_callouts(read.callouts))


def check(directory: Path, packets: Sequence[bytes]) -> int:
    """Packets that both refuse where the servers' names are listed; RuntimeError where they differ."""
    replayer, script = Replayer(policy(directory, NAMES), Flows(16)), Script(set(NAMES))
    ours = [replayer.visit(packet, "forward", 1)["verdict"] == "block" for packet in packets]
    hellos = [number for number, packet in enumerate(packets) if not script(packet)]
    if not hellos or not all(ours[number] for number in hellos):
        raise RuntimeError("the policy and the script do not refuse the same ClientHellos")
    return len(hellos)


def measured(given: argparse.Namespace, directory: Path, packets: Sequence[bytes]) -> Rounds:
    """All contenders in the same rounds."""
    names = [f"host{number}.example.net" for number in range(given.names)]
    works: Works = {
        WFPD: (engine(policy(directory, names), 0, "forward", batch=BATCH), None),
        EMPTY: (library, empty_callback),
        SCAPY: (library, callback(Script(set(names)))),
    }
    with serving(works, packets) as (drain, served):
        turns = drain.turns(served)
        turns[SCAPY] = partial(turns[SCAPY], n=max(1, len(packets) // SLOW))
        return rounds(turns, given.rounds)


def bench(given: argparse.Namespace) -> list[Table]:
    """One table."""
    packets = copies(given.packets)
    with tempfile.TemporaryDirectory() as directory:
        hellos = check(Path(directory), packets[:100])
        found = measured(given, Path(directory), packets)
    table = Table(
        "A policy of TLS server names",
        f"CPU nanoseconds a packet of a process that drains a queue of {len(packets)} packets of real TLS connections "
        f"at forward ({hellos} ClientHellos in every 100 packets), with a list of {given.names:,} names; medians of "
        f"{given.rounds} paired rounds. wfpd is to be {BAR:g} times as cheap as the script.",
        ["contender", "CPU, ns a packet", "times wfpd's", "bar"],
    )
    for name in found[0]:
        times = ratio(found, name, WFPD)
        table.add(name, median(found, name), f"{times:.2f}", against(times, BAR) if name == SCAPY else "-")
    return [table]


def arguments() -> argparse.ArgumentParser:
    """The settings."""
    return settings("bench_tls", __doc__, rounds=5, packets=4096, names=100_000)


if __name__ == "__main__":
    sys.exit(main(arguments(), bench))

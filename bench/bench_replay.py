"""tcpreplay of real captures over an inline bridge whose every packet is queued; results as the receiver sees them.

    python -m bench.bench_replay [--captures DIRECTORY] [--pps 20000] [--packets 20000] [--rounds 3] [--json]

"offered" came to the bridge, "decided" got a verdict by the kernel's own account, "lost" met the queue's rule
and did not come out at the other end (everything is permitted).  Latency is from leaving the sender to
reaching the receiver, bridge and kernel included: compare it with that of no queue.  CPU is the consumer's,
all threads, by the scheduler's account.
"""

from __future__ import annotations

import argparse
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench import peers
from bench.line import Line
from bench.report import Table, main, settings
from wfpd.bench.drain import cpu_ns, wait_for
from wfpd.bench.network import ETHERTYPE
from wfpd.bench.traffic import of_capture, repeated
from wfpd.capture import read_capture
from wfpd.errors import CaptureError
from wfpd.netfilter.commands import Commands

LARGEST = 1500
HEAD = bytes.fromhex("020000000002020000000001")
SNAP = 256
"""Bytes of a frame that are kept on both sides, to find it again."""
CONTENDERS = (peers.NO_QUEUE, peers.WFPD, peers.EXAMPLE, peers.EMPTY, peers.SCAPY)


@dataclass
class Seen:
    """What a contender's rounds came to."""

    offered: int = 0
    decided: int = 0
    lost: int = 0
    cpu_ns: list[float] = field(default_factory=list)
    """A packet, round by round."""
    latencies: list[int] = field(default_factory=list)
    """Nanoseconds."""


def packets_of(directory: Path) -> list[bytes]:
    """The whole IP packets, up to an Ethernet frame's size, of every capture below a directory."""
    found: list[bytes] = []
    for path in sorted(p for p in directory.rglob("*") if p.suffix in (".pcap", ".pcapng")):
        try:
            with path.open("rb") as file:
                found += of_capture(read_capture(file), 1_000_000)
        except CaptureError as error:
            print(f"{path}: {error.message}; what came before is used", file=sys.stderr)
    return [packet for packet in found if len(packet) <= LARGEST and packet[0] >> 4 in ETHERTYPE]


def write_pcap(path: Path, packets: list[bytes]) -> None:
    """The packets as Ethernet frames; tcpreplay sets the pace."""
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for packet in packets:
            frame = HEAD + ETHERTYPE[packet[0] >> 4] + packet
            file.write(struct.pack("<4I", 0, 0, len(frame), len(frame)) + frame)


def frames_of(path: Path) -> Iterator[tuple[int, bytes]]:
    """(nanoseconds, bytes) of what tcpdump wrote with nanoseconds."""
    data = path.read_bytes()
    at = 24
    while at + 16 <= len(data):
        seconds, nanoseconds, kept, _ = struct.unpack_from("<4I", data, at)
        yield seconds * 1_000_000_000 + nanoseconds, data[at + 16 : at + 16 + kept]
        at += 16 + kept


def latencies(sent: Path, received: Path) -> list[int]:
    """Nanoseconds on the way of each frame that arrived; equal frames are taken in order."""
    waiting: dict[bytes, deque[int]] = defaultdict(deque)
    for moment, frame in frames_of(sent):
        waiting[frame].append(moment)
    found = []
    for moment, frame in frames_of(received):
        if waiting[frame]:
            found.append(moment - waiting[frame].popleft())
    return found


def tcpdump(where: Commands, direction: str, path: Path) -> list[str]:
    """A capture of one side."""
    return ["tcpdump", "-i", "eth0", "-Q", direction, "-s", str(SNAP), "-B", "32768", "--time-stamp-precision=nano",
            "-n", "-w", str(path), "-U", "-Z", "root"]  # fmt: skip


def one_round(line: Line, pid: int, pcap: Path, pps: int, directory: Path, seen: Seen) -> None:
    """Play the packets once and add what came of it."""
    sent, received = directory / "sent.pcap", directory / "received.pcap"
    for path in (sent, received):
        path.unlink(missing_ok=True)
    before = line.arrived(line.middle, "in"), line.met(), line.arrived(line.receiver, "eth0")
    cpu = cpu_ns(pid) if pid else 0
    with (
        peers.running(line.sender.netns, tcpdump(line.sender, "out", sent), stderr=subprocess.DEVNULL),
        peers.running(line.receiver.netns, tcpdump(line.receiver, "in", received), stderr=subprocess.DEVNULL),
    ):
        wait_for(lambda: sent.exists() and received.exists(), "starting tcpdump")
        time.sleep(0.2)
        Commands(line.sender.netns, timeout=120).run(["tcpreplay", "-q", "-i", "eth0", f"--pps={pps}", str(pcap)])
        _settle(line)
        time.sleep(0.2)
    offered = line.arrived(line.middle, "in") - before[0]
    met = line.met() - before[1]
    came = line.arrived(line.receiver, "eth0") - before[2]
    seen.offered += offered
    seen.lost += met - came
    if pid:
        account = line.queue()
        decided = met - account["lost"]
        seen.decided += decided
        seen.cpu_ns.append((cpu_ns(pid) - cpu) / max(decided, 1))
    seen.latencies += latencies(sent, received)


def _settle(line: Line) -> None:
    """Until the queue is empty and nothing more arrives."""
    last = -1
    while last != (last := line.arrived(line.receiver, "eth0")) or line.queue().get("waiting"):
        time.sleep(0.1)


def percentile(values: list[int], share: float) -> float:
    """Microseconds."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] / 1000 if ordered else float("nan")


def bench(given: argparse.Namespace) -> list[Table]:
    """Every contender in turn, round by round."""
    packets = packets_of(given.captures)
    table = Table(
        "tcpreplay over an inline bridge",
        f"{given.packets:,} packets of the captures a round ({len(packets):,} different ones, IPv4 and IPv6, "
        f"mean {statistics.mean(map(len, packets)):.0f} bytes), {given.pps:,} a second, {given.rounds} rounds; wfpd "
        f"has {given.filters:,} filters and gets whole packets. Latency is that of the way from sender to receiver. "
        "Counts are sums of all rounds, CPU is the median of the rounds.",
        ["contender", "offered", "decided", "lost", "CPU, µs a packet", "p50, µs", "p99, µs", "p99.9, µs"],
    )
    seen = {name: Seen() for name in CONTENDERS}
    with tempfile.TemporaryDirectory(prefix="wfpd-bench-") as name:
        directory = Path(name)
        program = peers.build_nf_queue(directory)
        pcap = directory / "played.pcap"
        write_pcap(pcap, repeated(packets, given.packets))
        for _ in range(given.rounds):
            for contender, found in seen.items():
                with Line(bridged=True) as line:
                    if contender == peers.NO_QUEUE:
                        line.queue_nothing()
                    with peers.serving(line, contender, program, given.filters) as pid:
                        one_round(line, pid, pcap, given.pps, directory, found)
    for contender, found in seen.items():
        cpu = statistics.median(found.cpu_ns) / 1000 if found.cpu_ns else "-"
        decided = f"{found.decided:,}" if found.cpu_ns else "-"
        table.add(contender, f"{found.offered:,}", decided, f"{found.lost:,}", cpu,
                  *(percentile(found.latencies, share) for share in (0.5, 0.99, 0.999)))  # fmt: skip
    return [table]


def arguments() -> argparse.ArgumentParser:
    """The settings."""
    parser = settings("bench_replay", __doc__, pps=20000, packets=20000, filters=10000, rounds=3)
    parser.add_argument("--captures", type=Path, default=peers.ROOT / "tests" / "data" / "captures",
                        help="directory of captures (default: the tests' own)")  # fmt: skip
    return parser


if __name__ == "__main__":
    sys.exit(main(arguments(), bench))

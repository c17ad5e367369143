"""What a callout costs a packet: the visits of a policy in replay beside those of none, and as root a real queue.

Processor time of whole visits, medians of paired rounds: the numbers of one run can be compared with each other.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wfpd.config import load_policy
from wfpd.dataplane import Flows, Replayer, Snapshot
from wfpd.imagined import Imagined, parse_end
from wfpd.model.policy import Policy
from wfpd.replay import close_callouts, make_snapshot, streams_of
from wfpd.testing.callouts import HOST, PEER
from wfpd.testing.captures import write_capture

PACKETS = 1000
CONVERSATIONS = 64
POLICY, NOTHING = "this policy", "no filters"
_UDP = 17


def datagrams(payload: bytes, port: int = 53, n: int = PACKETS) -> list[bytes]:
    """UDP packets to this host, of 64 conversations."""
    source, destination = parse_end(PEER[4])[0], parse_end(HOST[4])[0]
    return [Imagined(_UDP, source, destination, 40000 + at % CONVERSATIONS, port, content=payload).data()
            for at in range(n)]  # fmt: skip


def replayed(policy: Policy, packets: Sequence[bytes], *, hook: str = "input", rounds: int = 9) -> dict[str, float]:
    """Nanoseconds of processor time a packet, in replay: with the policy, and with none."""
    tables = {POLICY: make_snapshot(policy), NOTHING: make_snapshot(Policy())}
    found: dict[str, list[float]] = {name: [] for name in tables}
    try:
        for _ in range(rounds + 1):  # The first warms up.
            for name, snapshot in tables.items():
                found[name].append(_visited(snapshot, policy, packets, hook))
    finally:
        close_callouts(tables[POLICY])
    return {name: round(statistics.median(times[1:]), 1) for name, times in found.items()}


def _visited(snapshot: Snapshot, policy: Policy, packets: Sequence[bytes], hook: str) -> float:
    replayer = Replayer(snapshot, Flows(4 * CONVERSATIONS, streams=streams_of(policy.daemon)))
    visit = replayer.visit
    started = time.process_time_ns()
    for at, data in enumerate(packets, 1):
        visit(data, hook, at * 1000)
    return (time.process_time_ns() - started) / len(packets)


def queued(policy: Policy, packets: Sequence[bytes], *, hook: str = "input", rounds: int = 3) -> dict[str, Any]:
    """What `wfpd bench --json` finds with these packets.  KernelError without root, namespaces or NFQUEUE."""
    from wfpd.bench.measure import Settings, measure

    with tempfile.TemporaryDirectory(prefix="wfpd-") as folder:
        path = Path(folder) / "packets.pcap"
        write_capture(path, packets)
        return measure(policy, Settings((hook,), str(path), len(packets), rounds))


def main(
    policy_path: str | os.PathLike[str], *, payload: bytes = b"", port: int = 53, argv: Sequence[str] | None = None
) -> int:
    """The bench of a callout's project: a table, or with `--json` a document."""
    parser = argparse.ArgumentParser(description="What the policy's callout costs a packet.")
    parser.add_argument("--rounds", type=int, default=9, help="paired rounds (default: %(default)s)")
    parser.add_argument("--packets", type=int, default=PACKETS, help="packets a round (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON for programs")
    given = parser.parse_args(argv)
    if given.rounds < 1 or not 0 < given.packets <= 65536:
        parser.error("rounds from 1 on, packets from 1 to 65536")
    policy = load_policy(os.fspath(policy_path), trust="warn")
    packets = datagrams(payload, port, given.packets)
    found: dict[str, Any] = {"replay_ns": replayed(policy, packets, rounds=given.rounds), "queue": None}
    if os.geteuid() == 0:
        found["queue"] = queued(policy, packets, rounds=given.rounds)
    print(json.dumps(found) if given.json else render(found))
    return 0


def render(found: dict[str, Any]) -> str:
    """For a person."""
    from wfpd.bench.measure import render as of_queue

    lines = ["in replay, ns of processor time a packet:"]
    lines += [f"  {name:<34}{ns:>12,.0f}" for name, ns in found["replay_ns"].items()]
    rest = (
        "on a real queue: run it as root" if found["queue"] is None else f"on a real queue: {of_queue(found['queue'])}"
    )
    return "\n".join([*lines, "", rest])

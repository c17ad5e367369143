"""What `wfpd bench` measures: the packet loop with the user's own policy, on the user's own machine.

At every hook asked for a queue is filled with the same packets and drained by three contenders in turn: the
packet loop with the policy, the same loop with a policy without filters, and an empty netfilterqueue
callback.  Nothing of the machine's own traffic is touched.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from wfpd.bench import drain, traffic
from wfpd.bench.network import CHAINS, Ring
from wfpd.capture import read_capture
from wfpd.dataplane import Snapshot
from wfpd.errors import CaptureError, KernelError
from wfpd.model.policy import Policy, Word
from wfpd.replay import make_snapshot

WHOLE_PACKET = 65531
FLOWS = 256
"""Conversations among made-up packets."""
POLICY, NO_FILTERS, CALLBACK = "this policy", "the same loop, no filters", "an empty netfilterqueue callback"


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line says."""

    hooks: tuple[str, ...] = ()
    """Empty: those that the policy attaches."""
    capture: str = ""
    packets: int = 4096
    rounds: int = 9


def hooks_of(policy: Policy) -> tuple[str, ...]:
    """The hooks of the policy's attachments that can be measured; forward if it has none."""
    return tuple(hook for hook in CHAINS if any(one.hook == hook for one in policy.attach)) or ("forward",)


def packets_of(settings: Settings) -> tuple[list[bytes], str]:
    """The packets, and what they are."""
    if not settings.capture:
        made = traffic.made_up(settings.packets, FLOWS)
        return made, f"made-up 64-byte UDP packets of {FLOWS} conversations"
    with open(settings.capture, "rb") as file:
        found = traffic.of_capture(read_capture(file), settings.packets)
    if not found:
        raise CaptureError(f"{settings.capture}: no whole IP packet in it")
    mean = sum(map(len, found)) / len(found)
    what = f"packets of {os.path.basename(settings.capture)} ({len(found)} different ones, mean {mean:.0f} bytes)"
    return traffic.repeated(found, settings.packets), what


def measure(policy: Policy, settings: Settings) -> dict[str, Any]:
    """Everything `wfpd bench --json` prints; KernelError where namespaces or queues are refused."""
    if os.geteuid() != 0:
        raise KernelError("wfpd bench makes network namespaces and queues of its own", hint="run it as root")
    packets, what = packets_of(settings)
    snapshot, nothing = make_snapshot(policy), make_snapshot(Policy())
    hooks = [_measure_hook(hook, policy, snapshot, nothing, packets, settings.rounds)
             for hook in settings.hooks or hooks_of(policy)]  # fmt: skip
    return {"policy_hash": policy.hash, "filters": len(policy.filters), "traffic": what, "packets": settings.packets,
            "rounds": settings.rounds, "hooks": hooks}  # fmt: skip


def _measure_hook(hook: str, policy: Policy, snapshot: Snapshot, nothing: Snapshot, packets: Sequence[bytes],
                  rounds: int) -> dict[str, Any]:  # fmt: skip
    options = {"flows_max": policy.daemon.flows_max, "flows_block_when_full": policy.daemon.flows_full is Word.BLOCK,
               "late_after": policy.faults.late_after}  # fmt: skip
    copied = WHOLE_PACKET if snapshot.needs_payload else drain.HEADERS
    works: drain.Works = {
        POLICY: (drain.engine(snapshot, 0, hook, **options), None),
        NO_FILTERS: (drain.engine(nothing, 1, hook), None),
        CALLBACK: (drain.library, drain.empty_callback),
    }
    with Ring(hook) as ring, ring.sender() as sender, drain.consumers(ring, works, copied) as found:
        done = drain.rounds(drain.Drain(ring, sender, packets).turns(found), rounds)
        counted = found[POLICY].counters()
    queued, total = done[-1][POLICY].packets, max(1, sum(counted.values()))
    blocked = round(queued * counted["block"] / total)
    return {
        "hook": hook,
        "queued": queued,
        "permitted": queued - blocked,
        "blocked": blocked,
        "cpu_ns_per_packet": {name: round(drain.median(done, name), 1) for name in works},
        "times_this_policy": {name: round(drain.ratio(done, name, POLICY), 3) for name in works},
    }


def render(result: dict[str, Any]) -> str:
    """The result for a person."""
    counts = f"{result['packets']} a round, {result['rounds']} rounds"
    lines = [f"{result['filters']} engine filters; {result['traffic']}, {counts}"]
    for each in result["hooks"]:
        decided = f"{each['permitted']} permitted, {each['blocked']} blocked"
        lines += ["", f"hook {each['hook']}: {each['queued']} packets queued, {decided}"]
        lines.append(f"  {'':<34}{'CPU a packet':>14}{'packets a second of one core':>31}")
        own = each["cpu_ns_per_packet"]
        lines += [f"  {name:<34}{ns / 1000:>11.2f} µs{1e9 / ns:>31,.0f}" for name, ns in own.items()]
        if each["blocked"]:
            lines.append("  A blocked packet saves the kernel the rest of its way.")
        cost, times = max(0.0, own[POLICY] - own[NO_FILTERS]) / 1000, each["times_this_policy"][CALLBACK]
        lines.append(
            f"  The filters cost {cost:.2f} µs a packet; a netfilterqueue script at least {times:.2f} times all."
        )
    lines += ["", "CPU of a program that drains a full queue, by the scheduler's account, kernel included; medians."]
    return "\n".join(lines)

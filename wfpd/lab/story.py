"""What the lab shows, in order; the text is kept by a test with its numbers masked."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from typing import Any

from wfpd.lab.errors import LabError
from wfpd.lab.interrupts import held
from wfpd.lab.network import CLIENT, DRAWING, SERVER, Network, run
from wfpd.lab.service import Event, Service

STREAM_PACKETS = 2000
"""Datagrams sent across a reload, one every millisecond."""

EARS_TRIES = 20
"""Pings until the first event must have come; half a second each."""

METRIC_NAMES = ("wfpd_packets_total", "wfpd_drops_total", "wfpd_filter_hits_total", "wfpd_enforcing")
METRIC_LINES = 12
Say = Callable[[str], None]
Tell = Callable[[dict[str, Any]], None]
"""Takes what an act came to, for programs."""


def keep_quiet(_: object) -> None:
    """Say, or tell, nothing."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One real packet exchange; `protocol` and `port` find its event."""

    title: str
    command: tuple[str, ...]
    protocol: str
    port: int | None


PROBES = (
    Probe("curl server:80", ("curl", "-s", "-o", "/dev/null", "--max-time", "2", f"http://{SERVER}:80/"), "TCP", 80),
    Probe("curl server:23", ("curl", "-s", "-o", "/dev/null", "--max-time", "1", f"http://{SERVER}:23/"), "TCP", 23),
    Probe("ping server", ("ping", "-c", "1", "-W", "1", SERVER), "ICMP", None),
)


def shipped_policy() -> str:
    """The lab's policy as it lies in the package."""
    return resources.files("wfpd.lab").joinpath("policy.yaml").read_text(encoding="utf-8")


def edited(policy: str) -> str:
    """What the story's reload changes: ping is blocked from now on."""
    old, new = (
        "{name: ping, layer: ipforward_v4, sublayer: perimeter, action: permit, log: true",
        ("{name: no-ping, layer: ipforward_v4, sublayer: perimeter, action: block"),
    )
    if old not in policy:
        raise LabError("the lab's policy has no filter `ping` to edit")
    return policy.replace(old, new)


def outcome(event: Event | None, reached: bool) -> str:
    """`permitted by web`, `blocked by no-telnet`, or what was seen without an event."""
    if event is None:
        return "permitted, no filter matched" if reached else "no answer, and no filter of wfpd blocked it"
    about = event.get("wfp", {})
    name = about.get("filter") or about.get("reason") or "?"
    return f"{'blocked' if event.get('event_type') == 'drop' else 'permitted'} by {name}"


def decision(event: Event | None) -> dict[str, str | None]:
    """Verdict and filter of a probe's event; nulls where it has none."""
    if event is None:
        return {"verdict": None, "filter": None}
    return {"verdict": "block" if event.get("event_type") == "drop" else "permit",
            "filter": event.get("wfp", {}).get("filter")}  # fmt: skip


class Story:
    """The lab's acts, each printed as it happens."""

    def __init__(self, network: Network, service: Service, say: Say, tell: Tell = keep_quiet) -> None:
        self.network = network
        self.service = service
        self.say = say
        self.tell = tell
        self.policy = shipped_policy()
        self._peers: list[subprocess.Popen[str]] = []

    def open(self) -> None:
        """Drawing, policy, start."""
        self.say(f"\nThe lab (namespaces wfpd-*-{self.network.suffix}):\n\n{DRAWING}\n")
        self.say(f"The policy ({self.service.policy}):\n")
        for line in self.policy.splitlines():
            self.say(f"    {line}")
        self._serve()
        started = time.monotonic()
        status = self.service.start()
        self._wait_for_ears()
        seconds = time.monotonic() - started
        self.say(f"\nwfpd is enforcing (queue 0, generation {status.get('generation', '?')}), {seconds:.1f} s")
        self.tell({"act": "start", "queue": 0, "generation": status.get("generation"), "seconds": round(seconds, 1)})

    def _wait_for_ears(self) -> None:
        """Ping until an event comes back: a subscription starts unannounced, and no probe may come before it."""
        ping = PROBES[-1]
        for _ in range(EARS_TRIES):
            run(self.network.inside("client", *ping.command))
            if self.service.decided(ping.protocol, ping.port, 0.5):
                return
        raise LabError("wfpd sends no events: `wfpd events` showed nothing of a packet that it decided")

    def _serve(self) -> None:
        server = self._start("server", "serve", SERVER)
        if not server.stdout or server.stdout.readline().strip() != "ready":
            raise LabError("the lab's server did not start")

    def _start(self, part: str, *arguments: str) -> subprocess.Popen[str]:
        """A program of peers.py in a part; `close` ends it."""
        command = self.network.inside(part, sys.executable, "-m", "wfpd.lab.peers", *arguments)
        with held():
            self._peers.append(subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True))
        return self._peers[-1]

    def probe(self) -> None:
        """Send real packets; say which filter decided each."""
        self.say(f"\nProbes from client ({CLIENT}):\n")
        for probe in PROBES:
            self.service.forget_events()
            done = run(self.network.inside("client", *probe.command))
            event = self.service.decided(probe.protocol, probe.port)
            self.say(f"    {probe.title:<16} → {outcome(event, done.returncode == 0)}")
            self.tell({"act": "probe", "probe": probe.title, "reached": done.returncode == 0, **decision(event)})

    def show_metrics(self) -> None:
        """The lines of the exposition that the probes moved."""
        self.say("\nMetrics (curl 127.0.0.1:9477/metrics):\n")
        wanted = [line for line in self.service.metrics().splitlines() if line.startswith(METRIC_NAMES)]
        moved = [line for line in wanted if not line.endswith((" 0", " 0.0"))]
        for line in moved[:METRIC_LINES]:
            self.say(f"    {line}")
        self.tell({"act": "metrics", "lines": moved[:METRIC_LINES]})

    def reload(self) -> bool:
        """Ask for a reload of the file as it is now; say what came of it."""
        taken, words = self.service.reload()
        generation = self.service.status().get("generation", "?")
        self.tell({"act": "reload", "successful": taken, "generation": generation})
        if taken:
            self.say(f"\nreloaded: generation {generation}")
        else:
            self.say(f"\nthe reload was refused, the old policy runs:\n{words}")
        return taken

    def reload_under_traffic(self) -> int:
        """The story's reload with a stream of numbered datagrams across it; how many were lost."""
        self.say("\nReload while packets flow (`ping` becomes `no-ping`):")
        sender = self._start("client", "stream", SERVER, str(STREAM_PACKETS))
        time.sleep(0.5)  # The stream is on its way: the reload falls into its middle.
        self.policy = edited(self.policy)
        self.service.write(self.policy)
        if not self.reload():
            raise LabError("the lab's own reload was refused")
        sent, echoed = map(int, (sender.communicate(timeout=30)[0] or "0 0").split())
        self.say(f"{sent} packets sent across the reload, {sent - echoed} packets lost")
        self.tell({"act": "traffic", "sent": sent, "lost": sent - echoed})
        return sent - echoed

    def show_last_drop(self) -> None:
        """Why the last packet was dropped."""
        event = self.service.last_drop
        self.tell({"act": "last_drop", "event": event})
        if event is None:
            self.say("nothing was dropped yet")
            return
        about = event.get("wfp", {})
        ends = f"{event.get('src_ip')} → {event.get('dest_ip')}"
        port = f":{event['dest_port']}" if event.get("dest_port") else ""
        self.say(f"\nLast drop: {event.get('proto')} {ends}{port}")
        self.say(f"    {about.get('reason')} at {about.get('layer')}, sublayer {about.get('sublayer')}, "
                 f"filter {about.get('filter')}, generation {about.get('generation')}")  # fmt: skip

    def play(self) -> int:
        """Everything without a key being pressed; the number of packets lost."""
        self.open()
        self.probe()
        self.show_metrics()
        lost = self.reload_under_traffic()
        self.probe()
        self.show_last_drop()
        return lost

    def close(self) -> None:
        """End the daemon and the peers."""
        with held():
            self.service.stop()
            for peer in self._peers:
                peer.kill()
                peer.wait()
            self._peers.clear()

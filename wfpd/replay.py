"""`wfpd replay`: decides a capture by a policy, one line a packet, on the packet path's own tables."""

from __future__ import annotations

import ipaddress
import json
import struct
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from wfpd.callouts.notifications import Notifications
from wfpd.callouts.registry import load_callouts
from wfpd.capture import CapturedPacket, read_capture
from wfpd.compiler.pack import pack
from wfpd.dataplane import Flows, Host, ParkedPacket, Replayer, Snapshot, Streams
from wfpd.errors import CaptureError, told
from wfpd.injection.handles import Injections
from wfpd.injection.wire import Order
from wfpd.model.layers import BY_SLOT, slot_name
from wfpd.model.policy import DaemonSettings, FilterFlag, Policy
from wfpd.observe.flow_ends import flow_record
from wfpd.observe.record import EventRecord

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Result = dict[str, Any]
Answers = Callable[[int], tuple[str, bool]]
"""A callout's index to what it is taken to answer: permit, block or continue, and whether it clears the right."""

ENDED = 4096
"""Ended flows that wait for ended() at most."""
FLOW_IDS = 0x5DEECE66D
"""So that every replay of a capture gives its flows the same ids."""
SWEEP_NS = 1_000_000_000
"""Of the capture's clock, between two looks for flows whose contexts are to end."""
COPIED = 2048
"""Bytes of a packet that a live queue hands over where no callout reads payload (wfpd.daemon.queues.HEADERS)."""
MOST_PARKED = 1000
"""Times that one packet is parked; its time does not pass meanwhile, so that nothing else would end it."""
_HOOKS_OF = {"input": ("input",), "output": ("output",), "forward": ("forward",)}


def make_snapshot(
    policy: Policy, *, generation: int = 1, audit: bool = False, callouts: list[Any] | None = None,
    notifications: Notifications | None = None,
) -> Snapshot:  # fmt: skip
    """The policy as the packet path's tables, its callouts imported (or given by index) and told of filters.

    `notifications` remembers what they were told.  FwpError where a callout refuses a filter.
    """
    if callouts is None:
        callouts = list(load_callouts(policy.callouts, policy.daemon.callout_path))
    snapshot = Snapshot(
        pack(policy),
        callouts,
        generation=generation,
        on_error=int(policy.faults.on_error),
        on_malformed=int(policy.faults.on_malformed),
        on_late=int(policy.faults.on_late),
        flows_full=int(policy.daemon.flows_full),
        audit=audit,
    )
    snapshot.root.provider_contexts = {item.name: item.data for item in policy.provider_contexts}
    (notifications or Notifications()).prepare(snapshot, None).settle()
    return snapshot


def close_callouts(snapshot: Snapshot) -> None:
    """Nothing asks the callouts of these tables any more."""
    for item in snapshot.callouts:
        close = getattr(item, "close", None)
        if close is not None:
            close()


def streams_of(settings: DaemonSettings) -> Streams:
    """The table of stream states that `daemon: streams` asks for."""
    return Streams(
        settings.streams_max,
        memory=settings.streams_memory,
        pending=settings.streams_pending,
        history=settings.streams_history,
    )


class LocalPrefixes:
    """Which addresses are this host's, as `--local` says."""

    def __init__(self, networks: Sequence[Network]) -> None:
        self._ranges = {
            4: [(int(n.network_address), int(n.broadcast_address)) for n in networks if n.version == 4],
            6: [(int(n.network_address), int(n.broadcast_address)) for n in networks if n.version == 6],
        }

    def holds(self, family: int, address: int) -> bool:
        """Whether `address` lies in a local prefix."""
        return any(low <= address <= high for low, high in self._ranges[family])


def parse_local(text: str) -> LocalPrefixes:
    """`PREFIX[,PREFIX...]`; ValueError if one is no prefix."""
    return LocalPrefixes([ipaddress.ip_network(part.strip()) for part in text.split(",")])


def _is_multicast(family: int, address: int) -> bool:
    if family == 4:
        return address >> 28 == 0xE or address == 0xFFFFFFFF
    return address >> 120 == 0xFF


def hooks_for(data: bytes, local: LocalPrefixes) -> tuple[str, ...]:
    """The hooks a packet passes on a host whose addresses are `local`."""
    family = data[0] >> 4 if data else 0
    if family == 4 and len(data) >= 20:
        source, destination = int.from_bytes(data[12:16], "big"), int.from_bytes(data[16:20], "big")
    elif family == 6 and len(data) >= 40:
        source, destination = int.from_bytes(data[8:24], "big"), int.from_bytes(data[24:40], "big")
    else:
        return ("forward",)
    from_here, to_here = local.holds(family, source), local.holds(family, destination)
    if from_here and to_here:
        return ("output", "input")
    if from_here:
        return ("output",)
    if to_here or _is_multicast(family, destination):
        return ("input",)
    return ("forward",)


@dataclass(slots=True)
class Way:
    """A packet's way through its hooks, which goes on later where a callout parks it."""

    packet: CapturedPacket
    hooks: tuple[str, ...]
    words: Result
    """What every visit is given beside the packet and the hook."""
    interface: int
    passed: bytes | None
    """The packet as it goes on, with what callouts made of it; None: blocked."""
    visits: list[tuple[str, Result]] = field(default_factory=list)
    parked: ParkedPacket | None = None
    """Its handle, while it waits."""
    late: Result = field(default_factory=dict)
    """What on_late says then."""
    due_ns: int = 0
    """Of the replay's clock: when it is late; 0: it was not parked."""
    n_parked: int = 0
    injected: list[Order] = field(default_factory=list)
    """What callouts have injected before it was parked."""


@dataclass(slots=True)
class Summary:
    """What a replay has counted."""

    packets: int = 0
    blocked: int = 0
    seconds: float = 0.0

    def line(self) -> str:
        """The last line on stderr."""
        rate = self.packets / self.seconds if self.seconds > 0 else 0.0
        return (
            f"{self.packets} packets, {self.packets - self.blocked} permitted, {self.blocked} blocked, "
            f"{self.seconds:.3f} seconds, {rate:.0f} packets a second"
        )


class Replay:
    """One policy and the state of its flows, packet after packet."""

    def __init__(
        self, policy: Policy, *, hook: str = "forward", local: LocalPrefixes | None = None, checksums: bool = False,
        flow_ends: bool = False, snapshot: Snapshot | None = None, host: Host | None = None,
        answers: Answers | None = None, live: bool = False, flows_max: int | None = None, parks: bool = False,
    ) -> None:  # fmt: skip
        """`flow_ends`: ended() is going to be asked for.  `answers` stand in for the callouts, `snapshot` and
        `host` for what the policy alone gives; `live`: mid-stream flows have the live path's direction.
        `flows_max`: room for fewer flows than the policy has.  `parks`: callouts may park
        packets, and due() is asked."""
        self.snapshot = snapshot or make_snapshot(policy)
        block = policy.daemon.flows_full.name == "BLOCK"
        self.flows = Flows(
            flows_max or policy.daemon.flows_max, block, ENDED if flow_ends else 0, FLOW_IDS,
            streams=streams_of(policy.daemon),
        )  # fmt: skip
        self.replayer = Replayer(
            self.snapshot, self.flows, host, checksums=checksums, late_after=policy.faults.late_after, live=live
        )
        asks = any(item is not None for item in self.snapshot.callouts)
        self._copied = COPIED if asks and not (self.snapshot.needs_payload or checksums) else None
        self.visits: list[tuple[str, Result]] = []
        """The hooks that the last packet passed, and what each visit gave."""
        self.passed: bytes | None = None
        """The last packet as it went on, with what callouts made of it; None: blocked."""
        self.injected: list[Order] = []
        """What callouts have injected because of the last packet; nothing sends it."""
        self.replayer.context.injections = Injections(self.injected.append)
        self._answers = answers
        self.told: Result = {}
        """What events say beside the line: the deciding visit, and `noted` of all visits."""
        self._interfaces: dict[bytes | None, int] = {None: 0}
        self._hook = (hook,)
        self._local = local
        self._now_ns = 0
        self._rows: dict[tuple[Any, ...], Result] = {}
        self._sublayers: dict[int, str] = {}
        self._timestamp_ns = 0
        self._next_sweep_ns = 0
        self._room = policy.daemon.pended_max if parks and self.snapshot.parks else None
        self._late_ns = int(policy.faults.late_after * 1e9)
        self._waiting: dict[int, Way] = {}
        """Packets that are parked, by their number, in the order in which they came."""

    def decide(
        self, packet: CapturedPacket, *, near: int = -1, mark: int | None = None, interface: int = 0,
        hooks: tuple[str, ...] | None = None,
    ) -> Result:  # fmt: skip
        """One captured packet as replay's JSON object; with `near` from 0 on the visits are explained too.

        `hooks`: those that this packet passes, in place of the replay's own.  Where a callout has parked it, its
        verdict is `parked`, and its line comes from due() later.
        """
        self._tick(packet.timestamp_ns)
        self.visits = []
        self.injected.clear()
        self.passed = packet.data
        if not packet.is_ip:
            self.told = {}
            return self._line(packet.number, [])
        number = self._interfaces.setdefault(packet.interface_name, len(self._interfaces))
        if hooks is None:
            hooks = self._hook if self._local is None else hooks_for(packet.data, self._local)
        words = {
            "interface_name": packet.interface_name, "loopback": len(hooks) > 1, "capture_interface": number,
            "mark": mark, "answers": self._answers, "near": near,
        }  # fmt: skip
        return self._go(Way(packet, hooks, words, interface, packet.data))

    def _tick(self, timestamp_ns: int) -> None:
        self._now_ns += max(0, timestamp_ns - self._timestamp_ns)
        self._timestamp_ns = timestamp_ns

    def _go(self, way: Way) -> Result:
        """The packet's way from where it stands to its end, or to where it is parked."""
        while way.passed is not None and (way.parked is not None or len(way.visits) < len(way.hooks)):
            visit = self._visit(way)
            if visit["parked"] is None:
                self._take(way, visit)
            elif self._waits(way, visit):
                return self._park(way, visit)
        self._end_contexts()
        self.visits, self.passed = way.visits, way.passed
        visits = [visit for _, visit in way.visits]
        self.told = _deciding(visits) | {"noted": [self._noted(*noted) for visit in visits for noted in visit["noted"]]}
        return self._line(way.packet.number, visits)

    def _visit(self, way: Way) -> Result:
        """Its next visit, or the one that goes on."""
        hook = way.hooks[len(way.visits)]
        resume, way.parked = way.parked, None
        data = way.passed
        assert data is not None
        visit: Result = self.replayer.visit(
            data[: self._copied], hook, self._now_ns,
            original=way.packet.original_length if data is way.packet.data else len(data),
            in_interface=0 if hook == "output" else way.interface,
            out_interface=way.interface if hook == "output" else 0,
            room=0 if self._room is None else self._room - len(self._waiting) + 1, resume=resume, **way.words,
        )  # fmt: skip
        return visit

    def _take(self, way: Way, visit: Result) -> None:
        way.visits.append((way.hooks[len(way.visits)], visit))
        way.passed = None if visit["verdict"] == "block" else visit["modified"] or way.passed

    def _waits(self, way: Way, visit: Result) -> bool:
        """Whether a packet that was parked is not completed within the call."""
        way.parked, way.late = visit["parked"], visit
        way.n_parked += 1
        if way.n_parked > MOST_PARKED:
            self._expire(way)
            return False
        return bool(way.parked.waits)

    def _park(self, way: Way, visit: Result) -> Result:
        way.injected = list(self.injected)
        way.due_ns = way.due_ns or self._now_ns + self._late_ns
        self._waiting[way.packet.number] = way
        self.visits, self.passed, self.told = [*way.visits, (way.hooks[len(way.visits)], visit)], None, {}
        return self._line(way.packet.number, [*(one for _, one in way.visits), visit]) | {"verdict": "parked"}

    def due(self, timestamp_ns: int | None = None) -> Iterator[tuple[CapturedPacket, Result]]:
        """Parked packets, with their lines, that are completed or late by a time of the capture; None: it is over."""
        again = True
        now_ns = self._now_ns + max(0, (timestamp_ns or 0) - self._timestamp_ns)
        while again and self._waiting:
            again = False
            for number, way in list(self._waiting.items()):
                assert way.parked is not None
                if way.parked.waits:
                    if timestamp_ns is not None and way.due_ns >= now_ns:
                        continue
                    self._expire(way)
                del self._waiting[number]
                self.injected[:] = way.injected
                line = self._go(way)
                again = True
                if line["verdict"] != "parked":
                    yield way.packet, line

    def _expire(self, way: Way) -> None:
        assert way.parked is not None
        self.replayer.expire(way.parked)
        way.parked = None
        self._take(way, way.late)

    def _end_contexts(self) -> None:
        """Flows whose time is over by the capture's clock end, where callouts keep something with flows."""
        contexts = self.flows.contexts
        if len(contexts) and self._now_ns >= self._next_sweep_ns:
            self.flows.sweep(self._now_ns)
            self._next_sweep_ns = self._now_ns + SWEEP_NS
        contexts.drain()

    def close(self) -> None:
        """The capture is over: flow contexts end, and so do the callouts."""
        self.end_flows()
        close_callouts(self.snapshot)

    def end_flows(self) -> None:
        """Flow contexts end; the callouts may be asked by others."""
        self.flows.contexts.end_all()
        while self.flows.contexts.drain():
            pass

    def _noted(self, index: int, reason: str) -> Result:
        info = self.snapshot.filter_info(index)
        return info | {"audit": FilterFlag.AUDIT in FilterFlag(info["flags"]), "reason": reason}

    def ended(self, number: int, *, shutdown: bool = False) -> Iterator[EventRecord]:
        """Flows that have ended by packet `number`; `shutdown`: the capture is over, and so are all."""
        names = {index: name for name, index in self._interfaces.items()}
        while True:
            n = self.flows.sweep(self._now_ns, all=shutdown)
            for flow in self.flows.drain_ended():
                interface = (names[flow["interface"]] or b"").decode("utf-8", "backslashreplace")
                yield flow_record(flow, self._filter_at, interface=interface, packet_count=number)
            if not n:
                return

    def _filter_at(self, slot: int, place: int, _: int) -> Result:
        found: Result = self.snapshot.filter_info(self.snapshot.layer_filter(slot, place))
        return found

    def _line(self, number: int, visits: list[Result]) -> Result:
        deciding = _deciding(visits)
        line: Result = {
            "packet": number,
            "verdict": deciding["verdict"],
            "reason": deciding["reason"],
            "layer": None if deciding["slot"] is None else slot_name(deciding["slot"]),
            "sublayer": self._sublayer(deciding["filter"]),
            "filter": self._filter(deciding["filter"]),
            "veto": deciding["veto"],
            "layers": [self._row(row) for visit in visits for row in visit["rows"]],
        }
        if deciding["reason"] == "malformed":
            line["malformed"] = deciding["malformed"]
        if self.injected:
            line["injected"] = len(self.injected)
        return line

    def _row(self, row: tuple[Any, ...]) -> Result:
        """One row; those without callouts are few, and made once (nobody changes a line)."""
        if row[4]:
            return self._make_row(row)
        key = (*row[:4], row[5])
        found = self._rows.get(key)
        if found is None:
            found = self._rows[key] = self._make_row(row)
        return found

    def _make_row(self, row: tuple[Any, ...]) -> Result:
        slot, action, right, index, callouts, discard = row
        line: Result = {
            "layer": slot_name(slot),
            "action": action,
            "right": right,
            "sublayer": self._sublayer(index),
            "filter": self._filter(index),
            "callouts": list(callouts),
        }
        if discard:
            line["discard"] = True
        return line

    def _filter(self, index: int | None) -> str | None:
        return None if index is None else self.snapshot.filter_name(index)

    def _sublayer(self, index: int | None) -> str | None:
        if index is None:
            return None
        if index not in self._sublayers:
            self._sublayers[index] = self.snapshot.filter_info(index)["sublayer"]
        return self._sublayers[index]


_NOT_IP: Result = {"verdict": "permit", "reason": "not_ip", "slot": None, "filter": None, "veto": False}
_RANK = {"no_match": 0, "flow": 1, "malformed": 2}


def _deciding(visits: list[Result]) -> Result:
    """The visit whose result is the packet's: the blocking one, else the last that decided most."""
    if not visits:
        return _NOT_IP
    best = visits[0]
    for visit in visits[1:]:
        if visit["verdict"] == "block" or _RANK.get(visit["reason"], 3) >= _RANK.get(best["reason"], 3):
            best = visit
    return best


def unfed_filters(policy: Policy, hooks: Sequence[str]) -> list[str]:
    """One warning for each filter at a layer that none of `hooks` feeds."""
    fed = {name for hook in hooks for name in _HOOKS_OF[hook]}
    warnings: dict[tuple[str, str], str] = {}
    for item in policy.filters:
        layer, _ = BY_SLOT[item.slot]
        at = {layer.hook}
        if layer.name.removesuffix("_discard") in ("ale_flow_established", "stream_packet", "stream", "datagram_data"):
            at.add("output")
        if not at & fed:
            hooks_text = f"{' and '.join(sorted(at))} hook{'s' if len(at) > 1 else ''}"
            warnings.setdefault(
                (item.name, layer.name),
                f'warning: filter "{item.name}": nothing feeds layer {layer.name} in this run '
                f"(it is served by the {hooks_text})",
            )
    return list(warnings.values())


class PassedWriter:
    """Writes the IP packets that pass into a pcap file (raw IP, nanoseconds), as callouts have left them, and after
    each what callouts have injected because of it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        file.write(struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 0x40000, 101))

    def add(self, packet: CapturedPacket, passed: bytes | None, injected: Sequence[Order] = ()) -> None:
        """One packet of the capture, what went on of it, and what was injected."""
        if passed is not None and packet.is_ip:
            self._write(packet, passed, packet.original_length if passed is packet.data else len(passed))
        for order in injected:
            self._write(packet, order.packet, len(order.packet))

    def _write(self, packet: CapturedPacket, passed: bytes, original: int) -> None:
        seconds, nanoseconds = divmod(packet.timestamp_ns, 1_000_000_000)
        self._file.write(struct.pack("<IIII", seconds & 0xFFFFFFFF, nanoseconds, len(passed), original) + passed)


def failure(name: str, error: BaseException) -> str:
    """What a callout raised and where, for a person."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.endswith(".pyx")]  # Not ours.
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f'callout "{name}" raised {told(error, 200)}{place}'


def end_on_interrupt(_name: str, error: BaseException) -> None:
    """Ctrl-C ends the run though it came while a callout was called, or waited for."""
    if isinstance(error, KeyboardInterrupt):
        raise error


class CalloutFailures:
    """Says on `err` what a callout raised, once for each callout; its packets have the reason `error`."""

    def __init__(self, err: IO[str]) -> None:
        self._err = err
        self._said: set[str] = set()

    def __call__(self, name: str, error: BaseException) -> None:
        """Told of every failure."""
        end_on_interrupt(name, error)
        if name in self._said:
            return
        self._said.add(name)
        print(f"error: {failure(name, error)}; only its first failure is shown", file=self._err)


def describe(line: Result) -> str:
    """One packet for a person."""
    by = " ".join(str(line[key]) for key in ("layer", "sublayer", "filter") if line[key] is not None)
    detail = f" ({line['malformed']})" if "malformed" in line else ""
    more = f"  +{line['injected']} injected" if "injected" in line else ""
    return f"{line['packet']:>6}  {line['verdict']:<6}  {line['reason']}{detail}  {by}".rstrip() + more


def run(
    policy: Policy,
    packets: Iterator[CapturedPacket],
    *,
    hook: str = "forward",
    local: LocalPrefixes | None = None,
    checksums: bool = False,
    as_json: bool = False,
    out: IO[str] | None = None,
    err: IO[str] | None = None,
    each: Callable[[CapturedPacket, Result, Replay], None] | None = None,
) -> int:
    """Decide `packets`, print a line each, and a summary on `err`.  0, or 1 if the capture breaks off."""
    out, err = out or sys.stdout, err or sys.stderr
    for warning in unfed_filters(policy, ("input", "output", "forward") if local is not None else (hook,)):
        print(warning, file=err)
    replay = Replay(policy, hook=hook, local=local, checksums=checksums, flow_ends=each is not None, parks=True)
    replay.replayer.context.on_error = CalloutFailures(err)
    summary = Summary()
    started = time.monotonic()
    status = 0
    encode = json.JSONEncoder(ensure_ascii=True).encode

    def tell(packet: CapturedPacket, line: Result) -> None:
        summary.blocked += line["verdict"] == "block"
        out.write((encode(line) if as_json else describe(line)) + "\n")
        if each is not None:
            each(packet, line, replay)

    try:
        for packet in packets:
            for earlier, line in replay.due(packet.timestamp_ns):
                tell(earlier, line)
            line = replay.decide(packet)
            summary.packets += 1
            if line["verdict"] != "parked":
                tell(packet, line)
    except CaptureError as error:
        out.flush()
        print(f"error: {error.message}" + (f"\n  hint: {error.hint}" if error.hint else ""), file=err)
        status = 1
    for packet, line in replay.due():
        tell(packet, line)
    replay.close()
    summary.seconds = time.monotonic() - started
    out.flush()
    print(summary.line(), file=err)
    return status


__all__ = ["CapturedPacket", "Replay", "hooks_for", "make_snapshot", "parse_local", "read_capture", "run"]

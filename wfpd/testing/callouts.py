"""A callout on packets that a test describes, on captures and on streams: the packet path without a queue or root."""

from __future__ import annotations

import dataclasses
import ipaddress
import json
import os
import tempfile
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, SupportsBytes

from wfpd.callouts.notifications import Notifications
from wfpd.callouts.registered import Registered
from wfpd.callouts.registry import load_callouts
from wfpd.capture import LINK_RAW, CapturedPacket
from wfpd.config import load_policy
from wfpd.config.layer_names import LAYER_NAMES
from wfpd.errors import UsageError
from wfpd.explaining import NEAR, explanation
from wfpd.imagined import WITH_PORTS, imagine, parse_end, protocol_number
from wfpd.model.policy import Policy
from wfpd.replay import LocalPrefixes, Replay, hooks_for, make_snapshot, parse_local, read_capture
from wfpd.testing.conversation import Conversation
from wfpd.testing.describing import HOOKS
from wfpd.testing.results import Call, CaptureResult, PacketResult

HOST = {4: "192.0.2.1", 6: "2001:db8::1"}
"""The host whose traffic is decided, unless a test says `local`."""
PEER = {4: "198.51.100.9", 6: "2001:db8:1::9"}
FAR = {4: "203.0.113.9", 6: "2001:db8:2::9"}
"""Where forwarded packets go."""
NAME = "callout"
"""Of the callout, in the policy that is made for it."""
LAST = 20
"""Results that are kept for a failed test."""
MOST_PAYLOAD = 65_000
MOST_SECONDS = 1e9
_GAP_NS = 1_000_000
_FILTER_KEYS = ("when", "on_error", "provider_context")

Layers = str | Sequence[str]


def asking_policy(
    layer: Layers, *, use: str, options: Mapping[str, Any] | None = None, kind: str | None = None,
    when: Mapping[str, Any] | None = None, on_error: str | None = None, provider_context: object = None,
    filters: Iterable[Mapping[str, Any]] = (), **more: Any,
) -> dict[str, Any]:  # fmt: skip
    """A policy with a filter at each layer that asks the callout; `filters` come beside it, `more` on top."""
    callout: dict[str, Any] = {"name": NAME, "use": use} | ({"options": dict(options)} if options else {})
    action = {"callout": NAME} | ({"kind": kind} if kind else {})
    context = None if provider_context is None else "given"
    said = {key: value for key, value in zip(_FILTER_KEYS, (when, on_error, context), strict=True) if value is not None}
    asks = [{"name": f"ask-{one}", "layer": one, "action": action, **said} for one in layers_of(layer)]
    policy: dict[str, Any] = {"version": 1, "callouts": [callout], "filters": [*map(dict, filters), *asks], **more}
    if context is not None:
        policy["provider_contexts"] = [{"name": context, "data": provider_context}]
    return policy


def layers_of(layer: Layers) -> list[str]:
    """The layers; UsageError for one that is none."""
    found = [layer] if isinstance(layer, str) else list(layer)
    for one in found:
        if one not in LAYER_NAMES:
            raise UsageError(f"there is no layer {one!r}", hint="`wfpd layers` shows them")
    if not found:
        raise UsageError("no layer is said")
    return found


def ends_of(layer: Layers) -> tuple[Mapping[int, str], Mapping[int, str]]:
    """Source and destination of packets that say none: such as pass the (first) layer."""
    hook = LAYER_NAMES[layers_of(layer)[0]][0].hook
    return {"output": (HOST, PEER), "forward": (PEER, FAR)}.get(hook, (PEER, HOST))


def read_document(document: Mapping[str, Any]) -> Policy:
    """The policy of a document; PolicyError with everything that is wrong in it."""
    with tempfile.TemporaryDirectory(prefix="wfpd-") as folder:
        path = os.path.join(folder, "policy.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(document, file, indent=1)
        return load_policy(path, trust="warn")


class CalloutRun:
    """Packets decided one after the other, with one flow table.  Its callouts end with `close()`."""

    def __init__(
        self, policy: Policy, callouts: list[Registered | None], *, local: str = "", expects_errors: bool = False,
        ends: tuple[Mapping[int, str], Mapping[int, str]] = (PEER, HOST),
    ) -> None:  # fmt: skip
        """`local`: this host's addresses or prefixes, comma-separated; `ends`: of packets that say none.

        `expects_errors`: what callouts raise is in the results; else it is raised by what decides the packet.
        """
        self.local = _prefixes(local or ",".join(HOST.values()))
        self.callouts = {one.name: one for one in callouts if one is not None}
        self.results: deque[PacketResult] = deque(maxlen=LAST)
        """The last ones."""
        self._hosts = hosts_of(local)
        self._ends = tuple(self._hosts if end is HOST else end for end in ends)
        self._expects_errors = expects_errors
        self._notes = Notifications(self._failed)
        self._errors: list[BaseException] = []
        self._snapshot = make_snapshot(policy, callouts=list(callouts), notifications=self._notes)
        self._replay = Replay(policy, local=self.local, snapshot=self._snapshot, flows_max=1 << 16, parks=True)
        self._replay.replayer.context.on_error = self._failed
        self._replay.flows.contexts.on_error = self._failed
        self._now_ns = self._number = 0
        self._port = 40000
        self._closed = False

    @classmethod
    def of(
        cls, callout: Any, layer: Layers, *, options: Mapping[str, Any] | None = None, local: str = "",
        on_error: str | None = None, **said: Any,
    ) -> CalloutRun:  # fmt: skip
        """One callout: a class, made with `options`, or an object.  `said`: as asking_policy() has it."""
        if not isinstance(callout, type) and options:
            raise UsageError("options are for a class; this callout is made already")
        made = callout(**(options or {})) if isinstance(callout, type) else callout
        policy = read_document(asking_policy(layer, use="a:test", on_error=on_error, **said))
        item = Registered(policy.callouts[0], made)
        return cls(policy, [item], local=local, expects_errors=on_error is not None, ends=ends_of(layer))

    @classmethod
    def of_policy(cls, path: str | os.PathLike[str], *, local: str = "", expects_errors: bool = False) -> CalloutRun:
        """A policy file with the callouts that it names.  PolicyError where it does not load."""
        policy = load_policy(os.fspath(path), trust="warn")
        found = load_callouts(policy.callouts, policy.daemon.callout_path)
        return cls(policy, found, local=local, expects_errors=expects_errors)

    @property
    def instance(self) -> Any:
        """The callout's object, where there is one callout."""
        (found,) = self.callouts.values()
        return found.instance

    @property
    def last(self) -> PacketResult:
        """Of the packet that was decided last."""
        return self.results[-1]

    # --- packets

    def packet(
        self, given: SupportsBytes | bytes | None = None, *, src: str | None = None, dst: str | None = None,
        proto: str = "tcp", sport: int | None = None, dport: int | None = None, flags: str | None = None,
        icmp: str | None = None, payload: bytes = b"", family: int = 4, hook: str | None = None,
        interface: str | None = None, mark: int | None = None, after: float = 0.0,
    ) -> PacketResult:  # fmt: skip
        """Decide one packet: `given` as bytes or by Scapy, else as it is described.

        `after`: seconds since the one before.  UsageError for what cannot be meant.
        """
        _check(family, hook, mark, after)
        self._now_ns += int(after * 1e9)
        if given is None:
            data = self._described(src, dst, str(proto), sport, dport, flags, icmp, payload, family)
        else:
            data = bytes(given)
        return self._decide(data, hook=hook, interface=interface, mark=mark)

    def _described(
        self, src: str | None, dst: str | None, proto: str, sport: int | None, dport: int | None, flags: str | None,
        icmp: str | None, payload: bytes, family: int,
    ) -> bytes:  # fmt: skip
        if len(payload) > MOST_PAYLOAD:
            raise UsageError(f"a payload has at most {MOST_PAYLOAD} bytes")
        said = src or dst
        family = parse_end(said)[0].version if said else family
        source = _with_port(src or self._ends[0][family], sport)
        destination = _with_port(dst or self._ends[1][family], dport)
        if protocol_number(proto, family) in WITH_PORTS and parse_end(destination)[1] is None:
            raise UsageError(f"{proto} goes to a port: dport=")
        if flags is None and payload and protocol_number(proto, family) == 6:
            flags = "psh,ack"
        return dataclasses.replace(imagine(proto, source, destination, flags=flags, icmp=icmp), content=payload).data()

    def _decide(
        self, data: bytes, *, hook: str | None = None, interface: str | None = None, mark: int | None = None
    ) -> PacketResult:
        __tracebackhide__ = True
        self._now_ns += _GAP_NS
        name = interface.encode() if interface else None
        packet = CapturedPacket(self._number + 1, self._now_ns, data, len(data), True, name, LINK_RAW[-1])
        return self._decided(packet, hooks=None if hook is None else (hook,), near=NEAR, mark=mark)

    def _decided(self, packet: CapturedPacket, *, hooks: tuple[str, ...] | None, near: int = -1,
                 mark: int | None = None) -> PacketResult:  # fmt: skip
        __tracebackhide__ = True
        if self._closed:
            raise UsageError("the run is closed: its callouts have ended")
        self._number += 1
        packet = packet._replace(number=self._number)
        return self._result(packet, self._replay.decide(packet, hooks=hooks, near=near, mark=mark), near >= 0)

    def _result(self, packet: CapturedPacket, line: dict[str, Any], explained: bool) -> PacketResult:
        __tracebackhide__ = True
        visits = self._replay.visits
        told = None
        if explained and line["verdict"] != "parked":
            told = explanation(self._replay, packet, line) | {"called": True}
        errors, self._errors = tuple(self._errors), []
        result = PacketResult(
            packet.number, line["verdict"], line["reason"], visits[-1][1]["reply"] if visits else None, line["layer"],
            line["filter"], packet.data, self._replay.passed,
            tuple(Call(name, row["layer"]) for row in line["layers"] for name in row["callouts"]), errors, line, told,
            tuple(order.packet for order in self._replay.injected),
        )  # fmt: skip
        self.results.append(result)
        if not self._expects_errors:
            _raise_first(errors)
            if line["reason"] == "error":
                raise AssertionError(f"a callout could not answer, and on_error decided\n{result.explain}")
        return result

    def due(self, *, after: float = 0.0) -> list[PacketResult]:
        """Packets that were `parked` and are decided by now: completed, or late.

        `after`: seconds since the last packet.
        """
        __tracebackhide__ = True
        _check(after=after)
        self._now_ns += int(after * 1e9)
        return [self._result(packet, line, False) for packet, line in self._replay.due(self._now_ns)]

    # --- captures and streams

    def capture(
        self, path: str | os.PathLike[str], *, hook: str | None = None, local: str | None = None
    ) -> CaptureResult:
        """Decide a pcap or pcapng file, with its times; `hook` or `local` says where its packets pass.

        What is parked at its end is late.  CaptureError for a file that breaks off.
        """
        __tracebackhide__ = True
        _check(hook=hook)
        prefixes = self.local if local is None else _prefixes(local)
        results: dict[int, PacketResult] = {}
        before: int | None = None
        for packet in read_capture(os.fspath(path)):
            self._now_ns += max(0, packet.timestamp_ns - before) if before is not None else _GAP_NS
            before = packet.timestamp_ns
            hooks = hooks_for(packet.data, prefixes) if hook is None else (hook,)
            found = self._decided(packet._replace(timestamp_ns=self._now_ns), hooks=hooks)
            results[found.number] = found
            results |= {one.number: one for one in self.due() if one.number in results}
        late = (self._result(packet, line, False) for packet, line in self._replay.due())
        results |= {one.number: one for one in late if one.number in results}
        return CaptureResult(tuple(results.values()))

    def conversation(self, *, port: int = 80, family: int = 4, outbound: bool = False) -> Conversation:
        """A TCP connection whose handshake is done, to a server at this host (`outbound`: from this host to one)."""
        __tracebackhide__ = True
        _check(family)
        if not 0 < port <= 65535:
            raise UsageError(f"port={port}: 1 to 65535")
        near, far = self._hosts[family], PEER[family]
        client, server = (near, far) if outbound else (far, near)
        self._port += 1
        found = Conversation(self._decide, (client, self._port), (server, port))
        found.open()
        return found

    def stream(
        self, client: Iterable[bytes] = (), server: Iterable[bytes] = (), *, port: int = 80, family: int = 4,
        outbound: bool = False,
    ) -> Conversation:  # fmt: skip
        """A whole connection: the client's segments, the server's, and the FINs, as far as it gets."""
        __tracebackhide__ = True
        found = self.conversation(port=port, family=family, outbound=outbound)
        for send, parts in ((found.client, client), (found.server, server)):
            for part in parts:
                if not found.over:
                    send(part)
        if not found.over:
            found.close()
        return found

    # --- the end

    def close(self) -> None:
        """Filters are deleted, flow contexts end, callouts close, once; raises what a callout raises meanwhile."""
        __tracebackhide__ = True
        if self._closed:
            return
        self._closed = True
        make_snapshot(Policy(), notifications=self._notes)  # Without filters: they are told of the end of all.
        self._replay.end_flows()
        for item in self.callouts.values():
            try:
                item.end()
            except Exception as error:
                self._errors.append(error)
        if not self._expects_errors:
            _raise_first(self._errors)

    def _failed(self, name: str, error: BaseException) -> None:
        self._errors.append(error)


def hosts_of(local: str) -> Mapping[int, str]:
    """The host's first address of each family by what is `local`; of a prefix that after its first."""
    found = dict(HOST)
    for text in reversed(local.split(",") if local else []):
        network = ipaddress.ip_network(text.strip())
        found[network.version] = str(network[0] if network.num_addresses == 1 else network[1])
    return found


def _prefixes(local: str) -> LocalPrefixes:
    try:
        return parse_local(local)
    except ValueError as error:
        raise UsageError(f"local: {error}", hint="addresses or prefixes, comma-separated") from None


def _check(family: int = 4, hook: str | None = None, mark: int | None = None, after: float = 0.0) -> None:
    """UsageError for what is none."""
    if family not in HOST:
        raise UsageError(f"family={family!r}: 4 or 6")
    if hook is not None and hook not in HOOKS:
        raise UsageError(f"hook={hook!r}: one of {', '.join(HOOKS)}")
    if mark is not None and not 0 <= mark < 1 << 32:
        raise UsageError(f"mark={mark}: 32 bits")
    if not 0 <= after <= MOST_SECONDS:
        raise UsageError(f"after={after}: 0 to {MOST_SECONDS:.0f} seconds")


def _raise_first(errors: Sequence[BaseException]) -> None:
    __tracebackhide__ = True
    if errors:
        raise errors[0]


def _with_port(end: str, port: int | None) -> str:
    """`address[:port]` with the port that is said apart.  UsageError for two ports."""
    if port is None:
        return end
    address, own = parse_end(end)
    if own is not None:
        raise UsageError(f"{end} has a port, and {port} is said beside it")
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"

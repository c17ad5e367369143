"""Described packets of a test file: from what is said of them to bytes, with every error at its key."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Collection, Mapping
from typing import TypeVar

from wfpd.capture import LINK_RAW, CapturedPacket
from wfpd.config import reader
from wfpd.config.limits import Limits
from wfpd.config.nodes import Node, Scalar, Sequence
from wfpd.config.report import Speaker, shown
from wfpd.config.scalars import BadValue, duration
from wfpd.errors import UsageError
from wfpd.imagined import MAX_PAYLOAD, Imagined, flag_bits, icmp_kind, imagine, parse_end, protocol_number
from wfpd.model.fields import TCP_FLAG_BITS
from wfpd.model.names import ICMP_TYPES, ICMPV6_TYPES
from wfpd.replay import LocalPrefixes, hooks_for
from wfpd.testing.cases import Expectation, Step

T = TypeVar("T")
_IN_BYTES = ("proto", "src", "dst", "flags", "icmp", "payload")
FIELDS = ("hook", *_IN_BYTES, "bytes", "interface", "mark")
"""What describes a packet."""
MOST_BYTES = 65535
REPLY_FIELDS = ("reply", "hook", "flags", "icmp", "payload", "interface", "mark")
"""What may be said of a reply; its ends are those of the packet before, exchanged."""
HOOKS = ("input", "output", "forward")
MOST_PACKETS = 10_000
"""Of one case."""
GAP_NS = 1_000_000
"""Between two packets of a conversation, unless `after` says more."""
_OTHER_HOOK = {"input": "output", "output": "input", "forward": "forward"}
_TCP, _ICMP = 6, (1, 58)

Given = Mapping[str, Node]


class PacketReader:
    """Reads the packets of one case."""

    def __init__(self, speaker: Speaker, limits: Limits, local: LocalPrefixes | None) -> None:
        self.speaker = speaker
        self.limits = limits
        self.local = local
        self._last: tuple[Imagined, str | None] | None = None
        self._now_ns = 0
        self._number = 0

    def read(self, given: Given, own: Collection[str], at: Node, expected: tuple[Expectation, ...]) -> list[Step]:
        """Every packet that `given` describes: one for each protocol and pair of ends; empty after an error.

        `own`: what is said of this very packet; of the rest, `flags` and `icmp` count only where the protocol has them.
        """
        if "bytes" in given:
            return self._raw(given, own, at, expected)
        n_errors = len(self.speaker.report.errors)
        texts = {name: self._texts(given, name, at) for name in ("proto", "src", "dst")}
        hook = self._hook(given, at)
        if len(self.speaker.report.errors) != n_errors:
            return []
        n = len(texts["proto"]) * len(texts["src"]) * len(texts["dst"])
        if n > MOST_PACKETS:
            self.speaker.error(at, f"describes more than {MOST_PACKETS} packets")
            return []
        return self._combined(given, own, at, texts, hook, expected)

    def _raw(self, given: Given, own: Collection[str], at: Node, expected: tuple[Expectation, ...]) -> list[Step]:
        """The packet whose bytes are given, from the IP header on."""
        for name in _IN_BYTES:
            if name in given and name in own:
                self.speaker.error(given[name], f"{name}: bytes are the whole packet", "one of the two")
        data = reader.value(self.speaker, given["bytes"], "bytes", _hexadecimal)
        hook = self._hook(given, at)
        self._last = None
        return [] if data is None else [self._passing(given, data, hook, expected)]

    def _combined(
        self, given: Given, own: Collection[str], at: Node, texts: Mapping[str, list[str]], hook: str | None,
        expected: tuple[Expectation, ...],
    ) -> list[Step]:  # fmt: skip
        steps = []
        single = all(len(found) == 1 for found in texts.values())
        for protocol, source, destination in itertools.product(texts["proto"], texts["src"], texts["dst"]):
            if not single and parse_end(source)[0].version != parse_end(destination)[0].version:
                continue
            found = self._imagine(given, own, at, (protocol, source, destination))
            if found is None:
                return []
            steps.append(self._step(given, found, hook, expected))
        if not steps:
            self.speaker.error(at, "no src and dst are of one family")
        return steps

    def read_reply(self, given: Given, at: Node, expected: tuple[Expectation, ...]) -> list[Step]:
        """The packet that answers the one before."""
        if self._last is None:
            self.speaker.error(at, "reply: there is no packet before this one")
            return []
        before, hook = self._last
        flags, kind = TCP_FLAG_BITS["syn"] | TCP_FLAG_BITS["ack"], (_echo_reply(before), 0)
        if "flags" in given:
            flags = self._value(given["flags"], "flags", flag_bits) or 0
        if "icmp" in given:
            kind = self._value(given["icmp"], "icmp", lambda text: icmp_kind(text, before.source.version)) or kind
        for name, wanted in (("flags", (_TCP,)), ("icmp", _ICMP)):
            if name in given and before.protocol not in wanted:
                self.speaker.error(given[name], f"{name}: the packet before has none")
        found = dataclasses.replace(
            before, source=before.destination, destination=before.source, source_port=before.destination_port,
            destination_port=before.source_port, flags=flags, payload=self._number_of(given, "payload", MAX_PAYLOAD, 0),
            icmp_type=kind[0] if before.protocol in _ICMP else 0, icmp_code=kind[1] if before.protocol in _ICMP else 0,
        )  # fmt: skip
        other = None if hook is None else _OTHER_HOOK[hook]
        return [self._step(given, found, self._hook_said(given) or other, expected)]

    def wait(self, node: Node) -> None:
        """`after`: the clock goes on."""
        found = reader.value(self.speaker, node, "after", duration)
        self._now_ns += int((found or 0) * 1e9)

    # --- parts

    def _texts(self, given: Given, name: str, at: Node) -> list[str]:
        """The values of a key that may be a list, each one checked; empty after an error."""
        if name not in given:
            self.speaker.error(at, f"{name} is missing", _MISSING[name])
            return []
        check: Callable[[str], object] = parse_end if name != "proto" else lambda text: protocol_number(text, 4)
        nodes = reader.items(given[name])
        found = [item.text for item in nodes
                 if isinstance(item, Scalar) and self._value(item, name, check) is not None]  # fmt: skip
        for item in nodes:
            reader.scalar(self.speaker, item, name)
        if not nodes:
            self.speaker.error(given[name], f"{name}: an empty list")
        return found

    def _value(self, node: Node, name: str, read: Callable[[str], T]) -> T | None:
        """The text of `node`, or its list joined by commas, as `read` reads it; None after an error."""
        items = node.items if isinstance(node, Sequence) else [node]
        texts = [found.text for item in items if (found := reader.scalar(self.speaker, item, name)) is not None]
        if len(texts) != len(items):
            return None
        try:
            return read(",".join(texts))
        except UsageError as error:
            self.speaker.error(node, f"{name}: {error.message}", error.hint)
            return None

    def _number_of(self, given: Given, name: str, high: int, default: int) -> int:
        if name not in given:
            return default
        return reader.number(self.speaker, given[name], name, 0, high) or 0

    def _hook_said(self, given: Given) -> str | None:
        return reader.choice(self.speaker, given["hook"], "hook", HOOKS) if "hook" in given else None

    def _hook(self, given: Given, at: Node) -> str | None:
        """None: it is taken from `local`."""
        if "hook" not in given and self.local is None:
            self.speaker.error(
                at, "hook is missing", "hook: input, output or forward; or local: [this host's addresses]"
            )
        return self._hook_said(given)

    def _imagine(self, given: Given, own: Collection[str], at: Node, ends: tuple[str, str, str]) -> Imagined | None:
        family = parse_end(ends[1])[0].version
        number = protocol_number(ends[0], family)
        takes = {"flags": number == _TCP, "icmp": number in _ICMP}
        said: dict[str, str | None] = {"flags": None, "icmp": None}
        for name in said:
            if name in given and (name in own or takes[name]):
                read: Callable[[str], object] = flag_bits if name == "flags" else lambda text: icmp_kind(text, family)
                if self._value(given[name], name, read) is None:
                    return None
                said[name] = ",".join(item.text for item in reader.items(given[name]) if isinstance(item, Scalar))
        payload = self._number_of(given, "payload", MAX_PAYLOAD, 0)
        try:
            return imagine(*ends, flags=said["flags"], icmp=said["icmp"], payload=payload)
        except UsageError as error:
            self.speaker.error(at, error.message, error.hint.replace("--dst ", "dst: "))
            return None

    def _step(self, given: Given, found: Imagined, hook: str | None, expected: tuple[Expectation, ...]) -> Step:
        self._last = found, hook
        return self._passing(given, found.data(), hook, expected)

    def _passing(self, given: Given, data: bytes, hook: str | None, expected: tuple[Expectation, ...]) -> Step:
        self._number += 1
        self._now_ns += GAP_NS
        name: bytes | None = None
        if "interface" in given:
            name = (reader.text(self.speaker, given["interface"], "interface", self.limits) or "").encode() or None
        packet = CapturedPacket(self._number, self._now_ns, data, len(data), True, name, LINK_RAW[-1])
        hooks = (hook,) if hook is not None else hooks_for(packet.data, self.local or LocalPrefixes(()))
        mark = self._number_of(given, "mark", 0xFFFFFFFF, 0) if "mark" in given else None
        return Step(packet, hooks, expected, mark)


_MISSING = {
    "proto": "tcp, udp, icmp, another name, or a number", "src": "an address, with or without a port",
    "dst": "an address, with a port where the protocol has ports",
}  # fmt: skip


def _hexadecimal(text: str) -> bytes:
    try:
        data = bytes.fromhex(text)
    except ValueError:
        raise BadValue(
            f"{shown(text)} is not hexadecimal", "two digits a byte; spaces may stand between bytes"
        ) from None
    if not 0 < len(data) <= MOST_BYTES:
        raise BadValue(f"a packet has 1-{MOST_BYTES} bytes, these are {len(data)}")
    return data


def _echo_reply(packet: Imagined) -> int:
    return ICMP_TYPES["echo_reply"] if packet.source.version == 4 else ICMPV6_TYPES["echo_reply"]

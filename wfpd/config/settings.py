"""`daemon:`, `faults:` and `attach:`."""

from __future__ import annotations

import os
import re
from ipaddress import ip_address
from typing import Any

from wfpd.config import reader
from wfpd.config.limits import Limits
from wfpd.config.nodes import Mapping, Node, Scalar
from wfpd.config.report import Speaker, shown
from wfpd.config.scalars import BadValue, duration, integer
from wfpd.model.policy import Attachment, DaemonSettings, Faults

HOOKS = ("input", "output", "forward", "prerouting", "postrouting")
_INTERFACE = re.compile(r"[^\s/*:%]{1,15}|[^\s/*:%]{0,14}\*", re.ASCII)
_FAULT_WORDS = ("on_absent", "on_full", "on_late", "on_error", "on_malformed")
MARK_BITS = 12
"""Bits of the mark layout: plane 2, decision 2, generation 8."""


def read_faults(speaker: Speaker, node: Node) -> Faults:
    """The declared words; defaults where nothing is said."""
    found = reader.mapping(speaker, node, "faults")
    if found is None:
        return Faults()
    reader.known_keys(speaker, found, (*_FAULT_WORDS, "late_after"), "faults")
    chosen: dict[str, Any] = {}
    for name in _FAULT_WORDS:
        if name in found.entries:
            chosen[name] = reader.word(speaker, found.entries[name], name, getattr(Faults(), name))
    if "late_after" in found.entries:
        seconds = reader.value(speaker, found.entries["late_after"], "late_after", _late_after)
        chosen["late_after"] = Faults().late_after if seconds is None else seconds
    return Faults(**chosen)


def _late_after(text: str) -> float:
    seconds = duration(text)
    if not 0.001 <= seconds <= 3600:
        raise BadValue(f"{shown(text)} is outside 1ms-1h", "", "FWP_E_OUT_OF_BOUNDS")
    return seconds


def read_attachment(speaker: Speaker, node: Node, limits: Limits) -> Attachment | None:
    """One entry of `attach:`."""
    found = reader.mapping(speaker, node, "attach")
    if found is None:
        return None
    known = ("hook", "interfaces", "families", "queues", "balance", "backend", "defragment")
    reader.known_keys(speaker, found, known, "attach")
    entries = found.entries
    if "hook" not in entries:
        speaker.error(found, "hook is missing", f"one of: {', '.join(HOOKS)}")
        return None
    hook = reader.choice(speaker, entries["hook"], "hook", HOOKS)
    optional: dict[str, Any] = {}
    if "interfaces" in entries:
        optional["interfaces"] = _interfaces(speaker, entries["interfaces"], limits)
    if "families" in entries:
        optional["families"] = _families(speaker, entries["families"])
    if "queues" in entries:
        optional["queues"] = reader.value(speaker, entries["queues"], "queues", _queues)
    for name, words in (("balance", ("hosts", "flows")), ("backend", ("auto", "nftables", "iptables"))):
        if name in entries and (chosen := reader.choice(speaker, entries[name], name, words)):
            optional[name] = chosen
    optional["defragment"] = reader.flag(speaker, entries.get("defragment"), "defragment", True)
    return Attachment(hook or "forward", location=speaker.at(found), **optional)


def _interfaces(speaker: Speaker, node: Node, limits: Limits) -> tuple[str, ...]:
    names = []
    for item in reader.items(node):
        text = reader.text(speaker, item, "interfaces", limits)
        if text is None:
            continue
        if not _INTERFACE.fullmatch(text) or text in (".", ".."):
            hint = "a name of at most 15 characters, or one that ends with *"
            speaker.error(item, f"interfaces: {shown(text)} is no name of an interface", hint)
        elif text not in names:
            names.append(text)
    return () if "*" in names else tuple(names)


def _families(speaker: Speaker, node: Node) -> tuple[int, ...]:
    found = {reader.choice(speaker, item, "families", ("v4", "v6")) for item in reader.items(node)}
    families = tuple(number for name, number in (("v4", 4), ("v6", 6)) if name in found)
    if not reader.items(node):
        speaker.error(node, "families: an empty list", "leave it out for both")
    return families or (4, 6)


def _queues(text: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    try:
        low = integer(first, 65535)
        high = integer(last, 65535) if dash else low
    except BadValue as bad:
        raise BadValue(bad.message, 'queues are written "0-3" or "0"', bad.code) from None
    if low > high:
        raise BadValue(f"{shown(text)}: the first queue is above the last", "", "FWP_E_INVALID_RANGE")
    if high - low >= 256:
        raise BadValue(f"{shown(text)}: more than 256 queues", "", "FWP_E_OUT_OF_BOUNDS")
    return low, high


class DaemonReader:
    """Reads `daemon:`."""

    def __init__(self, speaker: Speaker, limits: Limits) -> None:
        self.speaker = speaker
        self.limits = limits

    def read(self, node: Node) -> DaemonSettings:
        """The settings; defaults where nothing is said."""
        found = reader.mapping(self.speaker, node, "daemon")
        if found is None:
            return DaemonSettings()
        readers = {
            "metrics": self._metrics, "control": self._control, "flows": self._flows, "streams": self._streams,
            "pended": self._pended, "marks": self._marks, "events": self._events, "callout_path": self._callout_path,
            "workers": self._workers, "realtime": self._realtime, "metrics_filters": self._metrics_filters,
        }  # fmt: skip
        reader.known_keys(self.speaker, found, readers, "daemon")
        chosen: dict[str, Any] = {}
        for name, value in found.entries.items():
            if name in readers:
                chosen |= {key: item for key, item in readers[name](value).items() if item is not None}
        return DaemonSettings(**chosen)

    def _section(self, node: Node, what: str, known: tuple[str, ...]) -> Mapping:
        found = reader.mapping(self.speaker, node, what)
        if found is None:
            return Mapping(node.line, node.column)
        reader.known_keys(self.speaker, found, known, what)
        return found

    def _metrics(self, node: Node) -> dict[str, Any]:
        found = reader.value(self.speaker, node, "metrics", _listen_address)
        host = found.rpartition(":")[0].strip("[]") if found else "localhost"
        if host != "localhost" and not ip_address(host).is_loopback:
            hint = "127.0.0.1:9477; the shipped unit allows no other address"
            self.speaker.lint(node, f"metrics: whoever reaches {found} reads them", hint)
        return {"metrics": found}

    def _control(self, node: Node) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for name, value in self._section(node, "control", ("path", "read", "operate", "administer")).entries.items():
            if name == "path":
                path = reader.text(self.speaker, value, "control path", self.limits)
                if path is not None and not path.startswith("/"):
                    self.speaker.error(value, f"control path: {shown(path)} is not absolute")
                elif path is not None and len(path.encode()) > 107:
                    self.speaker.error(value, "control path: is longer than a socket's name may be (107 bytes)")
                result["control_path"] = path
            elif name in ("read", "operate", "administer"):
                result[f"control_{name}"] = self._groups(value, name)
        return result

    def _groups(self, node: Node, what: str) -> tuple[str, ...]:
        names = (reader.name(self.speaker, item, self.limits, f"control {what}") for item in reader.items(node))
        return tuple(name for name in names if name is not None)

    def _flows(self, node: Node) -> dict[str, Any]:
        result: dict[str, Any] = {}
        entries = self._section(node, "flows", ("max", "full")).entries
        if "max" in entries:
            result["flows_max"] = reader.number(self.speaker, entries["max"], "flows max", 1, 1 << 26)
        if "full" in entries:
            result["flows_full"] = reader.word(self.speaker, entries["full"], "flows full", DaemonSettings().flows_full)
        return result

    def _pended(self, node: Node) -> dict[str, Any]:
        bounds = {"max": 1 << 16, "memory": 1 << 40}
        entries = self._section(node, "pended", tuple(bounds)).entries
        return {
            f"pended_{name}": reader.number(self.speaker, entries[name], f"pended {name}", 1, top)
            for name, top in bounds.items()
            if name in entries
        }

    def _streams(self, node: Node) -> dict[str, Any]:
        bounds = {"max": 1 << 24, "memory": 1 << 40, "pending": 8 << 20, "history": 1 << 20}
        entries = self._section(node, "streams", tuple(bounds)).entries
        return {
            f"streams_{name}": reader.number(
                self.speaker, entries[name], f"streams {name}", 0 if name == "history" else 1, top
            )
            for name, top in bounds.items()
            if name in entries
        }

    def _marks(self, node: Node) -> dict[str, Any]:
        entries = self._section(node, "marks", ("mask",)).entries
        if "mask" not in entries:
            return {}
        mask = reader.number(self.speaker, entries["mask"], "marks mask", 0, 0xFFFFFFFF)
        if mask is None:
            return {}
        shift = (mask & -mask).bit_length() - 1
        if mask != ((1 << MARK_BITS) - 1) << max(shift, 0):
            hint = "for example 0xfff00000"
            self.speaker.error(entries["mask"], f"marks mask: {mask:#x} is not {MARK_BITS} contiguous bits", hint)
        return {"marks_mask": mask}

    def _events(self, node: Node) -> dict[str, Any]:
        sinks = (self._sink(item) for item in reader.items(node))
        return {"events": tuple(sink for sink in sinks if sink is not None)}

    def _sink(self, node: Node) -> dict[str, object] | None:
        hint = "a sink is written {file: /var/log/wfpd/eve.json} or journald"
        if isinstance(node, Scalar):
            if node.text == "journald":
                return {"type": "journald"}
            self.speaker.error(node, f"events: {shown(node.text)} is no sink", hint)
            return None
        found = reader.mapping(self.speaker, node, "events")
        if found is None:
            return None
        reader.known_keys(self.speaker, found, ("file",), "events")
        path = None
        if "file" in found.entries:
            path = reader.text(self.speaker, found.entries["file"], "events file", self.limits)
            if path is not None and not path.startswith("/"):
                self.speaker.error(found.entries["file"], f"events file: {shown(path)} is not absolute")
        else:
            self.speaker.error(found, "events: this is no sink", hint)
        return None if path is None else {"type": "file", "path": path}

    def _callout_path(self, node: Node) -> dict[str, Any]:
        """Relative directories are relative to the policy file, never to the working directory."""
        base = os.path.dirname(os.path.abspath(self.speaker.file))
        texts = (reader.text(self.speaker, item, "callout_path", self.limits) for item in reader.items(node))
        return {"callout_path": tuple(os.path.normpath(os.path.join(base, text)) for text in texts if text is not None)}

    def _workers(self, node: Node) -> dict[str, Any]:
        if isinstance(node, Scalar) and node.text == "auto":
            return {"workers": 0}
        return {"workers": reader.number(self.speaker, node, "workers", 1, 256)}

    def _realtime(self, node: Node) -> dict[str, Any]:
        return {"realtime": reader.flag(self.speaker, node, "realtime", DaemonSettings().realtime)}

    def _metrics_filters(self, node: Node) -> dict[str, Any]:
        return {"metrics_filters": reader.number(self.speaker, node, "metrics_filters", 0, 100_000)}


def _listen_address(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if not colon:
        raise BadValue(f"{shown(text)} is no address and port", 'for example "127.0.0.1:9477"')
    integer(port, 65535)
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if bare != "localhost":
        try:
            version = ip_address(bare).version
        except ValueError:
            raise BadValue(f"{shown(host)} is no address", 'for example "127.0.0.1:9477" or "[::1]:9477"') from None
        if (version == 6) != (bare != host):
            raise BadValue(f"{shown(text)}: an IPv6 address stands in brackets", '"[::1]:9477"')
    return text

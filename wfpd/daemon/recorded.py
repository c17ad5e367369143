"""The control socket's `why`: what the recorder holds of decided packets, with names."""

from __future__ import annotations

import base64
import ipaddress
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from wfpd.control.protocol import INVALID_PARAMS, RpcError
from wfpd.daemon.records import RecordMaker, packet_members
from wfpd.dataplane import Engine
from wfpd.model.fields import FIELD
from wfpd.model.layers import slot_name
from wfpd.model.names import PROTOCOLS
from wfpd.observe.wording import say_value

PARAMETERS = frozenset(("address", "port", "protocol", "filter", "verdict", "since", "size", "bytes"))
SINCE = 600.0
"""Seconds back from now, unless asked for otherwise."""
MOST_SINCE = 10 * 365 * 86400
SIZE = 50
LARGEST_SIZE = 1000
MOST_TEXT = 256
_NAMES = {number: name for name, number in reversed(PROTOCOLS.items())}

Described = dict[str, Any]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Test = Callable[[Mapping[str, Any], Mapping[str, Any]], bool]
"""(what the engine recorded, what its packet says)"""
Found = tuple[Mapping[str, Any], Mapping[str, Any]]
"""The same."""


class Running(Protocol):
    """What is asked of the daemon."""

    engine: Engine
    records: RecordMaker

    @property
    def generation(self) -> int:
        """Of the policy that runs."""

    def interface_name(self, index: int) -> str:
        """Empty for 0."""


def why(daemon: Running, parameters: Mapping[str, Any], now: float | None = None) -> Described:
    """The newest records that fit, newest first.  RpcError says which parameter is wrong."""
    since = _since(parameters)
    size = _number(parameters, "size", LARGEST_SIZE, SIZE)
    whole = parameters.get("bytes", False)
    if not isinstance(whole, bool):
        raise RpcError(INVALID_PARAMS, "bytes is true or false")
    tests = list(_tests(daemon.records, parameters))
    engine = daemon.engine
    begin = int(((time.time() if now is None else now) - since) * 1e9)
    found: list[Found] = []
    for recorder in range(engine.n_recorders):  # One after the other: a full one is some megabytes.
        found = _newest([*found, *_fitting(engine.recorded(recorder, begin), tests)], size)
    counts = engine.recorder_counts()
    oldest = counts["oldest_ns"]
    return {
        "records": [_record(daemon, one, packet, whole) for one, packet in found], "generation": daemon.generation,
        "kept": counts["kept"], "overwritten": counts["overwritten"],
        "oldest": None if oldest is None else oldest / 1e9,
    }  # fmt: skip


def _fitting(recorded: Iterable[Mapping[str, Any]], tests: Sequence[Test]) -> Iterator[Found]:
    for one in recorded:
        packet = packet_members(one["bytes"], one["length"])
        if all(test(one, packet) for test in tests):
            yield one, packet


def _newest(found: list[Found], size: int) -> list[Found]:
    return sorted(found, key=lambda pair: -pair[0]["last_ns"])[:size]


# -------------------------------------------------------------------------------- what is asked


def _since(parameters: Mapping[str, Any]) -> float:
    since = parameters.get("since", SINCE)
    if isinstance(since, bool) or not isinstance(since, int | float) or not 0 < since <= MOST_SINCE:
        raise RpcError(INVALID_PARAMS, f"since is a number of seconds above 0 and at most {MOST_SINCE}")
    return float(since)


def _number(parameters: Mapping[str, Any], name: str, most: int, default: int) -> int:
    value = parameters.get(name, default)
    if type(value) is not int or not 0 <= value <= most:
        raise RpcError(INVALID_PARAMS, f"{name} is a number from 0 to {most}")
    return value


def _text(parameters: Mapping[str, Any], name: str) -> str:
    value = parameters[name]
    if not isinstance(value, str) or len(value) > MOST_TEXT:
        raise RpcError(INVALID_PARAMS, f"{name} is a text of at most {MOST_TEXT} characters")
    return value


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise RpcError(INVALID_PARAMS, f"{text[:64]!r} is neither an address nor a prefix") from None


def _protocol(text: str) -> int:
    if text.isascii() and text.isdigit() and len(text) <= 3 and int(text) <= 255:
        return int(text)
    if text not in PROTOCOLS:
        raise RpcError(INVALID_PARAMS, f"{text[:64]!r} is no protocol's name, nor a number from 0 to 255")
    return PROTOCOLS[text]


def _tests(records: RecordMaker, parameters: Mapping[str, Any]) -> list[Test]:
    tests: list[Test] = []
    if "verdict" in parameters:
        verdict = parameters["verdict"]
        if verdict not in ("permit", "block"):
            raise RpcError(INVALID_PARAMS, "verdict is permit or block")
        tests.append(lambda one, _: _verdict(one) == verdict)
    if "protocol" in parameters:
        protocol = _protocol(_text(parameters, "protocol"))
        tests.append(lambda _, packet: packet.get("protocol") == protocol)
    if "port" in parameters:
        port = _number(parameters, "port", 65535, 0)
        tests.append(lambda _, packet: port in (packet.get("source_port"), packet.get("destination_port")))
    if "address" in parameters:
        network = _network(_text(parameters, "address"))
        tests.append(lambda _, packet: any(_lies_in(packet.get(end), network) for end in ("source", "destination")))
    if "filter" in parameters:
        name = _text(parameters, "filter")
        tests.append(lambda one, _: one["filter"] is not None
                     and records.names(one["generation"], one["filter"]).get("filter") == name)  # fmt: skip
    return tests


def _lies_in(address: bytes | None, network: Network) -> bool:
    size = network.max_prefixlen // 8
    if address is None or len(address) != size:
        return False
    return int.from_bytes(address, "big") & int(network.netmask) == int(network.network_address)


# ------------------------------------------------------------------------------ what is answered


def _verdict(one: Mapping[str, Any]) -> str:
    """What the filters said: audit mode lets a block pass."""
    return "block" if one["would_block"] else str(one["verdict"])


def _record(daemon: Running, one: Mapping[str, Any], packet: Mapping[str, Any], whole: bool) -> Described:
    generation = one["generation"]
    told = {} if one["filter"] is None else daemon.records.names(generation, one["filter"])
    found: Described = {
        "first": one["timestamp_ns"] / 1e9, "last": one["last_ns"] / 1e9, "timestamp_ns": one["timestamp_ns"],
        "count": one["count"],
        "verdict": _verdict(one), "audit": one["would_block"], "reason": one["reason"],
        "layer": None if one["slot"] is None else slot_name(one["slot"]),
        "filter": told.get("filter"), "sublayer": told.get("sublayer"),
        "sublayer_weight": told.get("sublayer_weight"), "callout": told.get("callout"),
        "veto": one["veto"], "reply": one["reply"], "generation": generation, "hook": one["hook"],
        "in_interface": daemon.interface_name(one["in_interface"]),
        "out_interface": daemon.interface_name(one["out_interface"]),
        "flow_id": one["flow_id"], "length": one["length"],
        "rows": [_row(daemon.records, generation, row) for row in one["rows"]],
    }  # fmt: skip
    if one["malformed"]:
        found["malformed"] = one["malformed"]
    found.update(_packet(one["family"], packet))
    if whole:
        found["bytes"] = base64.b64encode(one["bytes"]).decode()
    return found


def _packet(family: int, packet: Mapping[str, Any]) -> Described:
    found: Described = {}
    for end in ("source", "destination"):
        if packet.get(end):
            found[end] = str(ipaddress.ip_address(packet[end]))
    if "protocol" in packet:
        found["protocol"] = _NAMES.get(packet["protocol"], str(packet["protocol"]))
    for name in ("source_port", "destination_port", "icmp_type", "icmp_code"):
        if name in packet:
            found[name] = packet[name]
    if packet.get("tcp_flags") is not None:
        found["tcp_flags"] = say_value(FIELD["tcp_flags"], family, packet["tcp_flags"])
    return found


def _row(records: RecordMaker, generation: int, row: tuple[int, str, str, int | None, bool]) -> Described:
    slot, action, right, number, discard = row
    told = {} if number is None else records.names(generation, number)
    return {"layer": slot_name(slot), "action": action, "right": right, "filter": told.get("filter"),
            "sublayer": told.get("sublayer"), "discard": discard}  # fmt: skip

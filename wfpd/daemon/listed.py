"""What the control socket lists that is no object of the engine: layers, sets, flows."""

from __future__ import annotations

import ipaddress
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from wfpd.control.protocol import INVALID_PARAMS, REFUSED, RpcError
from wfpd.dataplane import Flows, Snapshot, set_page, sets_of
from wfpd.errors import FWP_E
from wfpd.model.fields import FIELDS
from wfpd.model.layers import slot_name
from wfpd.model.names import PROTOCOLS
from wfpd.observe.layers_doc import layers_json
from wfpd.observe.wording import say_range

DEFAULT_SUBLAYER = "universal"
"""Of a filter that names none, at every layer."""
NOT_FOUND = "FWP_E_NOT_FOUND"
LARGEST_PAGE = 1000
PAGE = 200
MOST_VALUES = 100_000
"""Of a set in one answer."""
VALUES = 1000
_PORTS = frozenset({6, 17, 33, 132, 136})
_ICMP = frozenset({1, 58})
_NAMES = {number: name for name, number in reversed(PROTOCOLS.items())}

Described = dict[str, Any]
FilterOf = Callable[[int, int, int], Mapping[str, Any] | None]
"""(slot, place, layer generation) to Snapshot.filter_info(), None if it is not known any more."""


class Running(Protocol):
    """What is asked of the daemon."""

    @property
    def snapshot(self) -> Snapshot | None:
        """The policy that runs."""

    @property
    def flows(self) -> Flows:
        """The flow table."""


class Listings:
    """The methods `layers.list`, `sets.list`, `sets.get`, `flows.list` and `flows.close`."""

    def __init__(self, running: Running, filter_of: FilterOf) -> None:
        self._running = running
        self._filter_of = filter_of

    def layers(self, _parameters: Mapping[str, Any], _peer: object = None) -> Described:
        """Every layer as `wfpd layers --json` has it, with the filters that it has now."""
        snapshot = self._running.snapshot
        found = []
        for layer in layers_json():
            counts = {
                family["name"]: 0 if snapshot is None else snapshot.layer_count(family["slot"])
                for family in layer["families"]
            }
            found.append(layer | {"n_filters": sum(counts.values()), "filters": counts,
                                  "default_sublayer": DEFAULT_SUBLAYER if layer["served"] else None})  # fmt: skip
        return {"objects": found}

    def sets(self, _parameters: Mapping[str, Any], _peer: object = None) -> Described:
        """The sets that filters name, with what of them the filters look at: a family that none does is not there.

        Sets of one name with other values, as the file and a session may have them, are one that says how many it is.
        """
        snapshot = self._running.snapshot
        found: dict[tuple[str, str], list[tuple[str, int]]] = {}
        for name, kind, count, field in [] if snapshot is None else sets_of(snapshot):
            found.setdefault((name, _type(kind, field)), []).append((kind, count))
        return {
            "objects": [
                {"name": name, "type": kind, "n_values": sum(count for _, count in parts),
                 "n_different": _most_of_one([part for part, _ in parts])}
                for (name, kind), parts in found.items()
            ]
        }  # fmt: skip

    def set_values(self, parameters: Mapping[str, Any], _peer: object = None) -> Described:
        """The values of one set, the first `size` of each family."""
        name, size = parameters.get("name"), parameters.get("size", VALUES)
        if not isinstance(name, str):
            raise RpcError(INVALID_PARAMS, "name is a text")
        if type(size) is not int or not 0 <= size <= MOST_VALUES:
            raise RpcError(INVALID_PARAMS, f"size is a number from 0 to {MOST_VALUES}")
        snapshot = self._running.snapshot
        kinds = [] if snapshot is None else [found[1:] for found in sets_of(snapshot) if found[0] == name]
        if snapshot is None or not kinds:
            code = "FWP_E_NOT_FOUND"
            raise RpcError(
                REFUSED, f"no filter names a set {name[:128]!r} ({code})", {"error": code, "code": FWP_E[code]}
            )
        seen: Counter[str] = Counter()
        values = []
        for kind, _, field in kinds:
            values += _said(kind, field, set_page(snapshot, name, kind, 0, size, seen[kind]))
            seen[kind] += 1
        kind, _, field = kinds[0]
        return {"object": {"name": name, "type": _type(kind, field), "n_values": sum(count for _, count, _ in kinds),
                           "n_different": max(seen.values()), "values": values}}  # fmt: skip

    # --------------------------------------------------------------------------------- flows

    def list_flows(self, parameters: Mapping[str, Any], _peer: object = None) -> Described:
        """About `size` flows, from where `cursor` says; a reading of the live table, which is no snapshot."""
        size = parameters.get("size", PAGE)
        if type(size) is not int or not 1 <= size <= LARGEST_PAGE:
            raise RpcError(INVALID_PARAMS, f"size is a number from 1 to {LARGEST_PAGE}")
        start = parameters.get("cursor", "0")
        if not (isinstance(start, str) and start.isascii() and start.isdigit() and len(start) <= 18):
            raise RpcError(INVALID_PARAMS, "cursor is what the page before gave")
        flows = self._running.flows
        rows, following = flows.page(int(start), size, **_wished(parameters.get("template", {})))
        offset = time.time_ns() - time.monotonic_ns()
        return {"objects": [self._flow(row, offset) for row in rows], "total": len(flows),
                "cursor": None if following is None else str(following)}  # fmt: skip

    def close_flows(self, _parameters: Mapping[str, Any], _peer: object = None) -> Described:
        """Nothing: a listing of flows holds nothing."""
        return {}

    def _flow(self, row: Mapping[str, Any], offset: int) -> Described:
        info = None
        if row["slot"] is not None and row["place"] is not None:
            info = self._filter_of(row["slot"], row["place"], row["layer_generation"])
        first, last = row["packets"]
        protocol = row["protocol"]
        return {
            "flow_id": row["flow_id"], "protocol": _NAMES.get(protocol, str(protocol)), **_ends(row),
            "direction": "outbound" if row["outbound"] else "inbound", "state": row["state"],
            "layer": None if row["slot"] is None else slot_name(row["slot"]),
            "filter": None if info is None else info["name"], "generation": row["generation"],
            "packets_to_server": first, "packets_to_client": last,
            "bytes_to_server": row["bytes"][0], "bytes_to_client": row["bytes"][1],
            "started": (row["first_ns"] + offset) / 1e9, "last_seen": (row["last_ns"] + offset) / 1e9,
        }  # fmt: skip


def _ends(row: Mapping[str, Any]) -> Described:
    """Both ends; the one flow of all inbound groups has none."""
    if row["inbound_group"]:
        return {"local_address": "any group", "local_port": None, "remote_address": "any", "remote_port": None}
    found: Described = {}
    for end in ("local", "remote"):
        address, port = row[end]
        found[f"{end}_address"] = str(ipaddress.ip_address(address))
        found[f"{end}_port"] = port if row["protocol"] in _PORTS else None
    if row["protocol"] in _ICMP:
        found["icmp_type"] = row["icmp_type"]
    return found


def _wished(template: object) -> dict[str, Any]:
    """The keyword arguments of Flows.page()."""
    if not isinstance(template, dict) or template.keys() - {"address", "port", "protocol"}:
        raise RpcError(INVALID_PARAMS, "template is an object with address, port and protocol")
    found: dict[str, Any] = {}
    if "address" in template:
        try:
            found["address"] = ipaddress.ip_address(template["address"]).packed
        except ValueError:
            raise RpcError(INVALID_PARAMS, f"{str(template['address'])[:64]!r} is no address") from None
    if "port" in template:
        found["port"] = _number(template["port"], "port", 65535)
    if "protocol" in template:
        found["protocol"] = PROTOCOLS.get(template["protocol"]) if isinstance(template["protocol"], str) else None
        if found["protocol"] is None:
            found["protocol"] = _number(template["protocol"], "protocol", 255)
    return found


def _number(value: object, what: str, most: int) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 5:
        value = int(value)
    if type(value) is int and 0 <= value <= most:
        return value
    raise RpcError(INVALID_PARAMS, f"{what} is a number from 0 to {most}, or a name that is known")


def _most_of_one(kinds: Sequence[str]) -> int:
    return max(Counter(kinds).values())


def _type(kind: str, field: int) -> str:
    """address, text or number: what the field has that is looked up in the set."""
    return "text" if kind == "texts" else "address" if FIELDS[field].is_address else "number"


def _said(kind: str, field: int, members: Sequence[Any]) -> list[str]:
    """Values as a policy file has them."""
    if kind == "texts":
        return [text.decode("utf-8", "backslashreplace") for text in members]
    family = 6 if kind == "ranges128" else 4
    if FIELDS[field].is_address:
        return [say_range(FIELDS[field], family, low, high) for low, high in members]
    return [str(low) if low == high else f"{low}-{high}" for low, high in members]

"""`wfpd flows`: the flows that the daemon knows."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from typing import Any

from wfpd.cli import objects, tables
from wfpd.cli.arguments import port, target
from wfpd.cli.asking import connect
from wfpd.cli.parser import Commands, actions
from wfpd.cli.printing import DONE, print_json
from wfpd.cli.tables import Column, of


def add(commands: Commands) -> None:
    """Add the parser."""
    made = commands.add("flows", None, "show the flows that the daemon knows", as_json=True, socket=True)
    within = actions(made)
    listing = within.add("list", list_flows, "show flows, who authorized them and what they carried",
                         as_json=True, socket=True)  # fmt: skip
    listing.add_argument("--address", metavar="ADDRESS", help="only those with this end")
    listing.add_argument("--port", type=port, metavar="N", help="only those with this port at an end")
    listing.add_argument("--proto", metavar="NAME", help="only those of this protocol: tcp, udp, or a number")
    showing = within.add("show", show_flows, "show everything about the flows of one end, or about one flow",
                         as_json=True, socket=True)  # fmt: skip
    showing.add_argument("which", type=_which, metavar="ADDRESS[:PORT]|ID",
                         help="either end, such as [2001:db8::1]:443, or the flow_id of an event")  # fmt: skip


def list_flows(arguments: argparse.Namespace) -> int:
    """`wfpd flows list`."""
    asked = {"address": arguments.address, "port": arguments.port, "protocol": arguments.proto}
    template = {name: value for name, value in asked.items() if value is not None}
    with connect(arguments) as connection:
        objects.show_pages(objects.pages(connection, "flows.list", template), COLUMNS, arguments.json, "flow")
    return DONE


def show_flows(arguments: argparse.Namespace) -> int:
    """`wfpd flows show`."""
    number, template = arguments.which
    with connect(arguments) as connection:
        found = [flow for flow in objects.everything(connection, "flows.list", template)
                 if number in (None, flow["flow_id"])]  # fmt: skip
    if not found:
        raise objects.NoSuchObjectError("there is no such flow", hint="`wfpd flows list` has them all")
    if arguments.json:
        print_json({"objects": found})
    else:
        print("\n\n".join(objects.describe(flow, 64) for flow in found))
    return DONE


def _which(text: str) -> tuple[int | None, dict[str, Any]]:
    """A flow_id or None, and the template."""
    return (int(text), {}) if text.isascii() and text.isdigit() else (None, target(text))


def _end(which: str) -> Callable[[Mapping[str, Any]], str]:
    """The text of an end: ADDRESS:PORT, [ADDRESS]:PORT for IPv6, the address alone where there is no port."""

    def text(item: Mapping[str, Any]) -> str:
        address, number = tables.value(item.get(f"{which}_address")), item.get(f"{which}_port")
        if number is None:
            return address
        return f"[{address}]:{number}" if ":" in address else f"{address}:{number}"

    return text


def _sum(what: str) -> Callable[[Mapping[str, Any]], str]:
    """Both directions of what a flow counts."""
    return lambda item: str(
        sum(count for name, count in item.items() if name.startswith(what) and isinstance(count, int))
    )


COLUMNS = (
    Column("proto", of("protocol")),
    Column("local", _end("local")),
    Column("remote", _end("remote")),
    Column("direction", of("direction")),
    Column("state", of("state")),
    Column("packets", _sum("packets"), right=True),
    Column("bytes", _sum("bytes"), right=True),
    Column("last seen", lambda item: tables.ago(item.get("last_seen"), time.time())),
    Column("layer", of("layer")),
    Column("filter", of("filter")),
)

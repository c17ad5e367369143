"""`wfpd layers`: the layers, their fields and what feeds them."""

from __future__ import annotations

import argparse
from typing import Any

from wfpd.cli import objects
from wfpd.cli.asking import ask
from wfpd.cli.parser import Commands, actions
from wfpd.cli.printing import DONE, print_json
from wfpd.cli.tables import Column, harmless, of

_COLUMNS = (
    Column("name", of("name")),
    Column("hooks", of("hooks")),
    Column("filters", of("n_filters"), right=True),
    Column("default sublayer", of("default_sublayer")),
    Column("served", of("served")),
)


def add(commands: Commands) -> None:
    """Add the parser."""
    made = commands.add("layers", show_layers, "list the layers, their fields and what feeds them",
                        "Without an action: all that wfpd knows of them, without a daemon.", as_json=True)  # fmt: skip
    within = actions(made, required=False)
    within.add("list", list_layers, "show the layers of the running policy and their filters", as_json=True,
               socket=True)  # fmt: skip
    showing = within.add("show", show_layer, "show one layer of the running policy: its filters, hooks and fields",
                         as_json=True, socket=True)  # fmt: skip
    showing.add_argument("name", metavar="NAME", help="a layer, with or without _v4 or _v6")


def show_layers(arguments: argparse.Namespace) -> int:
    """`wfpd layers`."""
    from wfpd.observe import layers_doc

    layers = layers_doc.layers_json()
    if arguments.json:
        print_json({"layers": layers})
    else:
        print(describe_layers(layers))
    return DONE


def list_layers(arguments: argparse.Namespace) -> int:
    """`wfpd layers list`."""
    found = ask(arguments, "layers.list")
    objects.show_pages(iter([found["objects"]]), _COLUMNS, arguments.json, "layer")
    return DONE


def show_layer(arguments: argparse.Namespace) -> int:
    """`wfpd layers show`."""
    for layer in ask(arguments, "layers.list")["objects"]:
        if arguments.name in (layer["name"], *(family["name"] for family in layer["families"])):
            if arguments.json:
                print_json(layer)
            else:
                counts = ", ".join(f"{name} {count}" for name, count in layer["filters"].items())
                print("\n".join([*_head(layer), f"  filters: {counts or 'none'}", *_fields(layer)]))
            return DONE
    raise objects.NoSuchObjectError(f'there is no layer "{harmless(arguments.name)}"',
                                    hint="`wfpd layers list` has them all")  # fmt: skip


def describe_layers(layers: list[dict[str, Any]]) -> str:
    """The table for a person: each layer that packets visit with its fields, then the others with the reason."""
    lines = []
    for layer in layers:
        if not layer["families"] or layer["discard"]:
            continue
        lines += [*_head(layer), *_fields(layer), ""]
    lines.append("layers of WFP that nothing here can feed:")
    lines += [f"  {layer['name']:<36} {layer['why_not']}" for layer in layers if not layer["families"]]
    return "\n".join(lines)


def _head(layer: dict[str, Any]) -> list[str]:
    """What it is and what feeds it."""
    names = " ".join(family["name"] for family in layer["families"])
    told = [*([names] if names else []), f"fed by {' and '.join(layer['hooks']) or 'nothing'}"]
    lines = [f"{layer['name']}  ({'; '.join(told)})"]
    if layer["has_twin"]:
        lines.append(f"  discard twin: {layer['name']}_discard, with the same fields")
    if not layer["served"]:
        lines.append(f"  NOT SERVED: {layer['why_not']}")
    return lines


def _fields(layer: dict[str, Any]) -> list[str]:
    """A line each."""
    lines = []
    for field in layer["fields"]:
        kind = " / ".join(dict.fromkeys(field["type"].values()))
        status = f"{field['status']}: {field['why']}" if field["why"] else field["status"]
        lines.append(f"  {field['name']:<36} {kind:<24} {status}")
    return lines

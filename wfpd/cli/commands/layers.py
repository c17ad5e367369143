"""`wfpd layers`: the layers, their fields and what feeds them."""

from __future__ import annotations

import argparse
from typing import Any

from wfpd.cli import objects
from wfpd.cli.asking import ask
from wfpd.cli.parser import Commands, actions
from wfpd.cli.printing import DONE, print_json
from wfpd.cli.tables import Column, of

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
    actions(made, required=False).add("list", list_layers, "show the layers of the running policy and their filters",
                                      as_json=True, socket=True)  # fmt: skip


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


def describe_layers(layers: list[dict[str, Any]]) -> str:
    """The table for a person: each layer that packets visit with its fields, then the others with the reason."""
    lines = []
    for layer in layers:
        if not layer["families"] or layer["discard"]:
            continue
        names = " ".join(family["name"] for family in layer["families"])
        lines.append(f"{layer['name']}  ({names}; fed by {' and '.join(layer['hooks'])})")
        if layer["has_twin"]:
            lines.append(f"  discard twin: {layer['name']}_discard, with the same fields")
        if not layer["served"]:
            lines.append(f"  NOT SERVED: {layer['why_not']}")
        for field in layer["fields"]:
            kind = " / ".join(dict.fromkeys(field["type"].values()))
            status = f"{field['status']}: {field['why']}" if field["why"] else field["status"]
            lines.append(f"  {field['name']:<36} {kind:<24} {status}")
        lines.append("")
    lines.append("layers of WFP that nothing here can feed:")
    lines += [f"  {layer['name']:<36} {layer['why_not']}" for layer in layers if not layer["families"]]
    return "\n".join(lines)

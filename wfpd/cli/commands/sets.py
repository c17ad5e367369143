"""`wfpd sets`: the sets of values that filters share."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from wfpd.cli import objects, tables
from wfpd.cli.arguments import up_to
from wfpd.cli.asking import ask
from wfpd.cli.parser import Commands, actions
from wfpd.cli.printing import DONE, complain, print_json
from wfpd.cli.tables import Column, of


def _values(item: Mapping[str, Any]) -> str:
    """How many, and of how many sets that have one name."""
    n_different = item.get("n_different") or 1
    return tables.value(item.get("n_values")) + (f" of {n_different} sets" if n_different > 1 else "")


_COLUMNS = (Column("name", of("name")), Column("type", of("type")), Column("values", _values, right=True))


def add(commands: Commands) -> None:
    """Add the parser."""
    made = commands.add("sets", None, "show the sets of values that filters share", as_json=True, socket=True)
    within = actions(made)
    within.add("list", list_sets, "show every set", as_json=True, socket=True)
    showing = within.add("show", show_set, "show the values of a set, a line each", as_json=True, socket=True)
    showing.add_argument("name", metavar="NAME", help="the set's name")
    showing.add_argument("--most", type=up_to(100_000), metavar="N", help="values shown of each family (default: 1000)")


def list_sets(arguments: argparse.Namespace) -> int:
    """`wfpd sets list`."""
    found = ask(arguments, "sets.list")
    objects.show_pages(iter([found["objects"]]), _COLUMNS, arguments.json, "set")
    return DONE


def show_set(arguments: argparse.Namespace) -> int:
    """`wfpd sets show`."""
    size = {} if arguments.most is None else {"size": arguments.most}
    answer = ask(arguments, "sets.get", name=arguments.name, **size)
    found = answer.get("object", answer)
    if arguments.json:
        print_json(found)
        return DONE
    values = found.get("values", [])
    for item in values:
        print(tables.harmless(tables.value(item)))
    if (n_values := found.get("n_values")) is not None and n_values > len(values):
        complain(f"{n_values - len(values)} more; --most N shows them")
    if (n_different := found.get("n_different") or 1) > 1:
        complain(f"{n_different} sets have this name, of the policy file or of sessions: the values are those of all")
    return DONE

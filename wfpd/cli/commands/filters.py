"""`wfpd filters`: what filters are in force, which get hits, and more of them or fewer."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wfpd.cli import objects
from wfpd.cli.arguments import seconds
from wfpd.cli.asking import ask
from wfpd.cli.commands.objects import add_delete, add_show, add_template, list_objects
from wfpd.cli.kinds import FILTERS
from wfpd.cli.parser import Commands, actions
from wfpd.cli.printing import DONE, complain, must_open, print_json
from wfpd.cli.tables import harmless
from wfpd.errors import ControlError, UsageError

MAX_CHANGE = 30_000
"""Bytes of a change: escaped, it has to fit into one line of the control socket."""
_DESCRIBED = ("name", "layer", "sublayer", "weight", "provider", "action", "callout", "kind")
"""Options of `filters add` that describe a filter: without them it takes a file."""


def add(commands: Commands) -> None:
    """Add the parser."""
    made = commands.add("filters", None, "show the filters in force and their hits, add some or delete some, at once",
                        "What is added lies beside the policy file and stays over reloads, until it is deleted or the "
                        "daemon ends. Exit 1: refused, nothing has changed.", as_json=True, socket=True)  # fmt: skip
    within = actions(made)
    _add_list(within)
    add_show(within, FILTERS)
    _add_add(within)
    add_delete(within, FILTERS)


def _add_list(within: Commands) -> None:
    made = within.add("list", list_filters, "show filters, their hits and when the last one was",
                      "The weight is the effective one; its four highest bits are its range.",
                      as_json=True, socket=True)  # fmt: skip
    add_template(made)
    for name, metavar in (("layer", "LAYER"), ("sublayer", "NAME"), ("callout", "NAME"), ("provider-context", "NAME")):
        made.add_argument(f"--{name}", metavar=metavar, help=f"only those of this {name.replace('-', ' ')}")
    made.add_argument("--action", action="append", metavar="ACTION",
                      help="only those that do this: permit, block, callout_terminating, callout_inspection, "
                      "callout_unknown; may be repeated")  # fmt: skip
    matching = made.add_mutually_exclusive_group()
    matching.add_argument("--overlapping", action="store_true",
                          help="conditions: filters that match some packet of theirs (the default)")  # fmt: skip
    matching.add_argument(
        "--contained", action="store_true", help="conditions: filters that match only packets of theirs"
    )
    made.add_argument("--best", action="store_true",
                      help="of each sublayer, only the first terminating filter that matches")  # fmt: skip
    made.add_argument("--sort", choices=("weight", "hits"), help="highest first")
    made.add_argument("conditions", nargs="*", metavar="FIELD=VALUE", help="a condition as in a policy; needs --layer")


def _add_add(within: Commands) -> None:
    made = within.add("add", add_filters, "add filters to the running policy, at once",
                      "Those of a file, or one that the options describe.", as_json=True, socket=True)  # fmt: skip
    made.add_argument("--name", metavar="NAME", help="its name")
    made.add_argument("--layer", metavar="LAYER", help="its layer; without _v4 or _v6, both families")
    made.add_argument("--action", choices=("permit", "block"), help="what it does")
    made.add_argument("--callout", metavar="NAME", help="instead of --action: whom it calls")
    made.add_argument("--kind", choices=("terminating", "inspection", "unknown"),
                      help="what the callout may answer (default: terminating)")  # fmt: skip
    made.add_argument("--sublayer", metavar="NAME", help="its sublayer (default: universal)")
    made.add_argument("--provider", metavar="NAME", help="its provider")
    made.add_argument(
        "--weight", metavar="N|range:N", help="its weight, or its range 0-15 (default: by its conditions)"
    )
    made.add_argument("--for", dest="lifetime", type=seconds, metavar="TIME",
                      help="it is deleted after this time (60s, 10m), also while the machine sleeps")  # fmt: skip
    made.add_argument("what", nargs="*", metavar="FILE|FIELD=VALUE",
                      help="one file (- is standard input) with `version: 1` and filters, sublayers, sets, as in a "
                      "policy; or, with --name, conditions of the filter")  # fmt: skip


def list_filters(arguments: argparse.Namespace) -> int:
    """`wfpd filters list`."""
    template: dict[str, Any] = {name: text for name in ("layer", "sublayer", "callout", "provider_context", "action")
                                if (text := getattr(arguments, name)) is not None}  # fmt: skip
    if arguments.conditions:
        if arguments.layer is None:
            raise UsageError("conditions are those of a layer", hint="--layer LAYER; `wfpd layers` has their fields")
        template["when"] = objects.properties(arguments.conditions)
        template["type"] = "fully_contained" if arguments.contained else "overlapping"
    elif arguments.contained or arguments.overlapping:
        raise UsageError("--contained and --overlapping speak of conditions", hint="FIELD=VALUE")
    if flags := [flag for flag, asked in (("best_terminating_match", arguments.best),
                                          ("sorted", arguments.sort == "weight")) if asked]:  # fmt: skip
        template["flags"] = flags
    return list_objects(FILTERS, arguments, order=_hits if arguments.sort == "hits" else None, **template)


def _hits(item: dict[str, Any]) -> int:
    return -int(item.get("hits") or 0)


def add_filters(arguments: argparse.Namespace) -> int:
    """`wfpd filters add`."""
    lifetime = {} if arguments.lifetime is None else {"for": arguments.lifetime}
    if any(getattr(arguments, name) is not None for name in _DESCRIBED):
        result = ask(arguments, "filters.add", filter=_described(arguments), **lifetime)
    else:
        result = ask(arguments, "filters.add", policy=_change_text(arguments.what), **lifetime)
    if arguments.json:
        print_json(result)
        return DONE
    for item in result["filters"]:
        print(f"{item['key']}  {item['layer']}  {harmless(item['name'])}")
    complain(f"generation {result['generation']}: {len(result['filters'])} engine filters added")
    return DONE


def _described(arguments: argparse.Namespace) -> dict[str, Any]:
    """The filter that the options describe, as an entry of a policy file.  UsageError where something is missing."""
    for name in ("name", "layer"):
        if getattr(arguments, name) is None:
            raise UsageError(f"--{name} is missing", hint="--name, --layer and --action describe a filter; or a FILE")
    if (arguments.action is None) == (arguments.callout is None):
        raise UsageError("either --action or --callout says what the filter does")
    if arguments.kind is not None and arguments.callout is None:
        raise UsageError("--kind is that of a --callout")
    made: dict[str, Any] = {name: text for name in ("name", "layer", "sublayer", "provider")
                            if (text := getattr(arguments, name)) is not None}  # fmt: skip
    made["action"] = arguments.action or {"callout": arguments.callout, "kind": arguments.kind or "terminating"}
    if arguments.weight is not None:
        before, _, width = arguments.weight.rpartition("range:")
        made["weight"] = {"range": width} if not before and width != arguments.weight else arguments.weight
    if arguments.what:
        made["when"] = objects.properties(arguments.what)
    return made


def _change_text(files: Sequence[str]) -> str:
    """The text of the one file, or of standard input."""
    if not files:
        raise UsageError("what is to be added?", hint="a FILE, or --name, --layer and --action")
    if len(files) > 1:
        raise ControlError("filters add takes one file", hint="what belongs together is one change")
    if files[0] != "-":
        must_open(files[0])
    try:
        text = (sys.stdin.buffer.read(MAX_CHANGE + 1) if files[0] == "-" else Path(files[0]).read_bytes()).decode()
    except (UnicodeDecodeError, OSError) as error:
        raise ControlError(f"{files[0]}: is not UTF-8 text") from error
    if len(text) > MAX_CHANGE:
        raise ControlError(f"{files[0]}: a change is at most {MAX_CHANGE:,} bytes",
                           hint="put many filters into the policy file and reload")  # fmt: skip
    return text

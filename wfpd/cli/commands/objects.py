"""`wfpd sublayers`, `wfpd providers`, `wfpd provider-contexts` and `wfpd callouts`: the objects around filters."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

from wfpd.cli import kinds, objects
from wfpd.cli.asking import ask, call, connect
from wfpd.cli.objects import Kind
from wfpd.cli.parser import Commands, actions
from wfpd.cli.printing import DONE, complain, print_json
from wfpd.cli.tables import harmless

Order = Callable[[dict[str, Any]], int]
_TEXTS = {
    "sublayers": (kinds.SUBLAYERS, "show the sublayers with their weights, add or delete some"),
    "providers": (kinds.PROVIDERS, "show the providers, add or delete some"),
    "provider-contexts": (kinds.PROVIDER_CONTEXTS, "show the provider contexts, add or delete some"),
    "callouts": (kinds.CALLOUTS, "show the callouts and who registered them, add or delete some"),
}


def add(commands: Commands) -> None:
    """Add the parsers."""
    for name, (kind, text) in _TEXTS.items():
        made = commands.add(name, None, text, "What is in force in the daemon now. Exit 1: refused, or no such object.",
                            as_json=True, socket=True)  # fmt: skip
        within = actions(made)
        listing = within.add("list", partial(list_objects, kind), f"show every {kind.word}", as_json=True, socket=True)
        add_template(listing)
        add_show(within, kind)
        adding = within.add("add", partial(add_object, kind), f"add a {kind.word} to the running policy",
                            "It lies beside the policy file until it is deleted or the daemon ends.",
                            as_json=True, socket=True)  # fmt: skip
        adding.add_argument("--name", required=True, metavar="NAME", help=f"the {kind.word}'s name")
        adding.add_argument("more", nargs="*", metavar="PROPERTY=VALUE",
                            help="what else an entry of a policy file may say, such as key, description, provider, "
                            "weight; a list or mapping as in YAML")  # fmt: skip
        add_delete(within, kind)


def add_template(made: argparse.ArgumentParser) -> None:
    """The options that every list has."""
    made.add_argument("--name", metavar="NAME", help="only those of this name")
    made.add_argument("--provider", metavar="NAME", help="only those of this provider")


def add_show(within: Commands, kind: Kind) -> None:
    """The action `show`."""
    showing = within.add("show", partial(show_object, kind), f"show everything about one {kind.word}",
                         as_json=True, socket=True)  # fmt: skip
    showing.add_argument("which", metavar="NAME|KEY", help="a name that only one has, or a key")


def add_delete(within: Commands, kind: Kind) -> None:
    """The action `delete`."""
    text = f"delete {kind.word}s from the running policy, at once"
    deleting = within.add("delete", partial(delete_objects, kind), text, "All of them or none.",
                          as_json=True, socket=True)  # fmt: skip
    deleting.add_argument("which", nargs="+", metavar="NAME|KEY", help="names that only one has, or keys")


def list_objects(kind: Kind, arguments: argparse.Namespace, order: Order | None = None, **more: Any) -> int:
    """Show the objects that the options admit; `more` is more of the template, `order` what they are sorted by here."""
    template = {name: text for name in ("name", "provider") if (text := getattr(arguments, name)) is not None} | more
    with connect(arguments) as connection:
        found = objects.pages(connection, f"{kind.methods}.list", template)
        if order is not None:
            found = iter([sorted((item for page in found for item in page), key=order)])
        objects.show_pages(found, kind.columns, arguments.json, kind.word)
    return DONE


def show_object(kind: Kind, arguments: argparse.Namespace) -> int:
    """Show one object whole; a filter at each of its layers."""
    with connect(arguments) as connection:
        found = objects.find(connection, kind, arguments.which)
    if not arguments.json:
        print("\n\n".join(objects.describe(item, kind.weight_bits) for item in found))
        if len(found) > 1:
            print(f"\n{sum(item.get('hits') or 0 for item in found)} hits at all of them")
    elif len(found) == 1:
        print_json(found[0])
    else:
        print_json({"objects": found, "hits": sum(item.get("hits") or 0 for item in found)})
    return DONE


def add_object(kind: Kind, arguments: argparse.Namespace) -> int:
    """Add the object that the arguments describe."""
    made = {"name": arguments.name, **objects.properties(arguments.more, free=("data", "options"))}
    result = ask(arguments, f"{kind.methods}.add", **{kind.parameter: made})
    if arguments.json:
        print_json(result)
        return DONE
    for item in result.get("objects", ()):
        print(f"{item['key']}  {harmless(str(item['name']))}")
    complain(f"generation {result['generation']}: 1 {kind.word} added")
    return DONE


def delete_objects(kind: Kind, arguments: argparse.Namespace) -> int:
    """Delete the objects of these names and keys."""
    with connect(arguments) as connection:
        keys = objects.keys_of(connection, kind, arguments.which)
        result = call(connection, f"{kind.methods}.delete", keys=keys)
    if arguments.json:
        print_json(result)
    else:
        complain(f"generation {result['generation']}: {result['deleted']} deleted")
    return DONE

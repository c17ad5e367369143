"""Objects of the running engine as commands ask for them: lists page by page, one by its name or key."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from wfpd.cli import tables
from wfpd.cli.asking import Client, call
from wfpd.cli.printing import NO, complain, print_json
from wfpd.cli.tables import Column, Table
from wfpd.errors import PolicyError, UsageError, WfpdError

PAGE = 1000
"""Objects that are asked for at once."""
_SHOWN_KEYS = 20
"""Keys that an ambiguous name is answered with."""


class Kind(NamedTuple):
    """A type of object."""

    methods: str
    """What its methods begin with: `provider_contexts` of `provider_contexts.list`."""
    parameter: str
    """What `add` calls one."""
    word: str
    """What a person calls one."""
    columns: tuple[Column, ...]
    weight_bits: int = 64
    """Of its weights, if it has any."""
    has_layers: bool = False
    """One of a policy file is one for each layer and family, all with its name."""


class NoSuchObjectError(WfpdError):
    """A name is nobody's, or that of several."""

    exit_status = NO


def is_key(text: str) -> bool:
    """Whether this is a GUID; everything else is a name."""
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True


def pages(connection: Client, method: str, template: Mapping[str, Any]) -> Iterator[list[dict[str, Any]]]:
    """All objects that a template admits, as the pages of one snapshot."""
    params: dict[str, Any] = {"template": dict(template)} if template else {}
    while True:
        found = call(connection, method, **params, size=PAGE)
        yield found["objects"]
        if found.get("cursor") is None:
            return
        params = {"cursor": found["cursor"]}


def everything(connection: Client, method: str, template: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """All objects that a template admits."""
    return [item for page in pages(connection, method, template or {}) for item in page]


def find(connection: Client, kind: Kind, text: str) -> list[dict[str, Any]]:
    """The object of a key or name: of a filter's name one for each layer and family that it speaks of.

    NoSuchObjectError where a name is nobody's or that of several.
    """
    if is_key(text):
        return [call(connection, f"{kind.methods}.get", key=str(uuid.UUID(text)))["object"]]
    return _named(connection, kind, text)


def _named(connection: Client, kind: Kind, name: str) -> list[dict[str, Any]]:
    found = everything(connection, f"{kind.methods}.list", {"name": name})
    if len(found) == 1 or (found and kind.has_layers and len({item.get("provider") for item in found}) == 1):
        return found
    shown = tables.harmless(name)
    if not found:
        raise NoSuchObjectError(f'there is no {kind.word} "{shown}"')
    keys = [f"  {item['key']}  {tables.harmless(str(item.get('layer') or item.get('provider') or ''))}".rstrip()
            for item in found[:_SHOWN_KEYS]]  # fmt: skip
    if len(found) > _SHOWN_KEYS:
        keys.append(f"  and {len(found) - _SHOWN_KEYS} more")
    raise NoSuchObjectError(
        "\n".join([f'{len(found)} {kind.word}s have the name "{shown}":', *keys]), hint="say which by its key"
    )


def keys_of(connection: Client, kind: Kind, names: Sequence[str]) -> list[str]:
    """The keys of names and keys.  What is a key is not looked up."""
    return [
        str(key) for name in names
        for key in ([name] if is_key(name) else [item["key"] for item in _named(connection, kind, name)])
    ]  # fmt: skip


def show_pages(found: Iterator[list[dict[str, Any]]], columns: Sequence[Column], as_json: bool, word: str) -> None:
    """Print objects as they come; as JSON, one document."""
    if as_json:
        print_json({"objects": [item for page in found for item in page]})
        return
    table = Table(columns, tables.terminal_width())
    n_objects = 0
    for page in found:
        n_objects += len(page)
        if page:
            print("\n".join(table.lines(page)))
    if not n_objects:
        complain(f"no {word}s")


def describe(item: Mapping[str, Any], weight_bits: int) -> str:
    """Every key of one object, a line each; its conditions one below the other."""
    width = max(map(len, item), default=0)
    lines = []
    for name, found in item.items():
        text = _told(name, found, weight_bits)
        first, *rest = text.splitlines() or [""]
        lines += [f"{name:<{width}}  {first}".rstrip(), *(f"{'':<{width}}  {line}" for line in rest)]
    return "\n".join(lines)


def _told(name: str, found: object, weight_bits: int) -> str:
    if name == "when" and isinstance(found, Mapping):
        return (
            "\n".join(tables.harmless(tables.conditions({field: test})) for field, test in found.items())
            or tables.NOTHING
        )
    if name in ("weight", "requested_weight"):
        return tables.harmless(tables.weight(found, weight_bits))
    if name in _TIMES:
        return _TIMES[name](found)
    return tables.harmless(tables.value(found))


def _expiry(found: object) -> str:
    if not isinstance(found, int | float):
        return "never"
    return f"in {max(0, int(found - time.time()))} s"


_TIMES: dict[str, Callable[[object], str]] = {
    "last_hit": lambda found: tables.ago(found, time.time()),
    "last_seen": lambda found: tables.ago(found, time.time()),
    "since": lambda found: tables.ago(found, time.time()),
    "started": lambda found: tables.ago(found, time.time()),
    "expires": _expiry,
}
"""How the times of an object are told."""


def properties(words: Sequence[str], free: Collection[str] = ()) -> dict[str, Any]:
    """`NAME=VALUE` words, each name once.  UsageError where one is none.

    `free`: names whose value is free data, in which numbers, true and false are such as in a policy file.
    """
    found: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not name or not equals:
            raise UsageError(f"{tables.harmless(word)!r} is not NAME=VALUE")
        if name in found:
            raise UsageError(f"{tables.harmless(name)} is given twice", hint=f"several values: {name}=[A,B]")
        found[name] = _read_data(name, text) if name in free else _read_value(name, text)
    return found


def _read_data(name: str, text: str) -> object:
    from wfpd.config import load_data

    try:
        return load_data(text)
    except PolicyError as error:
        raise UsageError(f"{tables.harmless(name)}: {tables.harmless(text)} is no value as in a policy: "
                         f"{error.problems[0].message}", hint=error.problems[0].hint) from error  # fmt: skip


def _read_value(name: str, text: str) -> Any:
    """Lists and mappings are YAML's; a text stays a text, which the daemon reads as a policy file's."""
    if not text.startswith(("[", "{")):
        return text
    import yaml

    try:
        return yaml.BaseLoader(text).get_single_data()  # Lists, mappings and texts, nothing else.
    except (yaml.YAMLError, RecursionError) as error:
        raise UsageError(f"{tables.harmless(name)}: {tables.harmless(text)} is no list or mapping as in a policy",
                         hint="for example [192.0.2.1, 192.0.2.7], or {none_of: [10.0.0.0/8]}") from error  # fmt: skip

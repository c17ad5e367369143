"""What comes back from the daemon, as dictionaries with known keys.

Later versions add keys, so a reader passes over those that it does not know.  Keys of WFP's objects that
may be left out are optional here too; times are unix seconds, sizes bytes.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

ObjectType = Literal["providers", "sublayers", "provider_contexts", "callouts", "filters"]


class Hello(TypedDict):
    """The first answer."""

    version: int
    wfpd: str
    role: Literal["read", "operate", "administer"]


class Version(TypedDict):
    """The daemon's version and the protocol's."""

    version: str
    protocol: int


class Status(TypedDict):
    """What `wfpd status --json` prints."""

    version: str
    pid: int
    policy: str
    enforcing: bool
    why_not: list[str]
    audit: bool
    generation: int
    hash: str
    uptime_seconds: float
    hooks: list[dict[str, Any]]
    queues: list[dict[str, Any]]
    workers: list[dict[str, Any]]
    flows: dict[str, int]
    reload: dict[str, Any]
    words: dict[str, Any]
    rules_error: str


class Reloaded(TypedDict):
    """How a reload or a confirmation ended."""

    successful: bool
    generation: int
    hash: str
    seconds: float
    n_filters: int
    problems: list[dict[str, Any]]
    lints: list[dict[str, Any]]
    restart_needed: list[str]
    confirm_within: float | None


class Reopened(TypedDict):
    """Event files were opened anew."""

    reopened: bool


class _Named(TypedDict):
    name: str


class Entry(_Named, total=False):
    """A provider or provider context as in a policy file."""

    key: str
    description: str
    provider: str
    data: str


class SublayerEntry(Entry, total=False):
    """A sublayer as in a policy file."""

    weight: int | str


class CalloutEntry(Entry, total=False):
    """A callout as in a policy file."""

    use: str


class FilterEntry(Entry, total=False):
    """A filter as in a policy file."""

    layer: str
    sublayer: str
    weight: int | str
    action: Any
    flags: list[str]
    when: dict[str, Any]
    provider_context: str
    mode: str
    reply: str
    on_error: str
    log: bool
    metrics: bool


class _Shown(TypedDict):
    key: str
    name: str


class Shown(_Shown, total=False):
    """An object as it runs."""

    id: int
    description: str
    provider: str | None
    lifetime: Literal["builtin", "file", "static", "dynamic"]
    session: str | None


class SublayerShown(Shown, total=False):
    """A sublayer as it runs."""

    weight: int
    requested_weight: int
    n_filters: int


class CalloutShown(Shown, total=False):
    """A callout as it runs."""

    registered: bool
    use: str
    n_filters: int


class FilterShown(Shown, total=False):
    """A filter as it runs."""

    layer: str
    sublayer: str
    weight: int
    action: Any
    callout: str | None
    flags: list[str]
    when: dict[str, Any]
    provider_context: str | None
    mode: str
    reply: str
    on_error: str
    log: bool
    metrics: bool
    expires: float | None
    hits: int
    last_hit: float | None


class AddedFilter(TypedDict):
    """One engine filter of those that an entry became."""

    name: str
    layer: str
    key: str


class Added(TypedDict):
    """Objects were added."""

    generation: int
    objects: list[Shown]


class AddedFilters(TypedDict):
    """Filters were added."""

    generation: int
    filters: list[AddedFilter]


class Deleted(TypedDict):
    """Objects were deleted."""

    generation: int
    deleted: int


class Opened(TypedDict):
    """This connection's session."""

    key: str
    id: int
    dynamic: bool


class SessionShown(TypedDict):
    """One connection's session."""

    key: str
    id: int
    name: str
    dynamic: bool
    uid: int
    pid: int
    transaction: Literal["none", "read", "write"]
    since: float


class LayerShown(TypedDict, total=False):
    """A layer, as `wfpd layers --json` shows it, with its filters."""

    name: str
    n_filters: int
    default_sublayer: str


class SetShown(TypedDict):
    """A named set; `n_different` sets of this name, whose values are not the same, are told of as one."""

    name: str
    type: str
    n_values: int
    n_different: NotRequired[int]


class FlowShown(TypedDict, total=False):
    """A flow of the flow table; it has more keys, counts of packets and bytes among them."""

    flow_id: int
    protocol: str
    local_address: str
    local_port: int
    remote_address: str
    remote_port: int
    direction: str
    state: str
    layer: str
    filter: str | None
    started: float
    last_seen: float


class Counters(TypedDict):
    """One reading."""

    time: float
    generation: int
    enforcing: bool
    queues: list[dict[str, Any]]
    packets: dict[str, int]
    bytes: Any
    drops: list[dict[str, Any]]
    flows: dict[str, int]
    filters: list[dict[str, Any]]
    uninspected: Any
    vetoes: Any


class Change(TypedDict, total=False):
    """Something was added or deleted; or, with `error` and `dropped`, so many changes could not be told."""

    subscription: Any
    change: Literal["add", "delete"]
    type: ObjectType
    key: str
    id: int
    name: str
    generation: int
    error: str
    dropped: int


Event = dict[str, Any]
"""An event in EVE's form."""

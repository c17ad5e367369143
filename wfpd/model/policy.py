"""A policy: what one file says, as a frozen value.  Same bytes, same policy, on any host."""

from __future__ import annotations

import enum
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from wfpd.errors import Location, Problem
from wfpd.model.conditions import Condition

NAMESPACE = uuid.UUID("6f0c9a0e-5f0f-5b6a-9a43-7f1c2d8e4b10")
"""Namespace of the UUIDv5 default keys."""

FILE_PROVIDER = "file"
"""The provider that owns what a policy file declares without naming one."""


class Action(enum.IntEnum):
    """A filter's action; the numbers are the packed format's."""

    PERMIT = 1
    BLOCK = 2
    CALLOUT_TERMINATING = 3
    CALLOUT_INSPECTION = 4
    CALLOUT_UNKNOWN = 5


class FilterFlag(enum.IntFlag):
    """Bits of a packed filter's flags."""

    CLEAR_ACTION_RIGHT = 0x01
    PERMIT_IF_CALLOUT_UNREGISTERED = 0x02
    INDEXED = 0x04
    AUDIT = 0x08
    LOG = 0x10
    METRICS = 0x20
    ABSORB = 0x40


NO_FLAGS = FilterFlag(0)


class Reply(enum.IntEnum):
    """What a block answers with."""

    NONE = 0
    TCP_RESET = 1
    ICMP_UNREACHABLE = 2


class Word(enum.IntEnum):
    """A declared word of `faults:` or `on_error`."""

    DEFAULT = 0
    PERMIT = 1
    BLOCK = 2


@dataclass(frozen=True, slots=True)
class Faults:
    """The declared words (docs/config.md)."""

    on_absent: Word = Word.PERMIT
    on_full: Word = Word.PERMIT
    on_late: Word = Word.PERMIT
    on_error: Word = Word.PERMIT
    on_malformed: Word = Word.PERMIT
    late_after: float = 0.5
    """Seconds."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """One entry of `attach:`: a hook whose packets wfpd decides."""

    hook: str
    interfaces: tuple[str, ...] = ()
    """Names or `eth*`; empty = all."""
    families: tuple[int, ...] = (4, 6)
    queues: tuple[int, int] | None = None
    """First and last queue number; None = one queue a worker, from 0."""
    balance: str = "hosts"
    backend: str = "auto"
    defragment: bool = True
    location: Location = field(default_factory=Location)


@dataclass(frozen=True, slots=True)
class DaemonSettings:
    """`daemon:`; read at start."""

    metrics: str = "127.0.0.1:9477"
    control_path: str = "/run/wfpd/control.sock"
    control_read: tuple[str, ...] = ()
    control_operate: tuple[str, ...] = ()
    control_administer: tuple[str, ...] = ()
    flows_max: int = 262144
    flows_full: Word = Word.PERMIT
    streams_max: int = 65536
    streams_memory: int = 256 << 20
    """Bytes of all streams."""
    streams_pending: int = 8 << 20
    """Bytes in order that wait for one callout."""
    streams_history: int = 4096
    """Decided bytes of each direction that retransmissions are compared with."""
    pended_max: int = 4096
    """Packets that callouts park at once."""
    pended_memory: int = 32 << 20
    """Bytes of their copies."""
    marks_mask: int = 0xFFF00000
    events: tuple[Mapping[str, object], ...] = ()
    callout_path: tuple[str, ...] = ()
    workers: int = 0
    """0 = auto: the CPU count."""
    realtime: bool = True
    """Workers are real-time threads while they take less than half of a processor, where the system permits it."""
    metrics_filters: int = 100


@dataclass(frozen=True, slots=True)
class Provider:
    """An owner of objects."""

    name: str
    key: uuid.UUID
    description: str = ""


@dataclass(frozen=True, slots=True)
class ProviderContext:
    """Opaque data that a filter may hand to its callout."""

    name: str
    key: uuid.UUID
    data: object = None
    description: str = ""
    provider: str = FILE_PROVIDER


@dataclass(frozen=True, slots=True)
class Sublayer:
    """A rank of arbitration; the higher `weight` is evaluated first.  Weights are unique."""

    name: str
    key: uuid.UUID
    weight: int
    """0-65535, as assigned."""
    description: str = ""
    provider: str = FILE_PROVIDER
    requested: int | None = None
    """The weight that was asked for; None where none was."""
    operate: bool = False
    """The role operate may add filters here that expire."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How long a callout's call may take: over `time_ns` `times` within `within_ns`, and it is suspended.

    After `suspend_ns` one call decides whether it comes back.
    """

    time_ns: int
    times: int = 5
    within_ns: int = 60_000_000_000
    suspend_ns: int = 10_000_000_000


@dataclass(frozen=True, slots=True)
class Callout:
    """A callout.  Without `use` it is added but not registered."""

    name: str
    key: uuid.UUID
    use: str = ""
    options: Mapping[str, object] = field(default_factory=dict)
    description: str = ""
    provider: str = FILE_PROVIDER
    location: Location = field(default_factory=Location)
    budget: Budget | None = None


@dataclass(frozen=True, slots=True)
class ValueSet:
    """A named set, shared by the filters that name it.

    For numbers and addresses: sorted, disjoint, inclusive ranges.  An address set has both
    families apart.
    """

    name: str
    type: str
    """address, port, text ..."""
    ranges: Sequence[tuple[int, int]] = ()
    """Numbers, or IPv4 addresses."""
    ranges_v6: Sequence[tuple[int, int]] = ()
    texts: tuple[bytes, ...] = ()
    location: Location = field(default_factory=Location)


@dataclass(frozen=True, slots=True)
class Filter:
    """One engine filter: one layer, one family.

    A filter of the file with an unsuffixed layer, or with several layers, becomes several of
    these with one `name` and one `order`.
    """

    name: str
    key: uuid.UUID
    slot: int
    """Layer and family (`layers.BY_SLOT`)."""
    sublayer: str
    action: Action
    order: int
    """Position in reading order; breaks ties of weight."""
    weight: int
    """Effective weight, 64 bits."""
    conditions: tuple[Condition, ...] = ()
    flags: FilterFlag = NO_FLAGS
    callout: str = ""
    reply: Reply = Reply.NONE
    on_error: Word = Word.DEFAULT
    provider: str = FILE_PROVIDER
    provider_context: str = ""
    description: str = ""
    location: Location = field(default_factory=Location)


@dataclass(frozen=True, slots=True)
class Policy:
    """Everything one policy file (with its includes) says."""

    filters: Sequence[Filter] = ()
    """Enabled engine filters in reading order: a tuple, or `rows.FilterRows`."""
    sublayers: tuple[Sublayer, ...] = ()
    """The built-in ones included, by falling weight."""
    callouts: tuple[Callout, ...] = ()
    sets: tuple[ValueSet, ...] = ()
    providers: tuple[Provider, ...] = ()
    provider_contexts: tuple[ProviderContext, ...] = ()
    attach: tuple[Attachment, ...] = ()
    daemon: DaemonSettings = field(default_factory=DaemonSettings)
    faults: Faults = field(default_factory=Faults)
    files: tuple[str, ...] = ()
    """Every file that was read, this one first."""
    hash: str = ""
    """SHA-256, hexadecimal, over the bytes of all files in reading order."""
    lints: tuple[Problem, ...] = ()


def default_key(provider: str, kind: str, name: str, layer: str = "") -> uuid.UUID:
    """The key of an object that the file gives none: the same on every host."""
    text = "\0".join((provider, kind, name, layer) if layer else (provider, kind, name))
    return uuid.uuid5(NAMESPACE, text)

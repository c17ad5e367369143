"""Objects of the filtering engine, who owns them, and how long they live."""

from __future__ import annotations

import enum
import uuid
from dataclasses import dataclass

from wfpd.model.policy import Callout, Filter, Provider, ProviderContext, Sublayer

Item = Provider | Sublayer | ProviderContext | Callout


class Kind(enum.Enum):
    """The types of objects; a key is unique within one."""

    PROVIDER = "provider"
    SUBLAYER = "sublayer"
    PROVIDER_CONTEXT = "provider_context"
    CALLOUT = "callout"
    FILTER = "filter"

    @property
    def not_found(self) -> str:
        """WFP's code where there is no such object."""
        return f"FWP_E_{self.name}_NOT_FOUND"

    @property
    def plural(self) -> str:
        """As in a policy file and in names of methods."""
        return f"{self.value}s"

    @property
    def words(self) -> str:
        """For a message."""
        return self.value.replace("_", " ")


KIND_OF: dict[type, Kind] = {
    Provider: Kind.PROVIDER, Sublayer: Kind.SUBLAYER, ProviderContext: Kind.PROVIDER_CONTEXT, Callout: Kind.CALLOUT,
}  # fmt: skip
OBJECT_KINDS: tuple[Kind, ...] = (Kind.PROVIDER, Kind.SUBLAYER, Kind.PROVIDER_CONTEXT, Kind.CALLOUT)
DEPENDENT_FIRST = (Kind.FILTER, Kind.CALLOUT, Kind.PROVIDER_CONTEXT, Kind.SUBLAYER, Kind.PROVIDER)
"""The order of removal: what refers to others goes first."""


class Lifetime(enum.Enum):
    """How long an object lives ("Object Management").  Persistent and boot-time objects have no place here yet."""

    BUILTIN = "builtin"
    FILE = "file"
    """Until a reload whose policy file does not have it."""
    STATIC = "static"
    """Until it is deleted or the daemon ends."""
    DYNAMIC = "dynamic"
    """At most as long as its session."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Who added an object."""

    lifetime: Lifetime
    session: uuid.UUID | None = None
    """The session's key; None for built-in objects and those of the policy file."""
    uid: int = 0

    def may_refer_to(self, other: Owner) -> bool:
        """Whether an object of this owner may refer to one of the other: it must not die earlier."""
        if other.lifetime is not Lifetime.DYNAMIC:
            return True
        return self.lifetime is Lifetime.DYNAMIC and self.session == other.session

    def goes_with(self, session: uuid.UUID) -> bool:
        """Whether what it owns goes with that session."""
        return self.lifetime is Lifetime.DYNAMIC and self.session == session


BUILTIN = Owner(Lifetime.BUILTIN)
OF_FILE = Owner(Lifetime.FILE)


@dataclass(frozen=True, slots=True)
class Entry:
    """An object that is no filter."""

    item: Item
    owner: Owner
    id: int
    """Its run-time number; given by the engine, never again to another object of its kind."""
    call: object = None
    """Of a callout that a session registered: its callable."""


@dataclass(frozen=True, slots=True)
class FilterEntry:
    """What the engine keeps of a filter that a session added; the rest is in the tables."""

    key: bytes
    name: str
    provider: str
    owner: Owner
    sublayer: uuid.UUID
    callout: uuid.UUID | None = None
    context: uuid.UUID | None = None
    expires: float | None = None
    """Seconds of CLOCK_BOOTTIME, which goes on while the machine sleeps."""

    @property
    def id(self) -> int:
        """Its run-time number."""
        return filter_id(self.key)


@dataclass(frozen=True, slots=True)
class Added:
    """A filter of a transaction, on its way into the tables, with what its names mean."""

    item: Filter
    entry: FilterEntry
    sublayer: Sublayer
    callout: Callout | None = None
    context: ProviderContext | None = None


def filter_id(key: bytes) -> int:
    """The run-time number of a filter, 64 bits: the head of its key, so it is the same after a reload."""
    return int.from_bytes(key[:8], "big")


class Event(enum.Enum):
    """What happened to an object (FWPM_CHANGE_TYPE)."""

    ADD = "add"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Change:
    """An object that came or went, for subscribers."""

    event: Event
    kind: Kind
    key: uuid.UUID
    id: int
    name: str
    provider: str

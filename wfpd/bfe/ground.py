"""What the engine stands on: the tables that packets are decided by."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from wfpd.bfe.objects import Kind
from wfpd.dataplane import Snapshot
from wfpd.model.policy import Callout

if TYPE_CHECKING:
    from wfpd.bfe.working import Store, Working


class Ground(Protocol):
    """The running tables.  Every call may come from any thread."""

    def apply(
        self,
        packed: bytes | None,
        callouts: Sequence[tuple[Callout, object]],
        remove: Iterable[bytes],
        contexts: Mapping[str, object],
    ) -> int:
        """Add the filters of a packed policy and remove those of these keys with one switch; the new generation.

        `callouts`: those of the packed policy in its order, each with its callable, or None where it is known or not
        registered; `contexts`: data of the provider contexts that it names.  Nothing has changed where it raises.
        """

    @property
    def snapshot(self) -> Snapshot | None:
        """What runs."""

    @property
    def generation(self) -> int:
        """Of what runs; 0 before the first policy."""

    def has(self, key: bytes) -> bool:
        """Whether a filter of this key runs."""

    def is_of_file(self, key: bytes) -> bool:
        """Whether a filter of this key runs that the policy file has."""

    def name_of(self, key: bytes) -> tuple[str, str]:
        """Name and provider of the running filter of this key; two empty texts if there is none."""

    def names(self) -> Mapping[bytes, tuple[str, str]]:
        """Name and provider of every running filter."""

    def refers(self, key: bytes, kind: Kind, to: uuid.UUID, name: str) -> bool:
        """Whether the running filter of this key refers to that object."""

    def references(self, kind: Kind, to: uuid.UUID, name: str) -> int:
        """How many running filters refer to an object."""

    def callout_state(self, name: str, key: bytes) -> dict[str, Any]:
        """Of a callout: how often it was called (`calls`) and has failed (`errors`), whether its time budget has it
        `suspended`, and where it runs its `class`, the `layers` that this applies to (empty: any), and how many flow
        `contexts` it keeps."""

    def load(self, callout: Callout) -> object:
        """Import a callout and make one; its callable.  PolicyError if that fails."""

    def staged(self, packed: bytes) -> Snapshot:
        """Tables of filters that do not run."""

    def find(self, snapshot: Snapshot, key: bytes) -> int | None:
        """The number of a snapshot's filter."""

    def key(self, snapshot: Snapshot, place: int) -> bytes:
        """The key of a snapshot's filter."""

    def enumerate(self, snapshot: Snapshot, template: Mapping[str, Any], objects: Store | Working) -> Sequence[int]:
        """The numbers of the filters that a template admits, in the order of arbitration.  FwpError if it can admit
        none."""

    def described(self, snapshot: Snapshot, place: int) -> dict[str, Any]:
        """A snapshot's filter as a policy file would say it, with its hits where it runs."""

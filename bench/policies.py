"""Generated policies as the packet path's tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wfpd.compiler.pack import pack
from wfpd.dataplane import Snapshot
from wfpd.model.policy import Policy, Word


def snapshot(policy: Policy, callouts: Sequence[Any]) -> Snapshot:
    """The policy's tables; every fault permits."""
    return Snapshot(pack(policy), list(callouts), generation=1, on_error=Word.PERMIT, on_malformed=Word.PERMIT,
                    on_late=Word.PERMIT, flows_full=Word.PERMIT)  # fmt: skip

"""What the compiled modules account for when they are built with WFPD_DEBUG (ext/wfpd/dataplane/_accounts.h)."""

from __future__ import annotations

import ctypes
import functools
import sys
from dataclasses import dataclass

NAMES = ("allocated", "freed", "received", "verdicts")


@dataclass(frozen=True)
class Accounts:
    """Sums over the modules loaded, since the process started."""

    allocated: int
    """Pieces of memory."""
    freed: int
    received: int
    """Packets read from queues."""
    verdicts: int
    """Packets of those that a verdict decided."""

    @property
    def memory(self) -> int:
        """Pieces that are in use."""
        return self.allocated - self.freed

    @property
    def undecided(self) -> int:
        """Packets without a verdict."""
        return self.received - self.verdicts


@functools.cache
def _module_accounts(path: str) -> tuple[ctypes.c_int64, ...] | None:
    """The accounts of one library; none if it is built without."""
    library = ctypes.CDLL(path)
    try:
        return tuple(ctypes.c_int64.in_dll(library, f"wfpd_{name}") for name in NAMES)
    except ValueError:
        return None


def read_accounts() -> Accounts | None:
    """The accounts as they stand; None in a build that keeps none."""
    ours = [module for name, module in list(sys.modules.items()) if name.startswith("wfpd.")]
    files = [getattr(module, "__file__", None) for module in ours]
    kept = [found for path in files if path and path.endswith(".so") and (found := _module_accounts(path))]
    return Accounts(*(sum(one[i].value for one in kept) for i in range(len(NAMES)))) if kept else None

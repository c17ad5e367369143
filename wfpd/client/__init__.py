"""wfpd from a program: `Client` and `AsyncClient` on the control socket (docs/client.md)."""

from typing import TYPE_CHECKING

from wfpd.client._sync import Client, Transaction
from wfpd.client.errors import CallError, DaemonFault, InvalidCall, NotAllowed, Refused
from wfpd.control.protocol import DEFAULT_PATH
from wfpd.errors import ControlError

if TYPE_CHECKING:
    from wfpd.client._aio import AsyncClient

__all__ = [
    "DEFAULT_PATH", "AsyncClient", "CallError", "Client", "ControlError", "DaemonFault", "InvalidCall", "NotAllowed",
    "Refused", "Transaction",
]  # fmt: skip


def __getattr__(name: str) -> object:
    """AsyncClient when it is asked for: commands do not wait for asyncio to be imported."""
    if name != "AsyncClient":
        raise AttributeError(name)
    from wfpd.client._aio import AsyncClient

    return AsyncClient

"""Network namespaces of our own: made on entry, compared with the caller's, gone at the end, also after a failure.

What benches and tests do to packets happens in these and nowhere else.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Self

from wfpd.errors import KernelError
from wfpd.netfilter.commands import Commands
from wfpd.netfilter.namespace import namespace_id, path_of


class OwnNamespaces:
    """A context manager.  A subclass fills them in `build`; what has to go before they do goes by `cleanup`."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)
        self.cleanup = contextlib.ExitStack()

    def __enter__(self) -> Self:
        try:
            for name in self._names:
                self._make(name)
            self.build()
        except BaseException:
            self.cleanup.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.cleanup.close()

    def build(self) -> None:
        """Put links, addresses and rules into the namespaces, which are there now."""

    def _make(self, name: str) -> None:
        if path_of(name).exists():
            raise KernelError(f"there is a network namespace {name} already: it is not ours")
        self.cleanup.callback(_delete, name)
        Commands().run(["ip", "netns", "add", name])
        if namespace_id(path_of(name)) == namespace_id():
            raise KernelError(f"network namespace {name} is the caller's own: nothing is done there")


def _delete(name: str) -> None:
    if path_of(name).exists():
        Commands().run(["ip", "netns", "delete", name])

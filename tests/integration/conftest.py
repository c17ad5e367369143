"""Fixtures of the tests that need real packets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.netns import Network
from tests.proven import need_root


@pytest.fixture(scope="session")
def needs_root() -> None:
    """Network namespaces can be made."""
    need_root()


@pytest.fixture
def net(needs_root: None) -> Iterator[Network]:
    """Client - router - server, fresh for the test."""
    with Network() as network:
        yield network

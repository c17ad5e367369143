"""Fixtures of the tests that need real packets."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.integration.netns import Network


@pytest.fixture(scope="session")
def needs_root() -> None:
    """Skip only where the reason is proven, and never where CI says that the test must run."""
    if os.geteuid() == 0:
        return
    if os.environ.get("CI", "") in ("1", "true"):
        pytest.fail("network namespaces need root, and CI says that these tests must run")
    pytest.skip(f"network namespaces need root; running as uid {os.geteuid()}")


@pytest.fixture
def net(needs_root: None) -> Iterator[Network]:
    """Client - router - server, fresh for the test."""
    with Network() as network:
        yield network

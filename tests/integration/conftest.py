"""Fixtures of the tests that need real packets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.netns import Network
from tests.integration.running import Wfpd
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


@pytest.fixture
def wfpd(net: Network, tmp_path: Path) -> Wfpd:
    """The daemon of the router, not yet started."""
    return Wfpd(net, tmp_path)


@pytest.fixture(params=[4, 6], ids=["v4", "v6"])
def family(request: pytest.FixtureRequest) -> int:
    """Each of the two."""
    return int(request.param)

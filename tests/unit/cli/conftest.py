"""A control socket's path, and a daemon that answers there."""

from collections.abc import Iterator

import pytest

from tests.unit.cli.answering import Daemon


@pytest.fixture
def path(tmp_path) -> str:
    return str(tmp_path / "c.sock")


@pytest.fixture
def daemon(path: str) -> Iterator[Daemon]:
    daemon = Daemon(path)
    yield daemon
    daemon.server.close()

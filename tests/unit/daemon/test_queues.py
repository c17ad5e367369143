"""Binding a queue: what a refusal says."""

from __future__ import annotations

import pathlib

import pytest

from wfpd.daemon import queues
from wfpd.daemon.queues import BoundQueue
from wfpd.errors import KernelError


def test_a_length_of_zero_is_refused_because_it_drops_everything() -> None:
    with pytest.raises(KernelError, match="length of 0"):
        BoundQueue(9, fail_open=True, error_permits=True, copy_bytes=2048, length=0)


@pytest.mark.parametrize(
    ("table", "message"),
    [(None, "no NFQUEUE"), ("    7  1234 0 2 65535 0 0 1  1\n", "taken by another program"), ("", "cannot be bound")],
)
def test_a_refused_bind_says_what_it_means(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, table: str | None, message: str
) -> None:
    path = tmp_path / "nfnetlink_queue"
    if table is not None:
        path.write_text(table)
    monkeypatch.setattr(queues, "NFNETLINK_QUEUE", path)
    assert message in queues._bind_error(7, OSError("Failed to create queue 7")).message

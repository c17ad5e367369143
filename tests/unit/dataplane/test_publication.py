"""A published policy lives as long as somebody may hold it, and no longer."""

from __future__ import annotations

import pathlib
import sys

import pytest

from wfpd.config import load_policy
from wfpd.dataplane._engine import Engine
from wfpd.dataplane._host import Host
from wfpd.dataplane._table import Snapshot
from wfpd.replay import make_snapshot


@pytest.fixture
def policies(tmp_path: pathlib.Path) -> list[Snapshot]:
    path = tmp_path / "policy.yaml"
    path.write_text("version: 1\nfilters: [{name: one, layer: ipforward_v4, action: block}]\n")
    return [make_snapshot(load_policy(str(path), trust="warn")) for _ in range(2)]


def test_a_replaced_policy_is_released_at_once_where_no_worker_is_in_a_batch(policies: list[Snapshot]) -> None:
    first, second = policies
    held = sys.getrefcount(first)
    engine = Engine(3)
    assert engine.swap(first) and engine.snapshot is first
    assert sys.getrefcount(first) == held + 1
    assert engine.swap(second) and engine.snapshot is second
    assert engine.reap() and sys.getrefcount(first) == held


def test_a_new_view_of_the_host_keeps_the_policy(policies: list[Snapshot]) -> None:
    engine = Engine(1)
    with pytest.raises(RuntimeError, match="needs a policy"):
        engine.set_host(Host())
    engine.swap(policies[0])
    host = Host()
    held = sys.getrefcount(host)
    assert engine.set_host(host) and engine.snapshot is policies[0]
    assert sys.getrefcount(host) == held + 1
    engine.swap(policies[1])
    assert sys.getrefcount(host) == held + 1  # The policy changed, the host did not.
    assert engine.set_host(Host()) and sys.getrefcount(host) == held

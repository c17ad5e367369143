"""The daemon's decisions that need no kernel: queue numbers, hooks, listening ports."""

from __future__ import annotations

import pathlib
import signal
import socket
from collections.abc import Iterator

import pytest

from wfpd.config import load_policy
from wfpd.daemon.life import Signals, hooks_with_layers, listening_ports
from wfpd.model.policy import Policy
from wfpd.netfilter.ruleset import needed_hooks
from wfpd.replay import make_snapshot


def load(tmp_path: pathlib.Path, *layers: str) -> Policy:
    path = tmp_path / "policy.yaml"
    filters = "\n".join(f"  - {{name: f{n}, layer: {layer}, action: permit}}" for n, layer in enumerate(layers))
    path.write_text(f"version: 1\nfilters:\n{filters}\n" if layers else "version: 1\n")
    return load_policy(str(path), trust="warn")


def test_only_hooks_with_layers_are_queued(tmp_path: pathlib.Path) -> None:
    for layers in ((), ("ipforward",), ("inbound_ippacket",), ("ale_auth_connect",), ("outbound_transport_discard",),
                   ("stream_packet", "outbound_ippacket")):  # fmt: skip
        policy = load(tmp_path, *layers)
        assert hooks_with_layers(make_snapshot(policy)) == needed_hooks(policy)


def test_a_listening_port_is_seen() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert server.getsockname()[1] in listening_ports()


@pytest.fixture
def signals() -> Iterator[Signals]:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        yield Signals()
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_signal_is_an_event_of_the_loop(signals: Signals) -> None:
    signal.raise_signal(signal.SIGHUP)
    assert signals.wait(1.0) == [signal.SIGHUP]
    assert signals.wait(0.01) == []


def test_a_stop_that_comes_during_the_start_is_seen_and_still_told(signals: Signals) -> None:
    assert not signals.stop_asked
    signal.raise_signal(signal.SIGHUP)
    assert not signals.stop_asked
    signal.raise_signal(signal.SIGTERM)
    assert signals.stop_asked
    assert signals.wait(0) == [signal.SIGHUP, signal.SIGTERM]
    assert not signals.stop_asked

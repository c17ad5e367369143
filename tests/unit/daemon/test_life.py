"""The daemon's decisions that need no kernel: queue numbers, hooks, listening ports."""

from __future__ import annotations

import dataclasses
import pathlib
import signal
import socket
from collections.abc import Iterator

import pytest

from wfpd.compiler.pack import pack
from wfpd.config import load_policy
from wfpd.control.handover import Compiled
from wfpd.daemon.life import Daemon, Signals, hooks_with_layers, listening_ports
from wfpd.errors import KernelError
from wfpd.model.policy import Attachment, Policy, Word
from wfpd.netfilter import rules
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


class BoundQueues:
    """Queues that only note how they are configured."""

    bound = True

    def __init__(self) -> None:
        self.words: list[Word] = []

    def set_on_full(self, word: Word) -> None:
        self.words.append(word)

    def narrow(self) -> None: ...


def test_a_policy_whose_rules_cannot_be_installed_is_taken_back(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compiled(action: str, word: str) -> Compiled:
        path = tmp_path / "policy.yaml"
        filters = f"filters: [{{name: all, layer: ipforward, action: {action}}}]"
        path.write_text(
            f"version: 1\nattach: [{{hook: forward, queues: 0-0}}]\nfaults: {{on_full: {word}}}\n{filters}\n"
        )
        policy = load_policy(str(path), trust="warn")
        return Compiled(policy, memoryview(pack(policy)), frozenset())

    refused: list[rules.RuleSet] = []

    def install(ruleset: rules.RuleSet, commands: object) -> bool:
        refused.append(ruleset)
        raise KernelError("no")

    first, second = compiled("permit", "permit"), compiled("block", "block")
    daemon = Daemon(first)
    daemon.publish(first)
    running = daemon.engine.snapshot
    queues = BoundQueues()
    monkeypatch.setattr(daemon, "_queues", queues)
    monkeypatch.setattr(rules, "install", install)
    with pytest.raises(KernelError, match="no"):
        daemon.publish(second)
    assert daemon.engine.snapshot is running and daemon.policy is first.policy and daemon.generation == 1
    assert queues.words == [Word.BLOCK, Word.PERMIT] and len(refused) == 2


def test_a_filter_whose_rules_cannot_be_installed_is_taken_back(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def install(ruleset: rules.RuleSet, commands: object) -> bool:
        raise KernelError("no")

    policy = load(tmp_path, "inbound_ippacket")
    daemon = Daemon(Compiled(policy, memoryview(pack(policy)), frozenset()))
    daemon.publish(Compiled(policy, memoryview(pack(policy)), frozenset()))
    monkeypatch.setattr(daemon, "_queues", BoundQueues())
    monkeypatch.setattr(daemon, "attach", (Attachment("forward"),))
    monkeypatch.setattr(daemon, "_ranges", [(0, 0)])
    monkeypatch.setattr(rules, "install", install)
    more = load(tmp_path, "stream_packet", "ipforward_v4")
    with pytest.raises(KernelError, match="no"):
        daemon.change(pack(dataclasses.replace(more, filters=tuple(more.filters)[-1:])))
    snapshot = daemon.engine.snapshot
    assert [snapshot.filter_name(index) for index in snapshot.filter_ids()] == ["f0", "f0"]
    daemon.tables.close()

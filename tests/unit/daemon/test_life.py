"""The daemon's decisions that need no kernel: queue numbers, hooks, listening ports."""

from __future__ import annotations

import dataclasses
import pathlib
import signal
import socket
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from wfpd.compiler.pack import pack
from wfpd.config import load_policy
from wfpd.control.handover import Compiled
from wfpd.daemon.life import Daemon, Signals, hooks_with_layers, listening_ports
from wfpd.errors import FwpError, KernelError
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


CALLOUT = """
class C:
    log = []
    def __init__(self, step="1", refuse=""):
        self.step, self.refuse = step, refuse
    def classify(self, c):
        pass
    def notify(self, n):
        self.log.append((self.step, n.kind, n.filter, n.provider_context))
        if n.filter == self.refuse:
            raise ValueError("not here")
    def flow_delete(self, f):
        self.log.append((self.step, "flow", f.context))
    def close(self):
        self.log.append((self.step, "close"))
"""


@pytest.fixture
def log(tmp_path: pathlib.Path) -> Iterator[list[tuple[object, ...]]]:
    (tmp_path / "life_callout.py").write_text(CALLOUT)
    sys.path.insert(0, str(tmp_path))
    import life_callout  # type: ignore[import-not-found]

    yield life_callout.C.log
    sys.path.remove(str(tmp_path))
    del sys.modules["life_callout"]


def with_callout(tmp_path: pathlib.Path, options: str, *filters: str) -> Compiled:
    path = tmp_path / "policy.yaml"
    lines = [
        f"  - {{name: {name}, layer: ipforward_v4, action: {{callout: c}}, provider_context: p}}" for name in filters
    ]
    path.write_text("\n".join([
        "version: 1", f"daemon: {{callout_path: [{tmp_path}]}}", "provider_contexts: [{name: p, data: 7}]",
        f"callouts: [{{name: c, use: 'life_callout:C', options: {options}}}]", "filters:", *lines]) + "\n")  # fmt: skip
    policy = load_policy(str(path), trust="warn")
    return Compiled(policy, memoryview(pack(policy)), frozenset())


def taken(log: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    found = list(log)
    log.clear()
    return found


def test_a_callout_lives_through_reloads_and_a_refused_policy_leaves_no_trace(
    tmp_path: pathlib.Path, log: list[tuple[object, ...]]
) -> None:
    first = with_callout(tmp_path, "{step: one}", "a")
    daemon = Daemon(first)
    daemon.publish(first)
    assert taken(log) == [("one", "add", "a", 7)]
    (item,) = daemon.engine.snapshot.callouts
    daemon.engine.flows.contexts.add(9, 0, item, "kept")
    daemon.publish(with_callout(tmp_path, "{step: one}", "a", "b"))
    assert taken(log) == [("one", "add", "b", 7)]
    assert daemon.engine.snapshot.callouts == [item]
    running = daemon.engine.snapshot
    with pytest.raises(FwpError, match="refuses filter"):
        daemon.publish(with_callout(tmp_path, "{step: two, refuse: bad}", "a", "bad"))
    assert daemon.engine.snapshot is running and daemon.callouts.running == (item,)
    told = [("two", "add", "a", 7), ("two", "add", "bad", 7), ("two", "delete", "a", 7)]
    assert sorted(one for one in taken(log) if one[1] != "close") == sorted(told)
    daemon.publish(with_callout(tmp_path, "{step: three}", "a"))
    assert taken(log) == [("three", "add", "a", 7), ("one", "delete", "a", 7), ("one", "delete", "b", 7)]
    (heir,) = daemon.engine.snapshot.callouts
    assert (item.over, heir.over) == (b"\1", b"\0"), "nobody finds it by its name any more"
    daemon.tend_callouts()
    assert taken(log) == [("one", "flow", "kept"), ("one", "close")]
    daemon.stop()
    assert taken(log) == [("three", "close")]


def test_a_session_s_filter_may_be_refused_and_its_provider_context_is_handed_over(
    tmp_path: pathlib.Path, log: list[tuple[object, ...]]
) -> None:
    first = with_callout(tmp_path, "{step: one, refuse: bad}", "a")
    daemon = Daemon(first)
    daemon.publish(first)
    taken(log)
    more = with_callout(tmp_path, "{step: one, refuse: bad}", "bad").policy
    generation = daemon.generation
    with pytest.raises(FwpError) as caught:
        daemon.change(pack(more), [(more.callouts[0], None)])
    assert caught.value.code == "FWP_E_CALLOUT_NOTIFICATION_FAILED"
    assert daemon.generation == generation and daemon.engine.snapshot.n_filters == 1
    taken(log)
    good = with_callout(tmp_path, "{}", "good").policy
    filters = [dataclasses.replace(one, provider_context="mine") for one in good.filters]
    mine = (dataclasses.replace(good.provider_contexts[0], name="mine"),)
    renamed = dataclasses.replace(good, filters=filters, provider_contexts=mine)
    daemon.change(pack(renamed), [(good.callouts[0], None)], contexts={"mine": [1, 2]})
    assert taken(log) == [("one", "add", "good", [1, 2])]
    daemon.tables.fold()
    daemon.tables.rebuild()
    key = next(iter(renamed.filters)).key.bytes
    daemon.change(None, remove=[key])
    assert taken(log) == [("one", "delete", "good", [1, 2])]
    daemon.stop()


def test_a_parking_queue_whose_thread_did_not_start_gets_one_at_the_next_change() -> None:
    queues = SimpleNamespace(parks=False, opened=0)

    def open_parking(*_: object) -> None:
        queues.opened, queues.parks = queues.opened + 1, True

    def thread(name: str, *_: object) -> None:
        if queues.opened == 1:
            raise RuntimeError("can't start new thread")
        threads.append(SimpleNamespace(name=name))

    queues.open_parking = open_parking
    threads: list[Any] = []
    daemon: Any = SimpleNamespace(_queues=queues, _settings=None, _threads=threads, _thread=thread, _serve=None,
                                  engine=SimpleNamespace(run_parking=None))  # fmt: skip
    with pytest.raises(RuntimeError):
        Daemon._park(daemon, faults=None)  # type: ignore[arg-type]
    for _ in range(2):
        Daemon._park(daemon, faults=None)  # type: ignore[arg-type]
    assert [one.name for one in threads] == ["wfpd-parking"]

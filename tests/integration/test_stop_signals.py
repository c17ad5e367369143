"""A stop at any moment, with its signal at every process of the daemon, leaves nothing behind.

A service manager may signal the whole control group, a terminal the whole foreground group: a rule
tool that the daemon has just started gets the signal too, again and again while the stop lasts.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.netns import Network, wait_until
from tests.integration.running import Wfpd, sending

pytestmark = pytest.mark.root
PERMIT = "  - {name: all, layer: ipforward, action: permit}"


def children(pid: int) -> set[int]:
    """Processes that `pid` has started; empty once it is gone."""
    found: set[int] = set()
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError):
                found.update(map(int, Path(f"/proc/{pid}/task/{task}/children").read_text().split()))
    return found


@contextlib.contextmanager
def every_child_gets(number: signal.Signals, pid: int) -> Iterator[set[int]]:
    """Each process that `pid` starts meanwhile gets the signal as soon as it is seen, and those seen already."""
    hit: set[int] = set()
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            for child in children(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, number)
                    hit.add(child)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield hit
    finally:
        stop.set()
        thread.join()


@pytest.fixture
def wfpd(net: Network, tmp_path: Path) -> Wfpd:
    made = Wfpd(net, tmp_path)
    made.write(PERMIT)
    return made


def nothing_left(net: Network) -> bool:
    found = net.router.rules()
    return "NFQUEUE" not in found and "WFPD" not in found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_whose_signal_reaches_the_rule_tools_too_removes_the_rules(
    wfpd: Wfpd, net: Network, number: signal.Signals
) -> None:
    wfpd.start()
    assert wfpd.process is not None
    with net.udp_receiver(net.server, 5000) as receiver, sending(net) as sender:
        with every_child_gets(number, wfpd.process.pid) as hit:
            assert wfpd.end(number) == 0, wfpd.log.read_text()
        assert len(hit) >= 4  # Listings and transactions of both families: else this test proves nothing.
        time.sleep(0.2)
        sent = sender.stop()
        assert wait_until(lambda: receiver.count == sent), (receiver.count, sent)
    assert nothing_left(net), wfpd.log.read_text()


def queue_is_bound(net: Network) -> bool:
    path = Path("/proc/thread-self/net/netfilter/nfnetlink_queue")
    return bool(net.router.call(path.read_text).strip())


STAGES: dict[str, Callable[[Wfpd, Network], bool]] = {
    "python is starting": lambda wfpd, net: wfpd.process is not None,
    "the policy is compiled": lambda wfpd, net: wfpd.process is not None and bool(children(wfpd.process.pid)),
    "the control socket is there": lambda wfpd, net: wfpd.socket.exists(),
    "the queue is bound": lambda wfpd, net: queue_is_bound(net),
    "the first rules are there": lambda wfpd, net: "NFQUEUE" in net.router.run(["iptables-nft-save"]).stdout,
    "everything is up": lambda wfpd, net: "wfpd is enforcing" in wfpd.log.read_text(),
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stop_during_the_start_leaves_nothing_behind(wfpd: Wfpd, net: Network, stage: str) -> None:
    with net.udp_receiver(net.server, 5000) as receiver, sending(net) as sender:
        wfpd.spawn()
        assert wfpd.process is not None
        assert wait_until(lambda: STAGES[stage](wfpd, net), 20.0, 0.001), wfpd.log.read_text()
        with every_child_gets(signal.SIGTERM, wfpd.process.pid):
            # Before its first line runs, the signal ends it as it ends any program.
            assert wfpd.end() in (0, -signal.SIGTERM), wfpd.log.read_text()
        time.sleep(0.2)
        sent = sender.stop()
        assert wait_until(lambda: receiver.count == sent), (receiver.count, sent)
    assert nothing_left(net), wfpd.log.read_text()
    assert "fault" not in wfpd.log.read_text()


def test_a_reload_under_way_puts_no_rules_back(wfpd: Wfpd, net: Network) -> None:
    wfpd.start()
    assert wfpd.process is not None
    for _ in range(4):
        wfpd.process.send_signal(signal.SIGHUP)
        time.sleep(0.02)
    assert wfpd.end() == 0
    assert nothing_left(net), wfpd.log.read_text()


def test_rules_that_cannot_be_removed_are_said_and_are_no_clean_end(wfpd: Wfpd, net: Network) -> None:
    # Nothing else makes every transaction fail: a rule in a chain of another tool that jumps into one of ours
    # by a rule that only the other back end can see.
    wfpd.start()
    net.router.run(["nft", "add", "rule", "ip", "mangle", "FORWARD", "meta", "mark", "vmap", "{", "7", ":", "jump",
                    "WFPD_FWD", "}"])  # fmt: skip
    assert wfpd.end() == 3
    assert "could not be removed" in wfpd.log.read_text()
    assert "on_absent: block" not in wfpd.log.read_text()

"""A start that fails means what on_absent says: with a sender, every packet counted.

Rules that stand stay; where a reboot took them away, block puts them in place again.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.integration.netns import Network, wait_until
from tests.integration.running import Wfpd, sending

pytestmark = pytest.mark.root
PERMIT = "  - {name: all, layer: ipforward, action: permit}"
BROKEN = "  - {name: broken, layer: nowhere, action: permit}"
BLOCK = "on_absent: block"


def run_once(wfpd: Wfpd, faults: str) -> None:
    """A start and a clean stop, so that the words are kept."""
    wfpd.write(PERMIT, faults=faults)
    wfpd.start()
    assert wfpd.end() == 0


def reboot(net: Network) -> None:
    """What a reboot does to rules; files stay."""
    net.run(net.router, [sys.executable, "-m", "wfpd", "purge"])
    assert "WFPD" not in net.router.rules()


def fails(wfpd: Wfpd, *options: str) -> int:
    """The exit status of a start that has to fail."""
    wfpd.spawn(*options)
    assert wfpd.process is not None
    status = wfpd.process.wait(30)
    assert status != 0
    return status


def passed_of(net: Network, seconds: float = 0.4) -> tuple[int, int]:
    """How many datagrams of how many sent come through now."""
    with net.udp_receiver(net.server, 5000) as receiver, sending(net) as sender:
        time.sleep(seconds)
        sent = sender.stop()
        wait_until(lambda: receiver.count == sent, 1.0)
        assert sent > 20
        return receiver.count, sent


def test_a_broken_policy_after_a_reboot_puts_the_kept_rules_in_place(wfpd: Wfpd, net: Network) -> None:
    run_once(wfpd, BLOCK)
    reboot(net)
    wfpd.write(BROKEN)
    assert fails(wfpd) == 1
    log = wfpd.log.read_text()
    assert "nowhere" in log and "on_absent: block (the last accepted policy): the rules were put in place" in log
    before = wfpd.queue_rule_packets()
    passed, sent = passed_of(net)
    assert passed == 0
    assert wfpd.queue_rule_packets() - before == sent
    wfpd.write(PERMIT)  # A good policy adopts the rules, replaces them, and lets packets pass.
    wfpd.start()
    assert passed_of(net)[0] > 0
    assert wfpd.end() == 0
    passed, sent = passed_of(net)
    assert passed == sent and "WFPD" not in net.router.rules()


def test_the_sender_meets_no_gap_while_a_failing_start_finds_its_rules_in_place(wfpd: Wfpd, net: Network) -> None:
    run_once(wfpd, BLOCK)
    wfpd.write(BROKEN)
    before = wfpd.queue_rule_packets()
    with net.udp_receiver(net.server, 5000) as receiver, sending(net) as sender:
        for _ in range(3):
            assert fails(wfpd) == 1
        sent = sender.stop()
        time.sleep(0.2)
        assert receiver.count == 0
    assert wfpd.queue_rule_packets() - before == sent > 100
    assert "rules without the bypass flag stand and stay" in wfpd.log.read_text()


def test_a_broken_policy_after_permit_lets_everything_pass_and_touches_no_rule(wfpd: Wfpd, net: Network) -> None:
    run_once(wfpd, "on_absent: permit")
    wfpd.write(BROKEN, faults=BLOCK)  # Its own words cannot be read.
    assert fails(wfpd) == 1
    passed, sent = passed_of(net)
    assert passed == sent
    assert "WFPD" not in net.router.rules()


def test_without_kept_words_a_broken_policy_lets_everything_pass(wfpd: Wfpd, net: Network) -> None:
    wfpd.write(BROKEN, faults=BLOCK)
    assert fails(wfpd) == 1
    passed, sent = passed_of(net)
    assert passed == sent


@pytest.mark.parametrize("damage", ["", "{}", '{"version": 99}', "\0" * 100])
def test_a_damaged_state_file_is_said_and_lets_everything_pass(wfpd: Wfpd, net: Network, damage: str) -> None:
    run_once(wfpd, BLOCK)
    reboot(net)
    (wfpd.folder / "state" / "words.json").write_text(damage)
    wfpd.write(BROKEN)
    assert fails(wfpd) == 1
    assert "words.json cannot be used" in wfpd.log.read_text()
    passed, sent = passed_of(net)
    assert passed == sent


@pytest.mark.parametrize("word", ["permit", "block"])
def test_a_taken_metrics_port_after_a_reboot_means_what_the_policy_itself_says(
    wfpd: Wfpd, net: Network, word: str
) -> None:
    other = "permit" if word == "block" else "block"
    run_once(wfpd, f"on_absent: {other}")
    reboot(net)
    wfpd.write(PERMIT, faults=f"on_absent: {word}")
    with net.router.socket(kind=socket.SOCK_STREAM) as taken:
        taken.bind(("127.0.0.1", 9477))
        taken.listen()
        assert fails(wfpd) == 3
    assert "metrics: cannot listen" in wfpd.log.read_text()
    passed, sent = passed_of(net)
    assert passed == (sent if word == "permit" else 0)
    if word == "permit":
        assert "WFPD" not in net.router.rules()


def test_a_taken_queue_leaves_the_rules_of_the_daemon_that_serves_it(wfpd: Wfpd, net: Network, tmp_path: Path) -> None:
    wfpd.write(PERMIT)
    wfpd.start()
    before = net.router.rules()
    (tmp_path / "other").mkdir()
    other = Wfpd(net, tmp_path / "other")
    other.write(PERMIT, faults=BLOCK)
    other.policy.write_text(other.policy.read_text().replace("127.0.0.1:9477", "127.0.0.1:9478"))
    assert fails(other) == 3
    log = other.log.read_text()
    assert "queue 0 is taken by another program" in log and "a running program serves their queue" in log
    jumps = [line for line in before.splitlines() if "WFPD" in line and not line.startswith(":")]
    assert jumps == [line for line in net.router.rules().splitlines() if "WFPD" in line and not line.startswith(":")]
    passed, sent = passed_of(net)
    assert passed == sent and wfpd.status()["enforcing"]


def test_a_process_without_the_capability_says_that_it_could_not_keep_packets_out(wfpd: Wfpd, net: Network) -> None:
    run_once(wfpd, BLOCK)
    reboot(net)
    drop = ["setpriv", *(f"--{kind}=-all" for kind in ("inh-caps", "ambient-caps", "bounding-set"))]
    done = net.router.call(
        subprocess.run, [*drop, sys.executable, "-m", "wfpd", "run", "--policy", str(wfpd.policy)],
        env=os.environ | {"STATE_DIRECTORY": str(wfpd.folder / "state")}, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert done.returncode == 3
    assert "needs CAP_NET_ADMIN" in done.stderr and "could not be put in place" in done.stderr
    passed, sent = passed_of(net)
    assert passed == sent

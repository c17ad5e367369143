"""The daemon on real traffic: what the declared words mean when it stops, fails, is killed or is late."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.netns import SERVER4, Network, wait_until
from tests.integration.running import Wfpd, sending
from wfpd.client import InvalidCall

PERMIT = "  - {name: all, layer: ipforward, action: permit}"
BLOCK_23 = "  - {name: no-telnet, layer: ipforward, action: block, when: {ip_protocol: udp, ip_destination_port: 23}}"


def settle(count: Callable[[], float]) -> float:
    """A counter's value once it has not moved for 0.3 s; it has to stand still within 15 s."""
    last, since = -1, time.monotonic()
    end = since + 15.0
    while time.monotonic() - since < 0.3:
        assert time.monotonic() < end, f"still counting at {last}"
        now = count()
        if now != last:
            last, since = now, time.monotonic()
        time.sleep(0.02)
    return last


def test_a_clean_stop_with_on_absent_permit_loses_no_packet_and_leaves_no_rule(wfpd: Wfpd, net: Network) -> None:
    wfpd.write(PERMIT)
    with net.udp_receiver(net.server, 5000) as receiver, sending(net) as sender:
        wfpd.start()
        time.sleep(0.5)
        assert wfpd.end() == 0
        time.sleep(0.3)
        sent = sender.stop()
        assert settle(lambda: receiver.count) == sent
    assert "NFQUEUE" not in net.router.rules() and "WFPD" not in net.router.rules()


def test_a_clean_stop_with_on_absent_block_leaves_the_rules_and_every_packet_is_accounted_for(
    wfpd: Wfpd, net: Network
) -> None:
    wfpd.write(PERMIT, faults="on_absent: block")
    wfpd.start()
    with net.udp_receiver(net.server, 5000) as receiver, sending(net) as sender:
        time.sleep(0.5)
        assert wfpd.end() == 0
        passed = settle(lambda: receiver.count)
        time.sleep(0.3)
        sent = sender.stop()
        assert 0 < settle(lambda: receiver.count) == passed < sent
    assert wfpd.queue_rule_packets() == sent
    assert "purge" in wfpd.log.read_text()


@pytest.mark.parametrize("word", ["permit", "block"])
def test_kill_9_means_what_on_absent_says(wfpd: Wfpd, net: Network, word: str) -> None:
    wfpd.write(PERMIT, faults=f"on_absent: {word}")
    wfpd.start()
    with net.udp_receiver(net.server, 5000) as receiver, sending(net) as sender:
        time.sleep(0.3)
        wfpd.end(signal.SIGKILL)
        killed_at = settle(lambda: receiver.count) if word == "block" else receiver.count
        before = sender.sent
        time.sleep(0.5)
        sent = sender.stop()
        received = settle(lambda: receiver.count)
    assert wfpd.queue_rule_packets() == sent
    if word == "block":
        assert received == killed_at < sent
    else:
        # What waited in the queue when the process died is dropped by the kernel whatever the word is.
        assert received >= killed_at + (sent - before) and sent - received <= 16


@pytest.mark.parametrize("word", ["permit", "block"])
def test_a_restart_means_what_on_absent_says(wfpd: Wfpd, net: Network, word: str) -> None:
    wfpd.write(PERMIT, faults=f"on_absent: {word}")
    wfpd.start()
    with net.udp_receiver(net.server, 5000) as receiver, sending(net) as sender:
        time.sleep(0.3)
        assert wfpd.end() == 0
        between = settle(lambda: receiver.count) if word == "block" else receiver.count
        wfpd.start()
        time.sleep(0.3)
        sent = sender.stop()
        received = settle(lambda: receiver.count)
    if word == "permit":
        assert received == sent
    else:
        assert between < received < sent
        assert wfpd.queue_rule_packets() == sent


@pytest.mark.parametrize("word", ["permit", "block"])
def test_a_failed_start_obeys_the_words_of_the_last_accepted_policy(wfpd: Wfpd, net: Network, word: str) -> None:
    wfpd.write(PERMIT, faults=f"on_absent: {word}")
    wfpd.start()
    assert wfpd.end() == 0
    wfpd.write("  - {name: broken, layer: nowhere, action: permit}", faults=f"on_absent: {word}")
    with net.udp_receiver(net.server, 5000) as receiver, sending(net) as sender:
        wfpd.spawn()
        assert wfpd.process is not None and wfpd.process.wait(20) == 1
        time.sleep(0.3)
        sent = sender.stop()
        assert settle(lambda: receiver.count) == (sent if word == "permit" else 0)
    assert "nowhere" in wfpd.log.read_text()


def test_a_queue_that_is_taken_is_said_and_ends_with_3(wfpd: Wfpd, net: Network, tmp_path: Path) -> None:
    wfpd.write(PERMIT)
    wfpd.start()
    (tmp_path / "other").mkdir()
    other = Wfpd(net, tmp_path / "other")
    other.write(PERMIT)
    other.policy.write_text(other.policy.read_text().replace("127.0.0.1:9477", "127.0.0.1:9478"))
    other.spawn()
    assert other.process is not None and other.process.wait(20) == 3
    assert "queue 0 is taken by another program" in other.log.read_text()
    assert wfpd.status()["enforcing"]


def test_blocks_and_permits_are_counted_and_told_as_events(wfpd: Wfpd, net: Network) -> None:
    wfpd.write(BLOCK_23)
    wfpd.start()
    with net.udp_receiver(net.server, 5000) as good, net.udp_receiver(net.server, 23) as bad:
        net.send_udp(net.client, 30, 64, 23)
        net.send_udp(net.client, 20, 64, 5000)
        assert good.wait_for(20)
        assert wait_until(lambda: wfpd.metric("wfpd_drops_total", layer="ipforward_v4", reason="filter") == 30)
        assert bad.count == 0
    assert wfpd.metric("wfpd_packets_total", verdict="permit") == 20
    assert wfpd.metric("wfpd_bytes_total", verdict="block") == 30 * (64 + 28)
    assert wait_until(lambda: wfpd.eve.exists() and wfpd.eve.read_text().count("\n") >= 1)
    (line,) = [json.loads(text) for text in wfpd.eve.read_text().splitlines()]
    assert (line["event_type"], line["dest_port"], line["wfp"]["filter"]) == ("drop", 23, "no-telnet")


def test_a_reload_changes_the_verdict_and_a_bad_one_changes_nothing(wfpd: Wfpd, net: Network) -> None:
    wfpd.write(PERMIT)
    wfpd.start()
    with net.udp_receiver(net.server, 23) as receiver:
        net.send_udp(net.client, 5, 64, 23)
        assert receiver.wait_for(5)
        wfpd.write(BLOCK_23)
        assert wfpd.call("reload")["generation"] == 2
        net.send_udp(net.client, 5, 64, 23)
        wfpd.write("  - {name: broken, layer: nowhere, action: permit}")
        refused = wfpd.call("reload")
        assert not refused["successful"] and "nowhere" in refused["problems"][0]["text"]
        net.send_udp(net.client, 5, 64, 23)
        assert wait_until(lambda: wfpd.metric("wfpd_drops_total", reason="filter") == 10)
        assert receiver.count == 5
    assert wfpd.metric("wfpd_config_last_reload_successful") == 0
    assert wfpd.metric("wfpd_policy_generation") == 2


def test_no_packet_is_lost_or_decided_by_a_mixture_through_two_hundred_reloads(wfpd: Wfpd, net: Network) -> None:
    # Both policies block ports 23 and 24, at different layers: only a mixture of the two would let one pass.
    attach = "  - {hook: input, queues: 0-0}"
    at = "  - {{name: {name}, layer: {layer}, action: block, when: {{ip_local_port: {port}, ip_protocol: udp}}}}"

    def policy(first: int, second: int) -> str:
        return "\n".join((at.format(name="early", layer="inbound_transport", port=first),
                          at.format(name="late", layer="datagram_data", port=second)))  # fmt: skip

    wfpd.write(policy(23, 24), attach=attach)
    wfpd.start()
    router = "10.201.1.1"
    sockets = [net.client.socket() for _ in range(3)]
    ports = (23, 24, 5000)
    sent = dict.fromkeys(ports, 0)
    with (
        net.udp_receiver(net.router, 23) as early,
        net.udp_receiver(net.router, 24) as late,
        net.udp_receiver(net.router, 5000) as free,
    ):
        for number in range(200):
            wfpd.write(policy(23, 24) if number % 2 else policy(24, 23), attach=attach)
            assert wfpd.process is not None
            wfpd.process.send_signal(signal.SIGHUP)
            goal = number + 2
            while wfpd.status()["generation"] < goal:
                for _ in range(20):
                    for sock, port in zip(sockets, ports, strict=True):
                        sock.sendto(b"x" * 16, (router, port))
                        sent[port] += 1
                time.sleep(0.005)
        assert free.wait_for(sent[5000], 10.0), (free.count, sent)
        blocked = sent[23] + sent[24]
        assert wait_until(lambda: wfpd.metric("wfpd_drops_total", reason="filter") == blocked, 10.0)
        assert (early.count, late.count, free.count) == (0, 0, sent[5000])
    for sock in sockets:
        sock.close()
    assert wfpd.metric("wfpd_nfqueue_packets_dropped_total") == 0
    assert wfpd.metric("wfpd_nfqueue_id_gaps_total") == 0
    assert wfpd.metric("wfpd_uninspected_packets_total") == 0


@pytest.mark.parametrize("word", ["permit", "block"])
@pytest.mark.parametrize("reloaded", [False, True], ids=["at_start", "by_reload"])
def test_a_flooded_queue_accounts_for_every_packet(wfpd: Wfpd, net: Network, word: str, reloaded: bool) -> None:
    other = {"permit": "block", "block": "permit"}[word]
    wfpd.write(PERMIT, faults=f"on_full: {other if reloaded else word}")
    wfpd.start()
    if reloaded:
        wfpd.write(PERMIT, faults=f"on_full: {word}")
        answer = wfpd.call("reload")
        assert answer["successful"] and answer["restart_needed"] == []
    assert wfpd.process is not None
    wfpd.process.send_signal(signal.SIGSTOP)
    with net.udp_receiver(net.server, 5000):  # A closed port would answer, and the answers pass the queue too.
        offered = net.send_udp(net.client, 12000, 32, 5000)
        assert wait_until(lambda: wfpd.queue_rule_packets() == offered, 10.0)
        wfpd.process.send_signal(signal.SIGCONT)
        assert wait_until(lambda: wfpd.status()["queues"][0]["length"] == 0, 10.0)

    def decided() -> float:
        return wfpd.metric("wfpd_packets_total")

    settle(decided)
    wait_until(lambda: word == "block" or wfpd.metric("wfpd_uninspected_packets_total") > 0, 15.0, 0.2)
    lost = wfpd.metric("wfpd_nfqueue_packets_dropped_total")
    uninspected = wfpd.metric("wfpd_uninspected_packets_total", hook="forward")
    assert offered == decided() + lost + uninspected
    assert (lost > 0, uninspected > 0) == ((False, True) if word == "permit" else (True, False))


@pytest.mark.parametrize("word", ["permit", "block"])
def test_malformed_packets_are_decided_by_on_malformed(wfpd: Wfpd, net: Network, word: str) -> None:
    wfpd.write(BLOCK_23, faults=f"on_malformed: {word}")
    wfpd.start()
    # A raw socket gets a copy of what arrives before TCP looks at it.
    with net.server.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as arriving:
        with net.client.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as sock:
            for _ in range(7):
                sock.sendto(b"\x00\x17\x00\x17", (SERVER4, 0))  # Four bytes are no TCP header.
        assert wait_until(lambda: wfpd.metric("wfpd_malformed_total", reason="truncated_transport") == 7)
        arriving.settimeout(0.5)
        arrived = 0
        with contextlib.suppress(TimeoutError):
            while arriving.recv(100)[20:] == b"\x00\x17\x00\x17":
                arrived += 1
    assert arrived == (7 if word == "permit" else 0)
    assert wfpd.metric("wfpd_packets_total", verdict=word) == 7


@pytest.mark.parametrize("word", ["permit", "block"])
def test_a_callout_that_raises_is_decided_by_on_error_and_counted(wfpd: Wfpd, net: Network, word: str) -> None:
    head = 'callouts: [{name: bad, use: "wfpd.callouts.fixed:Fixed", options: {answer: raise}}]'
    wfpd.write("  - {name: ask, layer: ipforward_v4, action: {callout: bad}, when: {ip_protocol: udp}}", head=head,
               faults=f"on_error: {word}")  # fmt: skip
    wfpd.start()
    with net.udp_receiver(net.server, 5000) as receiver:
        net.send_udp(net.client, 25, 64, 5000)
        assert wait_until(lambda: wfpd.metric("wfpd_callout_errors_total", callout="bad") == 25)
        assert settle(lambda: receiver.count) == (25 if word == "permit" else 0)


@pytest.mark.parametrize("word", ["permit", "block"])
def test_a_callout_that_is_late_is_decided_by_on_late(wfpd: Wfpd, net: Network, word: str) -> None:
    head = 'callouts: [{name: slow, use: "wfpd.callouts.fixed:Fixed", options: {answer: sleep, seconds: 2}}]'
    wfpd.write("  - {name: ask, layer: ipforward_v4, action: {callout: slow}, when: {ip_protocol: udp}}", head=head,
               faults=f"on_late: {word}, late_after: 100ms")  # fmt: skip
    wfpd.start()
    with net.udp_receiver(net.server, 5000) as receiver:
        net.send_udp(net.client, 1, 64, 5000)
        if word == "permit":
            assert receiver.wait_for(1, 1.5)  # Long before the callout ends.
        else:
            assert wait_until(lambda: wfpd.metric("wfpd_drops_total", reason="late") == 1, 5.0)
            assert receiver.count == 0


@pytest.mark.parametrize("word", ["permit", "block"])
def test_every_late_packet_is_counted_and_decided_by_on_late(wfpd: Wfpd, net: Network, word: str) -> None:
    head = 'callouts: [{name: slow, use: "wfpd.callouts.fixed:Fixed", options: {answer: sleep, seconds: "0.3"}}]'
    wfpd.write("  - {name: ask, layer: ipforward_v4, action: {callout: slow}, when: {ip_protocol: udp}}", head=head,
               faults=f"on_late: {word}, late_after: 50ms")  # fmt: skip
    wfpd.start()
    with net.udp_receiver(net.server, 5000) as receiver:
        net.send_udp(net.client, 6, 64, 5000)
        assert wait_until(lambda: wfpd.metric("wfpd_packets_total", verdict=word) == 6, 10.0, 0.1)
        assert settle(lambda: receiver.count) == (6 if word == "permit" else 0)
    assert wfpd.metric("wfpd_drops_total", reason="late") == (0 if word == "permit" else 6)


@pytest.mark.parametrize("word", ["permit", "block"])
def test_kill_9_loses_what_waits_in_the_queue_and_on_absent_decides_the_rest(
    wfpd: Wfpd, net: Network, word: str
) -> None:
    wfpd.write(PERMIT, faults=f"on_absent: {word}")
    wfpd.start()
    assert wfpd.process is not None
    with net.udp_receiver(net.server, 5000) as receiver:
        net.send_udp(net.client, 10, 64, 5000)
        assert receiver.wait_for(10)
        wfpd.process.send_signal(signal.SIGSTOP)
        net.send_udp(net.client, 20, 64, 5000)
        assert wait_until(lambda: wfpd.queue_rule_packets() == 30)
        wfpd.end(signal.SIGKILL)
        net.send_udp(net.client, 30, 64, 5000)
        assert wait_until(lambda: wfpd.queue_rule_packets() == 60)
        assert settle(lambda: receiver.count) == (40 if word == "permit" else 10)


def test_audit_mode_of_the_daemon_permits_everything_and_says_what_it_would_block(wfpd: Wfpd, net: Network) -> None:
    wfpd.write(BLOCK_23)
    wfpd.start("--audit", enforcing=False)
    with net.udp_receiver(net.server, 23) as receiver:
        net.send_udp(net.client, 5, 64, 23)
        assert receiver.wait_for(5)
    assert wait_until(lambda: wfpd.eve.exists() and wfpd.eve.read_text() != "")
    line = json.loads(wfpd.eve.read_text().splitlines()[0])
    assert line["wfp"]["filter"] == "no-telnet" and line["wfp"]["verdict"] == "block"
    assert wfpd.status()["audit"] is True
    assert line["verdict"]["action"] == "pass" and line["wfp"]["audit"] is True
    assert wfpd.metric("wfpd_would_block_total", layer="ipforward_v4") == 5
    assert wfpd.metric("wfpd_drops_total") == 0


def test_a_reload_with_confirm_rolls_back_by_itself(wfpd: Wfpd, net: Network) -> None:
    wfpd.write(PERMIT)
    wfpd.start()
    wfpd.write(BLOCK_23)
    assert wfpd.call("reload", confirm=1)["generation"] == 2
    assert wait_until(lambda: wfpd.status()["generation"] == 3, 5.0)
    with net.udp_receiver(net.server, 23) as receiver:
        net.send_udp(net.client, 3, 64, 23)
        assert receiver.wait_for(3)


def test_every_other_word_of_faults_changes_by_reload(wfpd: Wfpd, net: Network) -> None:
    head = """callouts:
  - {name: bad, use: "wfpd.callouts.fixed:Fixed", options: {answer: raise}}
  - {name: slow, use: "wfpd.callouts.fixed:Fixed", options: {answer: sleep, seconds: 0.6}}"""
    ask = (
        "  - {{name: {name}, layer: ipforward_v4, action: {{callout: {name}}}, when: {{ip_destination_port: {port}}}}}"
    )
    filters = ask.format(name="bad", port=5001) + "\n" + ask.format(name="slow", port=5002)
    permitting = "on_error: permit, on_late: permit, on_malformed: permit, late_after: 30s"
    blocking = "on_error: block, on_late: block, on_malformed: block, late_after: 100ms"

    def malformed() -> None:
        with net.client.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as sock:
            sock.sendto(b"\x00\x17\x00\x17", (SERVER4, 0))

    wfpd.write(filters, head=head, faults=permitting)
    wfpd.start()
    with net.udp_receiver(net.server, 5001) as raised, net.udp_receiver(net.server, 5002) as late:
        for faults in (permitting, blocking, permitting):
            if faults is not permitting or wfpd.metric("wfpd_policy_generation") > 1:
                wfpd.write(filters, head=head, faults=faults)
                assert wfpd.call("reload")["restart_needed"] == []
            decided = wfpd.metric("wfpd_packets_total")
            net.send_udp(net.client, 1, 64, 5001)
            malformed()
            net.send_udp(net.client, 1, 64, 5002)
            assert wait_until(lambda before=decided: wfpd.metric("wfpd_packets_total") == before + 3, 5.0)
        assert raised.wait_for(2) and late.wait_for(2)
        for reason in ("error", "late", "malformed"):
            assert wfpd.metric("wfpd_drops_total", reason=reason) == 1
        assert (raised.count, late.count) == (2, 2)


PARKING_CALLOUT = """
import threading

class Later:
    parks = True

    def __init__(self, seconds=0.05):
        self.seconds = float(seconds)

    def classify(self, c):
        handle = c.pend()
        verdict = "block" if c.packet[31] % 4 == 0 else "permit"
        threading.Timer(self.seconds, handle.complete, (verdict,)).start()
"""
LATER = "  - {name: later, layer: ipforward_v4, action: {callout: later}, when: {ip_protocol: udp}}"


@pytest.mark.parametrize("reloaded", [False, True], ids=["at_start", "by_reload"])
def test_a_callout_that_answers_later_parks_its_packets(
    wfpd: Wfpd, net: Network, tmp_path: Path, reloaded: bool
) -> None:
    (tmp_path / "later.py").write_text(PARKING_CALLOUT)
    head = 'callouts: [{name: later, use: "later:Later"}]'
    wfpd.write(PERMIT if reloaded else LATER, head="" if reloaded else head, daemon=f"callout_path: [{tmp_path}]")
    wfpd.start()
    if reloaded:
        assert [queue["queue"] for queue in wfpd.status()["queues"]] == [0]  # Nothing to park costs nothing.
        wfpd.write(LATER, head=head, faults="on_full: block", daemon=f"callout_path: [{tmp_path}]")
        assert wfpd.call("reload")["successful"]
    with net.udp_receiver(net.server, 5000) as receiver:
        net.send_udp(net.client, 40, 64, 5000)
        assert wait_until(lambda: wfpd.metric("wfpd_packets_total") == 40)
        assert receiver.wait_for(30)
        assert sorted(payload[3] for payload in receiver.payloads) == [n for n in range(40) if n % 4]
    assert wfpd.metric("wfpd_packets_total", queue="1", verdict="permit") == 30
    assert wfpd.metric("wfpd_drops_total", layer="ipforward_v4", reason="callout") == 10
    assert wfpd.status()["enforcing"], wfpd.status()["why_not"]
    assert wfpd.metric("wfpd_uninspected_packets_total") == 0


def test_a_clean_stop_decides_what_is_parked(wfpd: Wfpd, net: Network, tmp_path: Path) -> None:
    (tmp_path / "later.py").write_text(PARKING_CALLOUT)
    head = 'callouts: [{name: later, use: "later:Later", options: {seconds: 2}}]'
    wfpd.write(LATER, head=head, faults="late_after: 60s", daemon=f"callout_path: [{tmp_path}]")
    wfpd.start()
    with net.udp_receiver(net.server, 5000) as receiver:
        net.send_udp(net.client, 20, 64, 5000)
        assert wait_until(lambda: wfpd.metric("wfpd_nfqueue_queue_length", queue="1") == 20)
        assert receiver.count == 0
        assert wfpd.end() == 0
        assert receiver.wait_for(20)  # on_late: permit


def test_a_policy_that_reads_payload_never_gets_a_packet_copied_for_one_that_does_not(
    wfpd: Wfpd, net: Network, tmp_path: Path
) -> None:
    (tmp_path / "whole.py").write_text(
        "class Whole:\n    def classify(self, c):\n        c.permit() if len(c.packet) == 4028 else c.block()\n"
    )
    asking = "  - {name: ask, layer: ipforward_v4, action: {callout: whole}, when: {ip_protocol: udp}}"

    head = 'callouts: [{name: whole, use: "whole:Whole"}]'
    wfpd.write(PERMIT, head=head, daemon=f"callout_path: [{tmp_path}]")
    wfpd.start()
    with net.udp_receiver(net.server, 5000) as receiver, net.client.socket() as sock:
        stop = threading.Event()
        sent: list[int] = []

        def send() -> None:
            while not stop.is_set():  # Longer than what is copied for a policy that reads headers only.
                sent.append(sock.sendto(bytes(4000), (SERVER4, 5000)))
                time.sleep(0.0005)

        thread = threading.Thread(target=send)
        thread.start()
        try:
            for turn in range(12):
                wfpd.write(PERMIT if turn % 2 else asking, head=head, daemon=f"callout_path: [{tmp_path}]")
                assert wfpd.call("reload")["successful"]
        finally:
            stop.set()
            thread.join()
        assert receiver.wait_for(len(sent), 5.0)
    assert wfpd.metric("wfpd_callout_duration_seconds_count", callout="whole") > 0
    assert wfpd.metric("wfpd_drops_total") == 0


def test_a_reload_that_attaches_otherwise_keeps_what_is_bound_and_says_that_a_restart_is_needed(
    wfpd: Wfpd, net: Network
) -> None:
    wfpd.write(BLOCK_23)
    wfpd.start()
    rules = wfpd.net.router.rules().count("-j NFQUEUE")
    more = "  - {hook: forward, queues: 0-0}\n  - {hook: input, queues: 1-1}"
    for attach in ("  - {hook: forward, queues: 0-1}", more, "  - {hook: input, queues: 0-0}"):
        wfpd.write(PERMIT, attach=attach)
        answer = wfpd.call("reload")
        assert answer["successful"] and answer["restart_needed"] == ["attach"], answer
        assert net.router.rules().count("-j NFQUEUE") == rules and wfpd.status()["enforcing"]
        with net.udp_receiver(net.server, 23) as receiver:
            net.send_udp(net.client, 5, 64, 23)
            assert receiver.wait_for(5)  # The new filters, at the hook of old.
    wfpd.write(BLOCK_23, attach="  - {hook: forward, queues: 0-0, interfaces: [nowhere0]}")
    assert wfpd.call("reload")["restart_needed"] == []  # Same queues: the rules change at once.
    before = wfpd.metric("wfpd_packets_total")
    with net.udp_receiver(net.server, 23) as receiver:
        net.send_udp(net.client, 5, 64, 23)
        assert receiver.wait_for(5)
    assert wfpd.metric("wfpd_packets_total") == before
    assert "restart needed for attach" in wfpd.log.read_text()


def test_a_reload_with_other_marks_keeps_those_of_the_start_in_rules_and_verdicts(wfpd: Wfpd, net: Network) -> None:
    refuse = BLOCK_23.replace("action: block", "action: block, reply: icmp_unreachable")
    wfpd.write(refuse)
    wfpd.start()
    wfpd.policy.write_text(wfpd.policy.read_text().replace("daemon:\n", "daemon:\n  marks: {mask: 0xfff}\n"))
    assert wfpd.call("reload")["restart_needed"] == ["marks.mask"]
    with net.udp_receiver(net.server, 23) as receiver, net.client.socket() as sock:
        sock.connect((SERVER4, 23))
        sock.send(b"x")
        with pytest.raises(ConnectionRefusedError):
            sock.recv(1)
        assert receiver.count == 0


def test_a_confirmation_time_that_is_no_number_is_the_callers_mistake(wfpd: Wfpd) -> None:
    wfpd.write(PERMIT)
    wfpd.start()
    for wrong in ("soon", True, [1]):
        with pytest.raises(InvalidCall, match="number of seconds"):
            wfpd.call("reload", confirm=wrong)
    assert wfpd.status()["generation"] == 1

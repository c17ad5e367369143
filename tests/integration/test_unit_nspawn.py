"""The shipped unit, booted for real: start, packets, reload, watchdog, crash, stop, journal."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.container import Container, make_root, wait_for
from tests.integration.netns import Network
from tests.proven import skip

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

POLICY = """version: 1
attach:
  - {hook: forward, queues: 0-0}
sublayers:
  - {name: perimeter, weight: 0x9000}
filters:
  - name: no-7777
    layer: ipforward
    sublayer: perimeter
    action: block
    when: {ip_protocol: tcp, ip_destination_port: 7777}
"""
OTHER = POLICY.replace("7777", "8888")
BROKEN = POLICY.replace("ip_destination_port", "ip_destination_prot")


@pytest.fixture
def box(net: Network, tmp_path: Path) -> Iterator[Container]:
    for program in ("systemd-nspawn", "mmdebstrap"):
        if shutil.which(program) is None:
            skip(f"{program} is not installed; .ci/packages test installs it")
    try:
        make_root()
    except RuntimeError as error:
        skip(f"no Debian root could be made: {error}")
    with Container(tmp_path, net.router.path) as container:
        container.policy(POLICY)
        yield container
        print(container.journal("short-precise"))  # Shown where the test failed.


def passes(net: Network, port: int) -> bool:
    """Whether a TCP connection from client to server on this port carries data."""
    with net.tcp_echo(net.server, port):
        try:
            return net.tcp_round_trip(net.client, port) == b"ping"
        except OSError:
            return False


def start(box: Container) -> int:
    """Start the unit; the main process's id."""
    done = box.systemctl("start")
    assert done.returncode == 0, done.stderr + box.journal()
    assert box.status().get("enforcing"), box.journal()
    return int(box.property("MainPID"))


def real_time_threads(box: Container, process: int) -> list[str]:
    """Their priorities, as `ps` has them."""
    found = box.run("ps", "-L", "-o", "cls=,rtprio=", "-p", str(process)).stdout.split("\n")
    return [line.split()[1] for line in found if line.split()[:1] == ["FF"]]


def restarted(box: Container, before: int) -> None:
    """Wait until systemd has brought up another process that enforces."""
    wait_for(
        lambda: box.property("MainPID") not in ("0", str(before)) and bool(box.status().get("enforcing")),
        40,
        box.journal,
    )


def test_the_unit_starts_with_one_capability_and_decides_packets(box: Container, net: Network) -> None:
    process = start(box)
    status = box.run("cat", f"/proc/{process}/status").stdout
    assert "CapEff:\t0000000000001000" in status
    assert "NoNewPrivs:\t1" in status
    assert passes(net, 7000)
    assert not passes(net, 7777)


def test_the_units_filters_let_a_worker_be_real_time_and_it_does_without(box: Container, net: Network) -> None:
    # A container may not be able to raise the limit that the unit asks for; a capability permits the same.
    process = start(box)
    permitted = "Max realtime priority     1" in box.run("cat", f"/proc/{process}/limits").stdout
    assert real_time_threads(box, process) == (["1"] if permitted else [])
    assert ("stays at ordinary priority" in box.journal()) is not permitted
    given = "[Service]\\nAmbientCapabilities=CAP_SYS_NICE\\nCapabilityBoundingSet=CAP_SYS_NICE\\n"
    box.run("mkdir", "-p", "/run/systemd/system/wfpd.service.d")
    box.run("sh", "-c", f"printf '{given}' > /run/systemd/system/wfpd.service.d/nice.conf && systemctl daemon-reload")
    assert box.systemctl("restart").returncode == 0, box.journal()
    restarted(box, process)
    assert real_time_threads(box, int(box.property("MainPID"))) == ["1"]
    assert passes(net, 7000) and not passes(net, 7777)


def test_a_good_reload_changes_the_policy_and_a_bad_one_changes_nothing(box: Container, net: Network) -> None:
    start(box)
    generation = int(str(box.status()["generation"]))
    box.policy(OTHER)
    assert box.systemctl("reload").returncode == 0, box.journal()
    assert box.status()["generation"] == generation + 1
    assert passes(net, 7777)
    assert not passes(net, 8888)
    box.policy(BROKEN)
    assert box.systemctl("reload").returncode != 0
    assert box.status()["generation"] == generation + 1
    assert not passes(net, 8888)
    assert "ip_destination_port" in box.journal()


def test_a_daemon_that_hangs_is_killed_by_the_watchdog_and_comes_back(box: Container) -> None:
    process = start(box)
    box.run("kill", "-STOP", str(process))
    restarted(box, process)
    assert "Watchdog timeout" in box.journal()


@pytest.mark.parametrize("signal", ["-KILL", "-SEGV"])
def test_a_daemon_that_crashes_comes_back(box: Container, net: Network, signal: str) -> None:
    process = start(box)
    box.run("kill", signal, str(process))
    restarted(box, process)
    assert not passes(net, 7777)


def test_a_stop_opens_the_way_when_on_absent_says_permit(box: Container, net: Network) -> None:
    start(box)
    assert box.systemctl("stop").returncode == 0
    assert "NFQUEUE" not in net.router.rules() and "WFPD" not in net.router.rules()
    assert passes(net, 7777)
    assert box.property("Result") == "success"


def drop_in(box: Container, *lines: str) -> None:
    """An administrator's own settings of [Service]."""
    folder = box.mount / "etc/systemd/system/wfpd.service.d"
    folder.mkdir(exist_ok=True)
    (folder / "test.conf").write_text("\n".join(("[Unit]", "StartLimitIntervalSec=0", "[Service]", *lines, "")))
    assert box.run("systemctl", "daemon-reload").returncode == 0


@pytest.mark.parametrize("mode", ["mixed", "control-group"])
def test_a_stop_right_after_the_start_leaves_no_rule_however_its_signal_is_spread(
    box: Container, net: Network, mode: str
) -> None:
    # control-group signals the rule tools that the daemon starts while it stops, too.
    drop_in(box, f"KillMode={mode}")
    for _ in range(8):
        start(box)
        assert box.systemctl("stop").returncode == 0
        assert "NFQUEUE" not in net.router.rules() and "WFPD" not in net.router.rules()
    assert "could not be removed" not in box.journal()


def test_a_broken_policy_after_a_reboot_obeys_the_kept_words(box: Container, net: Network) -> None:
    box.policy(POLICY.replace("attach:", "faults: {on_absent: block}\nattach:"))
    start(box)
    assert box.systemctl("stop").returncode == 0
    assert box.run("wfpd", "purge").returncode == 0  # As a reboot does: no rules, the state directory is still there.
    assert passes(net, 7000)
    box.policy(BROKEN)
    assert box.systemctl("start").returncode != 0
    assert not passes(net, 7000)
    assert "the rules were put in place" in box.journal() and box.property("NRestarts") == "0"
    state = box.run("stat", "--format=%a %U", "/var/lib/wfpd", "/var/lib/wfpd/words.json").stdout
    assert state.splitlines() == ["700 wfpd", "600 wfpd"]
    box.policy(POLICY)
    box.systemctl("reset-failed")
    start(box)
    assert passes(net, 7000)
    assert not passes(net, 7777)


def test_a_stop_keeps_the_way_shut_when_on_absent_says_block_until_a_purge(box: Container, net: Network) -> None:
    box.policy(POLICY.replace("attach:", "faults: {on_absent: block}\nattach:"))
    start(box)
    assert passes(net, 7000)
    assert box.systemctl("stop").returncode == 0
    assert not passes(net, 7000)
    assert "purge" in box.journal()
    assert box.run("wfpd", "purge").returncode == 0
    assert passes(net, 7000)


def test_a_broken_policy_at_start_is_not_tried_again(box: Container) -> None:
    box.policy(BROKEN)
    assert box.systemctl("start").returncode != 0
    wait_for(lambda: box.property("ActiveState") == "failed", 20, box.journal)
    assert box.property("NRestarts") == "0"
    assert "ip_destination_port" in box.journal()


CALLOUT = """class Longer:
    injects = True

    def classify(self, c):
        c.reinject(bytes(c.packet) + b" and more")
"""
INJECTING = POLICY.replace("sublayers:", "callouts: [{name: c, use: 'longer:Longer'}]\nsublayers:").replace(
    "    action: block\n    when: {ip_protocol: tcp, ip_destination_port: 7777}",
    "    action: {callout: c}\n    when: {ip_protocol: udp}",
).replace("version: 1", "version: 1\ndaemon: {callout_path: [/etc/wfpd/callouts]}")  # fmt: skip


def test_packets_are_injected_by_a_unit_of_its_own_and_only_then(box: Container, net: Network) -> None:
    def state() -> str:
        return box.run("systemctl", "is-active", "wfpd-inject.service").stdout.strip()

    (box.etc / "callouts").mkdir(mode=0o755)
    (box.etc / "callouts" / "longer.py").write_text(CALLOUT)
    (box.etc / "callouts" / "longer.py").chmod(0o644)
    assert box.run("systemctl", "start", "wfpd-inject.socket").returncode == 0
    assert box.run("stat", "--format=%a %U", "/run/wfpd-inject.sock").stdout.split() == ["600", "wfpd"]
    process = start(box)
    assert state() == "inactive"
    box.policy(INJECTING)
    assert box.systemctl("reload").returncode == 0, box.journal()
    wait_for(lambda: state() == "active", 20, box.journal)
    assert "CapEff:\t0000000000001000" in box.run("cat", f"/proc/{process}/status").stdout
    helper = box.run("systemctl", "show", "--value", "--property=MainPID", "wfpd-inject.service").stdout.strip()
    assert "CapEff:\t0000000000002000" in box.run("cat", f"/proc/{helper}/status").stdout

    def arrives() -> bool:
        with net.udp_receiver(net.server, 5000) as receiver:
            net.send_udp(net.client, 1, 64, 5000)
            return receiver.wait_for(1, 0.5) and receiver.payloads[0].endswith(b" and more")

    wait_for(arrives, 20, box.journal)
    box.run("kill", "-KILL", helper)
    wait_for(arrives, 20, box.journal)
    assert "the helper that injects packets has ended" in box.journal()


def test_without_that_unit_the_log_says_why_nothing_is_injected(box: Container, net: Network) -> None:
    (box.etc / "callouts").mkdir(mode=0o755)
    (box.etc / "callouts" / "longer.py").write_text(CALLOUT)
    (box.etc / "callouts" / "longer.py").chmod(0o644)
    box.policy(INJECTING)
    start(box)
    wait_for(lambda: "no packet can be injected: a child of wfpd: it cannot open raw sockets" in box.journal(), 20,
             box.journal)  # fmt: skip
    with net.udp_receiver(net.server, 5000) as receiver:
        net.send_udp(net.client, 1, 64, 5000)
        assert receiver.wait_for(1)  # on_error is permit: it passes as it was.
    assert not receiver.payloads[0].endswith(b" and more")

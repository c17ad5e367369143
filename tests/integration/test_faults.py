"""What breaks around the loop, made to happen: a dead worker, a kernel that refuses, a latched socket."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.live import DROP, bind, blocked_port, live, proc_queue, queue_rule, snapshot_of, wait_queue
from tests.integration.netns import Network
from tests.integration.running import QUEUE_SOCKETS, Wfpd
from wfpd.daemon.queues import BoundQueue
from wfpd.dataplane import _socket
from wfpd.dataplane._engine import Engine
from wfpd.dataplane._socket import configure_queue

SOL_NETLINK, NETLINK_NO_ENOBUFS = 270, 5
OURS = 70
SABOTAGE = f"""{QUEUE_SOCKETS}
class Sabotage:
    def classify(self, c):
        c.permit()
        for descriptor, _ in queue_sockets():
            os.dup2(os.open("/dev/null", os.O_RDWR), descriptor)
"""
"""A callout that takes the queue's socket from under its worker."""


@pytest.mark.parametrize(("word", "arrive"), [("permit", 6), ("block", 0)])
def test_a_worker_that_dies_ends_the_process_and_on_absent_holds(
    net: Network, tmp_path: Path, word: str, arrive: int
) -> None:
    (tmp_path / "sabotage.py").write_text(SABOTAGE)
    wfpd = Wfpd(net, tmp_path)
    wfpd.write(
        "  - {name: end, layer: ipforward, action: {callout: end}, when: {ip_destination_port: 23}}",
        head='callouts: [{name: end, use: "sabotage:Sabotage"}]', faults=f"on_absent: {word}",
        daemon=f"callout_path: [{tmp_path}]",
    )  # fmt: skip
    wfpd.start()
    net.send_udp(net.client, 1, 64, 23)
    assert wfpd.process is not None and wfpd.process.wait(20) == OURS
    assert "a worker died" in wfpd.log.read_text()
    with net.udp_receiver(net.server, 5000) as receiver:
        net.send_udp(net.client, 6, 64, 5000)
        assert receiver.wait_for(arrive) and receiver.count == arrive


def test_each_worker_serves_queues_of_its_own_as_many_as_there_are_processors(net: Network, tmp_path: Path) -> None:
    wfpd = Wfpd(net, tmp_path)
    wfpd.write("  - {name: all, layer: ipforward, action: permit}", attach="  - {hook: forward}")
    wfpd.start()
    status = wfpd.status()
    assert [queue["queue"] for queue in status["queues"]] == list(range(os.cpu_count() or 1))
    assert [worker["state"] for worker in status["workers"]] == ["running"] * (os.cpu_count() or 1)
    assert wfpd.process is not None
    names = [path.read_text().strip() for path in Path(f"/proc/{wfpd.process.pid}/task").glob("*/comm")]
    assert len(names) > (os.cpu_count() or 1)


def test_a_flag_that_the_kernel_refuses_is_reported_and_the_others_are_set(
    net: Network, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # NFQA_CFG_F_CONNTRACK needs a part of the kernel that may be there; bit 16 is none that any kernel knows.
    monkeypatch.setattr(_socket, "FLAG_NAMES", {"unheard_of": 1 << 16, **_socket.FLAG_NAMES})
    queue = bind(net.router, 3)
    try:
        set_up = configure_queue(queue.get_fd(), 3, length=256, copy_bytes=2048, fail_open=True, error_verdict=DROP)
        assert set_up["flags"] == {"unheard_of": False, "fail_open": True, "gso": True, "uid_gid": True}
    finally:
        queue.unbind()
    bound = net.router.call(BoundQueue, 4, fail_open=True, error_permits=True, copy_bytes=2048, length=64)
    bound.close()
    assert "queue 4: this kernel refuses unheard_of" in caplog.text


def test_a_bind_without_the_capability_is_refused_with_its_reason(net: Network) -> None:
    script = (
        "from wfpd.daemon.queues import BoundQueue\n"
        "from wfpd.errors import KernelError\n"
        "try:\n    BoundQueue(5, fail_open=True, error_permits=True, copy_bytes=2048)\n"
        "except KernelError as error:\n    print(error.message, '|', error.hint)\n"
    )
    drop = ["setpriv", *(f"--{kind}=-all" for kind in ("inh-caps", "ambient-caps", "bounding-set"))]
    done = net.router.call(
        subprocess.run, [*drop, sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "queue 5 cannot be bound" in done.stdout and "CAP_NET_ADMIN" in done.stdout


def test_a_socket_that_reports_enobufs_is_read_until_it_is_empty(net: Network, tmp_path: Path) -> None:
    with live(Engine(1), snapshot_of(tmp_path, blocked_port(9))) as running:
        running.add(net.router, 3)
        with socket.socket(fileno=socket.dup(running.queues[0].get_fd())) as sock:
            sock.setsockopt(SOL_NETLINK, NETLINK_NO_ENOBUFS, 0)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        queue_rule(net.router, 3)
        with net.udp_receiver(net.server, 5000) as receiver:
            net.send_udp(net.client, 50, 64, 5000)
            assert wait_queue(net.router, 3, "id_sequence", 50)
            lost = proc_queue(net.router, 3)["user_dropped"]
            assert lost > 0
            running.start()
            assert running.wait_for(3, 50 - lost)
            net.send_udp(net.client, 5, 64, 5000, pause=0.02)  # The kernel delivers again.
            assert receiver.wait_for(55 - lost)
        assert running.engine.progress()[0][0] == "running"
        assert running.engine.counters()["queues"][3]["id_gaps"] == lost


@pytest.mark.parametrize("permits", [True, False])
def test_what_the_library_reads_before_the_loop_runs_gets_on_error(net: Network, permits: bool) -> None:
    queue_rule(net.router, 3)
    queue = net.router.call(BoundQueue, 3, fail_open=False, error_permits=permits, copy_bytes=2048, length=64)
    with net.udp_receiver(net.server, 5000) as receiver:
        net.send_udp(net.client, 5, 64, 5000)
        assert wait_queue(net.router, 3, "waiting", 5)
        queue._library.run(block=False)  # As bind() and unbind() do while they wait for the kernel's answer.
        assert queue.early == 5 and proc_queue(net.router, 3)["waiting"] == 0
        assert receiver.wait_for(5 if permits else 0)
    queue.close()
    assert receiver.count == (5 if permits else 0)

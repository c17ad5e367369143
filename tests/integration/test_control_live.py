"""The daemon under traffic while another user's clients attack its control socket: no packet is lost or miscounted."""

from __future__ import annotations

import grp
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import hostile_clients
from bench.bench_control import CALLS
from tests.integration.netns import Network, wait_until
from tests.integration.running import Wfpd, sending

NOBODY = 65534
PORT = 5000
SECONDS = 1.0
ATTACKS = (*hostile_clients.ATTACKS, *hostile_clients.OF_ADMINISTRATORS)


@pytest.fixture
def wfpd(net: Network, tmp_path: Path) -> Iterator[Wfpd]:
    """A daemon whose control socket the user nobody reaches and may read from."""
    folder = Path(f"/run/wfpd-test-{secrets.token_hex(4)}")
    folder.mkdir(mode=0o755)
    wfpd = Wfpd(net, tmp_path)
    wfpd.socket = folder / "control.sock"
    wfpd.write(f"  - {{name: sent, layer: ipforward_v4, action: permit, when: {{ip_destination_port: {PORT}}}}}")
    roles = f"{{path: {wfpd.socket}, read: [{grp.getgrgid(NOBODY).gr_name}]}}"
    wfpd.policy.write_text(wfpd.policy.read_text().replace(f"{{path: {wfpd.socket}}}", roles))
    try:
        yield wfpd
    finally:
        shutil.rmtree(folder)


@pytest.mark.root
def test_packets_are_all_decided_and_counted_while_hostile_clients_attack(wfpd: Wfpd, net: Network) -> None:
    wfpd.start()
    before = wfpd.status()
    with net.udp_receiver(net.server, PORT) as receiver, sending(net, PORT) as sender:
        for attack in ATTACKS:
            user = 0 if attack in hostile_clients.OF_ADMINISTRATORS else NOBODY
            process = hostile_clients.start(attack.__name__, str(wfpd.socket), SECONDS, user, CALLS)
            try:
                until = time.monotonic() + SECONDS
                while time.monotonic() < until:
                    assert wfpd.status()["enforcing"], attack.__name__
                    time.sleep(0.05)
            finally:
                process.kill()
                process.wait()
        n_sent = sender.stop()
        assert n_sent > 100 * len(ATTACKS)
        assert receiver.wait_for(n_sent, 5.0) and receiver.count == n_sent
    assert wait_until(lambda: _decided(wfpd, before) == n_sent), (_decided(wfpd, before), n_sent)
    (queue,) = wfpd.status()["queues"]
    assert [queue[name] for name in ("blocked", "dropped_full", "dropped_user", "socket_drops", "id_gaps")] == [0] * 5
    assert wfpd.queue_rule_packets() == n_sent
    assert "Traceback" not in wfpd.log.read_text()


def _decided(wfpd: Wfpd, before: dict[str, list[dict[str, int]]]) -> int:
    return int(wfpd.status()["queues"][0]["permitted"]) - before["queues"][0]["permitted"]

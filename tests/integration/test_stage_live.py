"""A policy tried beside the running one on real packets: exact counts, and verdicts that it does not touch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.builders import a_filter, a_policy, equal, slot, snapshot, when
from tests.integration.dataplane.test_parking import Parker, engine_with, open_queues
from tests.integration.netns import CLIENT4, SERVER4, Network, wait_until
from tests.integration.running import Wfpd
from wfpd.client import Refused
from wfpd.dataplane import Flows, Stage
from wfpd.model.policy import Action

RUNNING = """
  - {name: no-5002, layer: ipforward_v4, action: block, when: {ip_protocol: udp, ip_destination_port: 5002}}
"""
STAGED = """
  - {name: no-5001, layer: ipforward_v4, action: block, when: {ip_protocol: udp, ip_destination_port: 5001}}
"""


def staged_file(wfpd: Wfpd, filters: str) -> str:
    path = wfpd.folder / "new.yaml"
    path.write_text(f"version: 1\nfilters:\n{filters}\n")
    path.chmod(0o600)
    return str(path)


def compared(wfpd: Wfpd, n: int) -> dict[str, Any]:
    """The state once `n` packets are compared."""
    last: dict[str, Any] = {}

    def there() -> bool:
        last.update(wfpd.call("stage.status"))
        return bool(last["packets"]["compared"] >= n)

    assert wait_until(there, 10.0), last
    return last


def test_what_would_change_is_counted_and_nothing_changes(wfpd: Wfpd, net: Network) -> None:
    wfpd.write(RUNNING)
    wfpd.start()
    wfpd.call("stage.start", path=staged_file(wfpd, STAGED))
    with net.udp_receiver(net.server, 5001) as heard, net.udp_receiver(net.server, 5002) as unheard:
        net.send_udp(net.client, 7, 100, 5001)
        net.send_udp(net.client, 5, 100, 5002)
        net.send_udp(net.client, 3, 100, 5003)
        assert heard.wait_for(7)
        found = compared(wfpd, 15)
        assert (heard.count, unheard.count) == (7, 0)
    packets = found["packets"]
    # UDP to a port without a receiver is answered by the server: ICMP passes the hook, the same under both.
    assert (packets["would_block"], packets["would_permit"]) == (7, 5)
    assert packets["compared"] == packets["seen"] == packets["same"] + 12
    rows = {row["verdict"]: row for row in found["differences"]}
    assert (rows["block"]["packets"], rows["block"]["bytes"]) == (7, 7 * 128)
    assert (rows["block"]["staged"]["filter"], rows["block"]["active"]["reason"]) == ("no-5001", "no_match")
    assert (rows["permit"]["active"]["filter"], rows["permit"]["staged"]["reason"]) == ("no-5002", "no_match")
    command = rows["permit"]["example"]["command"]
    assert (
        command.startswith("wfpd explain --hook forward --proto udp --src " + CLIENT4) and f"{SERVER4}:5002" in command
    )
    queue = wfpd.status()["queues"][0]
    assert (queue["blocked"], queue["permitted"]) == (5, packets["seen"] - 5)


def test_a_reload_under_it_is_a_generation_of_its_own(wfpd: Wfpd, net: Network) -> None:
    wfpd.write(RUNNING)
    wfpd.start()
    wfpd.call("stage.start", path=staged_file(wfpd, STAGED))
    net.send_udp(net.client, 4, 100, 5002)
    compared(wfpd, 4)
    wfpd.write(RUNNING.replace("no-5002", "still-no-5002"))
    assert wfpd.call("reload")["successful"]
    net.send_udp(net.client, 2, 100, 5002)
    found = compared(wfpd, 6)
    assert {row["active"]["filter"]: row["packets"] for row in found["differences"]} == {
        "no-5002": 4, "still-no-5002": 2,
    }  # fmt: skip
    last = wfpd.call("stage.stop")
    assert last["ended"] == "stopped" and last["packets"]["would_permit"] == 6
    net.send_udp(net.client, 2, 100, 5002)
    assert wfpd.call("stage.status") == {"running": False, "path": None}


def test_a_broken_file_is_refused_with_its_lines_and_the_running_policy_goes_on(wfpd: Wfpd) -> None:
    wfpd.write(RUNNING)
    wfpd.start()
    before = wfpd.status()
    with pytest.raises(Refused) as raised:
        wfpd.call("stage.start", path=staged_file(wfpd, "  - {name: one, layer: no_such_layer, action: block}"))
    assert "new.yaml:3" in str(raised.value.problems)
    after = wfpd.status()
    assert (after["generation"], after["enforcing"]) == (before["generation"], True)
    assert wfpd.call("stage.status")["path"] is None


def test_the_command_waits_prints_and_ends_it_and_a_stop_of_the_daemon_does_too(wfpd: Wfpd, net: Network) -> None:
    wfpd.write(RUNNING)
    wfpd.start()
    command = [sys.executable, "-m", "wfpd", "stage", "--socket", str(wfpd.socket)]
    file = staged_file(wfpd, STAGED)
    done = subprocess.run([*command, file, "--for", "300ms", "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["ended"], document["same"]) == ("time", True)
    assert wfpd.call("stage.status")["path"] is None
    assert subprocess.run([*command, file, "--detach"], check=False).returncode == 0
    net.send_udp(net.client, 3, 100, 5001)
    compared(wfpd, 3)
    shown = subprocess.run([*command, "--status"], capture_output=True, text=True, check=False)
    assert shown.returncode == 1 and "no-5001" in shown.stdout
    assert wfpd.end() == 0


def test_a_parked_packet_is_compared_when_it_has_its_verdict(net: Network, tmp_path: Path) -> None:
    park = Parker(lambda number: number == 2)
    port = when("ip_destination_port", equal(5000))
    stage = Stage(snapshot(a_policy([a_filter("no", Action.BLOCK, port)])), Flows(16), workers=2)
    with engine_with(tmp_path, park) as running, net.udp_receiver(net.server, 5000) as receiver:
        open_queues(net, running)
        running.engine.stage(stage)
        running.start()
        net.send_udp(net.client, 4, 64, 5000)
        assert wait_until(lambda: receiver.count == 3 and bool(park.handles))
        stage.turn()
        assert (stage.totals()["seen"], stage.totals()["would_block"]) == (3, 3)
        park.handles[2].complete("block")
        assert wait_until(lambda: stage.totals()["seen"] == 4)
        stage.turn()
        assert (stage.totals()["would_block"], stage.totals()["same"]) == (3, 1)
        assert running.engine.unstage()
    assert stage.difference(0)["active_slot"] == slot()

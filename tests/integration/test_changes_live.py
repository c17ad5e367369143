"""Filters that are added to and deleted from the running daemon, on real packets."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.integration.netns import Network, UdpReceiver, wait_until
from tests.integration.running import Wfpd

pytestmark = pytest.mark.usefixtures("needs_root")
BASE = "  - {name: all, layer: ipforward, action: permit, metrics: true}"


def expect(receiver: UdpReceiver, count: int) -> None:
    """So many datagrams have come and, a moment later, no more."""
    assert receiver.wait_for(count), receiver.count
    time.sleep(0.05)
    assert receiver.count == count


def decided(wfpd: Wfpd, **verdicts: int) -> None:
    """So many packets are permitted and blocked."""
    for verdict, count in verdicts.items():
        assert wait_until(partial(_is, wfpd, verdict, count)), verdict


def _is(wfpd: Wfpd, verdict: str, count: int) -> bool:
    return wfpd.metric("wfpd_packets_total", verdict=verdict) == count


def blocking(name: str, port: int) -> str:
    """A change that blocks a UDP port."""
    when = f"{{ip_protocol: udp, ip_destination_port: {port}}}"
    return (
        f"version: 1\nfilters: [{{name: {name}, layer: ipforward_v4, action: block, metrics: true, "
        f"weight: {{range: 15}}, when: {when}}}]"
    )


def filters(wfpd: Wfpd, *arguments: str, text: str = "", status: int = 0) -> Any:
    """`wfpd filters ...`, its JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "wfpd", "filters", "--json", "--socket", str(wfpd.socket), *arguments],
        input=text, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    return json.loads(done.stdout)


def test_filters_come_and_go_beside_the_file_without_losing_a_packet(wfpd: Wfpd, net: Network) -> None:
    wfpd.write(BASE)
    wfpd.start()
    with net.udp_receiver(net.server, 5000) as allowed, net.udp_receiver(net.server, 5001) as stopped:
        net.send_udp(net.client, 10, 16, 5001)
        expect(stopped, 10)
        keys = []
        for number in range(40):
            found = filters(wfpd, "add", "-", text=blocking(f"no-{5001 + number}", 5001 + number))
            keys.append(found["filters"][0]["key"])
            net.send_udp(net.client, 5, 16, 5000)
            net.send_udp(net.client, 5, 16, 5001)
        expect(allowed, 200)
        decided(wfpd, permit=210, block=200)
        assert stopped.count == 10
        assert wfpd.metric("wfpd_filter_hits_total", filter="no-5001") == 200
        refused = filters(wfpd, "add", "-", text=blocking("no-5001", 9), status=1)
        assert "FWP_E_ALREADY_EXISTS" in refused["error"]
        wfpd.write(BASE + "\n  - {name: more, layer: ipforward, action: permit}")
        assert wfpd.call("reload")["successful"]
        net.send_udp(net.client, 5, 16, 5001)
        decided(wfpd, block=205)
        assert filters(wfpd, "delete", *keys)["deleted"] == 40
        net.send_udp(net.client, 7, 16, 5001)
        expect(stopped, 17)
        refused = filters(wfpd, "delete", keys[0], status=1)
        assert "FWP_E_FILTER_NOT_FOUND" in refused["error"]
    assert wfpd.status()["generation"] > 43
    assert wfpd.metric("wfpd_drops_total", layer="ipforward_v4", reason="filter") == 205


def test_an_event_names_the_filter_that_is_gone_since(wfpd: Wfpd, net: Network) -> None:
    wfpd.write(BASE)
    wfpd.start()
    text = "version: 1\nfilters: [{name: brief, layer: ipforward_v4, action: block, weight: {range: 15}}]"
    key = filters(wfpd, "add", "-", text=text)["filters"][0]["key"]
    net.send_udp(net.client, 1, 16, 5001)
    filters(wfpd, "delete", key)
    assert wait_until(lambda: wfpd.eve.exists() and bool(wfpd.eve.read_text()))
    event = json.loads(wfpd.eve.read_text().splitlines()[0])
    assert event["wfp"]["filter"] == "brief"


def test_a_first_filter_of_a_hook_queues_its_packets_from_then_on(wfpd: Wfpd, net: Network) -> None:
    wfpd.write("  - {name: elsewhere, layer: inbound_ippacket, action: permit}")
    wfpd.start()
    text = "version: 1\nfilters: [{name: none, layer: ipforward_v4, action: block}]"
    with net.udp_receiver(net.server, 5000) as received:
        net.send_udp(net.client, 3, 16, 5000)
        expect(received, 3)
        key = filters(wfpd, "add", "-", text=text)["filters"][0]["key"]
        net.send_udp(net.client, 3, 16, 5000)
        expect(received, 3)
        filters(wfpd, "delete", key)
        net.send_udp(net.client, 3, 16, 5000)
        expect(received, 6)


def test_the_command_line_says_what_was_done_and_what_is_wrong(wfpd: Wfpd, net: Network, tmp_path: Path) -> None:
    def said(*arguments: str) -> tuple[int, str, str]:
        command = [sys.executable, "-m", "wfpd", "filters", "--socket", str(wfpd.socket), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout, done.stderr

    wfpd.write(BASE)
    wfpd.start()
    change = tmp_path / "change.yaml"
    change.write_text(blocking("mine", 5001))
    status, printed, told = said("add", str(change))
    assert status == 0 and printed.split()[1:] == ["ipforward_v4", "mine"] and "1 engine filters added" in told
    status, _, told = said("delete", printed.split()[0])
    assert status == 0 and told.endswith(": 1 deleted\n")
    change.write_text("version: 1\nfilters: [{name: a, layer: ipforwrd, action: blok}]")
    status, _, told = said("add", str(change))
    assert status == 1 and told.count("error: change:2:") == 2
    assert said("add", str(tmp_path / "none"))[0] == 3
    assert said("add", str(change), str(change))[0] == 3
    change.write_text("#" * 30_001)
    status, _, told = said("add", str(change))
    assert status == 3 and "30,000 bytes" in told
    assert said("delete", "no-name")[0] == 1

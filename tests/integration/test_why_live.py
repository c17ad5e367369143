"""`wfpd why`: the running daemon remembers why it dropped a packet, also when the filter is gone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.netns import CLIENT4, CLIENT6, ROUTER_CLIENT4, SERVER4, SERVER6, Network, wait_until
from tests.integration.running import Wfpd
from wfpd.capture import read_capture

pytestmark = pytest.mark.usefixtures("needs_root")
ATTACH = "  - {hook: forward, queues: 0-0}\n  - {hook: input, queues: 1-1}"
REST = """
  - {name: all, layer: ipforward, action: permit, weight: 1}
  - {name: counted, layer: inbound_transport, action: permit, when: {ip_protocol: udp}}
"""
FILTERS = (
    REST
    + """
  - {name: no-four, layer: ipforward_v4, action: block, weight: 9, when: {ip_protocol: udp, ip_destination_port: 5001}}
  - {name: no-six, layer: ipforward_v6, action: block, weight: 9, when: {ip_protocol: udp, ip_destination_port: 5001}}
  - {name: closed, layer: ale_auth_recv_accept, action: block, when: {ip_protocol: udp, ip_local_port: 5003}}
  - {name: quiet, layer: ale_auth_recv_accept_discard, action: block, when: {ip_protocol: udp}}
"""
)


def ask(wfpd: Wfpd, *arguments: str) -> tuple[int, Any]:
    """Exit status and document of `wfpd why`."""
    done = subprocess.run([sys.executable, "-m", "wfpd", "why", *arguments, "--socket", str(wfpd.socket), "--json"],
                          capture_output=True, text=True, timeout=60, check=False)  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, json.loads(done.stdout)


def blocked(wfpd: Wfpd, count: int) -> None:
    assert wait_until(lambda: wfpd.metric("wfpd_packets_total", verdict="block") == count)


def test_filters_that_a_reload_took_away_are_named(wfpd: Wfpd, net: Network) -> None:
    wfpd.write(FILTERS, attach=ATTACH)
    wfpd.start()
    net.send_udp(net.client, 1, 64, 5001)
    net.send_udp(net.client, 1, 64, 5001, to=SERVER6)
    blocked(wfpd, 2)
    before = wfpd.status()["generation"]
    for number in range(18):  # More policies than are kept whole.
        wfpd.write(REST + f"  - {{name: r{number}, layer: ipforward, action: permit, weight: 3}}", attach=ATTACH)
        assert wfpd.call("reload")["successful"]
    for address, name, layer in ((CLIENT4, "no-four", "ipforward_v4"), (CLIENT6, "no-six", "ipforward_v6")):
        status, answer = ask(wfpd, address, "--verdict", "block")
        (one,) = answer["records"]
        assert (status, one["filter"], one["layer"], one["generation"]) == (0, name, layer, before)
        assert (one["source"], one["destination_port"], one["in_interface"]) == (address, 5001, "c0")
        assert [(row["layer"], row["action"], row["filter"]) for row in one["rows"]] == [(layer, "block", name)]
        assert answer["generation"] == wfpd.status()["generation"] > before
    assert ask(wfpd, "--filter", "no-six")[1]["records"] == [one]
    assert ask(wfpd, "203.0.113.99")[0] == 1


def test_a_filter_that_was_added_and_deleted_at_run_time_is_named(wfpd: Wfpd, net: Network) -> None:
    wfpd.write(REST, attach=ATTACH)
    wfpd.start()
    when = "{ip_protocol: udp, ip_destination_port: 5001}"
    one = f"{{name: for-now, layer: ipforward_v4, action: block, weight: 9, when: {when}}}"
    added = wfpd.call("filters.add", policy=f"version: 1\nfilters: [{one}]")
    net.send_udp(net.client, 1, 64, 5001)
    blocked(wfpd, 1)
    wfpd.call("filters.delete", keys=[one["key"] for one in added["filters"]])
    wfpd.write(REST, attach=ATTACH)
    assert wfpd.call("reload")["successful"]
    (told,) = ask(wfpd, "--filter", "for-now")[1]["records"]
    assert (told["filter"], told["destination_port"], told["verdict"]) == ("for-now", 5001, "block")


def test_every_layer_on_the_way_to_a_block_is_told(wfpd: Wfpd, net: Network) -> None:
    wfpd.write(FILTERS, attach=ATTACH)
    wfpd.start()
    net.send_udp(net.client, 1, 8, 5003, to=ROUTER_CLIENT4)
    blocked(wfpd, 1)
    (one,) = ask(wfpd, ":5003")[1]["records"]
    assert [(row["layer"], row["action"], row["filter"], row["discard"]) for row in one["rows"]] == [
        ("inbound_transport_v4", "permit", "counted", False), ("ale_auth_recv_accept_v4", "block", "closed", False),
        ("ale_auth_recv_accept_v4_discard", "block", "quiet", True),
    ]  # fmt: skip
    assert (one["hook"], one["filter"], one["verdict"]) == ("input", "closed", "block")


def test_a_flood_is_one_record_and_its_head_a_capture(wfpd: Wfpd, net: Network, tmp_path: Path) -> None:
    wfpd.write(FILTERS, attach=ATTACH)
    wfpd.start()
    net.send_udp(net.client, 300, 400, 5001, pause=0.0005)
    blocked(wfpd, 300)
    file = tmp_path / "why.pcapng"
    status, answer = ask(wfpd, f"{SERVER4}:5001", "--pcap", str(file))
    (one,) = answer["records"]
    assert (status, one["count"], one["length"]) == (0, 300, 428)
    assert one["last"] > one["first"]
    (packet,) = read_capture(str(file))
    assert (packet.original_length, len(packet.data), packet.interface_name) == (428, 128, b"c0")
    assert packet.timestamp_ns == one["timestamp_ns"]
    assert b"blocked at ipforward_v4 by filter no-four" in file.read_bytes()
    shown = subprocess.run([sys.executable, "-m", "wfpd", "why", SERVER4, "--socket", str(wfpd.socket)],
                           capture_output=True, text=True, timeout=60, check=True).stdout  # fmt: skip
    command = next(line.removeprefix("  now: wfpd ") for line in shown.splitlines() if "now: wfpd explain" in line)
    again = subprocess.run([sys.executable, "-m", "wfpd", *command.split(), "--socket", str(wfpd.socket)],
                           capture_output=True, text=True, timeout=60, check=False)  # fmt: skip
    assert (again.returncode, "no-four" in again.stdout) == (1, True)


def test_a_permit_is_there_as_a_sample(wfpd: Wfpd, net: Network) -> None:
    wfpd.write(REST)
    wfpd.start()
    net.send_udp(net.client, 3, 64, 5000)
    assert wait_until(lambda: wfpd.metric("wfpd_packets_total", verdict="permit") >= 3)
    records = ask(wfpd, "--verdict", "permit")[1]["records"]
    assert [one["filter"] for one in records] == ["all"]  # One queue, one worker; its first packet is the sample.

"""A package of somebody else with a compiled callout: built against wfpd, used by replay and on a live queue."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.utils import wrpcap

from tests.builders import callout
from tests.integration.netns import SERVER4, Network
from tests.integration.running import Wfpd
from tests.registering import Decided
from wfpd.callouts.registry import load_callouts
from wfpd.config import load_policy

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "tests" / "packages" / "counted_ports"
CALLOUT = 'callouts: [{name: ports, use: "counted_ports:CountedPorts", options: {port: 5001, prefix: "no"}}]'
FILTER = "  - {name: ask, layer: ipforward, action: {callout: ports, kind: unknown}}"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pip has put it, without a network."""
    source, target = tmp_path_factory.mktemp("source") / "package", tmp_path_factory.mktemp("site")
    shutil.copytree(PACKAGE, source)
    options = ["-q", "--no-build-isolation", "--no-deps", "--no-index", "--disable-pip-version-check"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, "--target", str(target), str(source)],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": str(source)},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return target


def test_replay_asks_it(installed: Path, tmp_path: Path) -> None:
    policy, capture = tmp_path / "policy.yaml", tmp_path / "some.pcap"
    policy.write_text(f"version: 1\ndaemon: {{callout_path: [{installed}]}}\n{CALLOUT}\nfilters:\n{FILTER}\n")
    policy.chmod(0o600)
    packets = [(5001, b"no way"), (5001, b"yes"), (5000, b"no way"), (5001, b"n")]
    wrpcap(str(capture), [IP(src="192.0.2.1", dst="198.51.100.2") / UDP(dport=port) / data for port, data in packets])
    done = subprocess.run(
        [sys.executable, "-m", "wfpd", "replay", "--policy", str(policy), str(capture)],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [line.split()[1] for line in done.stdout.splitlines()] == ["block", "permit", "permit", "permit"]


FLOWS = """version: 1
callouts: [{name: ports, use: "counted_ports:CountedPorts"}]
filters:
  - {name: authorize, layer: ale_auth_recv_accept, action: permit}
  - {name: ask, layer: inbound_transport, action: {callout: ports, kind: unknown}}
"""


def test_it_keeps_a_context_with_a_flow_until_its_end_and_writes(installed: Path, tmp_path: Path) -> None:
    options = {"port": 5001, "prefix": "no", "dscp": 46}
    (item,) = load_callouts([callout("ports", "counted_ports:CountedPorts", **options)], [str(installed)])
    assert item is not None
    run = Decided(tmp_path, FLOWS, {"ports": item.instance})

    def send(data: bytes, port: int = 9) -> str:
        front = IP(src="198.51.100.2", dst="192.0.2.1", tos=1)
        return str(run.send(front / UDP(sport=port, dport=5001) / data)["verdict"])

    assert [send(b"yes"), send(b"no way"), send(b"yes"), send(b"yes", 10)] == ["permit", "block", "block", "permit"]
    assert run.replay.passed is not None and IP(run.replay.passed).tos == 46 << 2 | 1
    assert item.instance.counts == (4, 2, 0)
    run.replay.close()
    assert item.instance.counts == (4, 2, 1)


CHOSEN = """version: 1
callouts:
  - {name: chosen, use: "counted_ports:OfChosen", options: {port: 5001}}
  - {name: chooses, use: "counted_ports:Chooses", options: {target: chosen}}
provider_contexts: [{name: port, data: 5001}]
filters:
  - {name: authorize, layer: ale_auth_recv_accept, action: permit}
  - {name: new, layer: ale_flow_established, action: {callout: chooses}, provider_context: port}
  - {name: ask, layer: inbound_transport, action: {callout: chosen, kind: unknown}}
"""


def test_one_chooses_flows_for_the_other_by_its_name(installed: Path, tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(CHOSEN)
    found = load_callouts(load_policy(str(path), trust="warn").callouts, [str(installed)])
    items = {one.name: one for one in found if one is not None}
    run = Decided(tmp_path, CHOSEN, {name: item.instance for name, item in items.items()})

    def send(port: int, source: str = "198.51.100.2", to: str = "192.0.2.1") -> str:
        ip = IPv6 if ":" in source else IP
        return str(run.send(ip(src=source, dst=to) / UDP(sport=9, dport=port) / b"x")["verdict"])

    assert [send(port) for port in (5001, 5001, 5000, 5000)] == ["permit", "block", "permit", "permit"]
    assert [send(5001, "2001:db8::2", "2001:db8::1") for _ in range(2)] == ["permit", "block"]
    assert items["chosen"].instance.counts == (2, 2, 0)
    run.replay.close()
    assert items["chosen"].instance.counts == (2, 2, 2)


@pytest.mark.usefixtures("needs_root")
def test_the_daemon_asks_it_on_a_live_queue(net: Network, installed: Path, tmp_path: Path) -> None:
    wfpd = Wfpd(net, tmp_path)
    wfpd.write(FILTER, head=CALLOUT, daemon=f"callout_path: [{installed}]")
    wfpd.start()
    with net.udp_receiver(net.server, 5001) as receiver:
        sock = net.client.socket()
        with sock:
            for data in (b"no way", b"yes", b"no", b"yes again"):
                sock.sendto(data, (SERVER4, 5001))
        assert receiver.wait_for(2)
        assert [bytes(one) for one in receiver.payloads] == [b"yes", b"yes again"]
    assert wfpd.metric("wfpd_callout_errors_total", callout="ports") == 0
    assert wfpd.end() == 0

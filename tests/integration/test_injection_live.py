"""Packets that callouts of a running daemon inject, on real interfaces."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import signal

import pytest

from tests.integration.netns import CLIENT, ROUTER, SERVER, Network, family_of, wait_until
from tests.integration.running import FORWARD, Wfpd
from wfpd.client import Client

pytestmark = pytest.mark.root

LOCAL = "  - {hook: input, queues: 0-0}\n  - {hook: output, queues: 1-1}"
MODULE = '''
def say(*what):
    with open({log!r}, "a") as log:
        print(*what, file=log, flush=True)

def turned(packet, payload):
    """The packet with its ends exchanged."""
    if packet[0] >> 4 == 4:
        head = packet[:12] + packet[16:20] + packet[12:16]
        ports = packet[20:28]
    else:
        head = packet[:8] + packet[24:40] + packet[8:24]
        ports = packet[40:48]
    return head + ports[2:4] + ports[0:2] + ports[4:8] + payload

class Base:
    injects = True

class Answers(Base):
    """Answers a datagram in the name of whom it was sent to."""
    def classify(self, c):
        if c.packet[9 if c.packet[0] >> 4 == 4 else 6] != 17:
            return c.permit()
        say("asked", c.hook, c.injection_state)
        c.inject(turned(bytes(c.packet), b"answer to " + bytes(c.payload)))
        c.block(clear_right=True, absorb=True)

class Longer(Base):
    def classify(self, c):
        if not c.write_right:  # A higher one has taken the packet.
            return
        say("longer", c.hook, c.injection_state)
        c.reinject(bytes(c.packet) + b" and more")

class Huge(Base):
    def classify(self, c):
        c.reinject(bytes(c.packet) + bytes(2000))

class Wrong(Base):
    """Has packets to other hosts received."""
    def classify(self, c):
        from tests.integration.netns import CLIENT, SERVER
        import socket
        for hosts in CLIENT, SERVER:
            six = c.packet[0] >> 4 == 6
            to = socket.inet_pton(socket.AF_INET6 if six else socket.AF_INET, hosts[6 if six else 4])
            at = 24 if six else 16
            c.inject(bytes(c.packet[:at]) + to + bytes(c.packet[at + len(to):]), direction="inbound")
            say("wrong")

class Later(Base):
    """Inspects out of band."""
    def classify(self, c):
        import threading
        handle, packet = c.injection_handle, bytes(c.packet)
        threading.Timer(0.2, lambda: handle.inject(packet + b" later", direction="forward")).start()
        c.block(clear_right=True)

class Same(Base):
    def classify(self, c):
        c.reinject()

class Sees(Longer):
    sees_injected = True
    def classify(self, c):
        say("sees", c.hook, c.injection_state)
        if c.injection_state == "not_injected":
            c.reinject()
        else:
            c.permit()

class Loops(Base):
    writes = False
    sees_injected = True
    injects_at_most = 3
    def classify(self, c):
        if self.writes:  # It is the packet that arrived that counts.
            c.write(len(c.packet) - 1, bytes([c.packet[-1] + 1]))
        say("loops", c.injection_state, c.reinject())

class Writes(Loops):
    writes = True
'''


@pytest.fixture
def wfpd(net: Network, tmp_path: pathlib.Path) -> Wfpd:
    (tmp_path / "live_injection.py").write_text(MODULE.replace("{log!r}", repr(str(tmp_path / "said"))))
    return Wfpd(net, tmp_path)


def said(wfpd: Wfpd) -> list[str]:
    path = wfpd.folder / "said"
    return path.read_text().splitlines() if path.exists() else []


def run(wfpd: Wfpd, filters: str, *names: str, attach: str = LOCAL) -> None:
    callouts = ", ".join(f"{{name: {name}, use: 'live_injection:{name.title()}'}}" for name in names)
    wfpd.write(filters, attach=attach, head=f"callouts: [{callouts}]", daemon=f"callout_path: [{wfpd.folder}]",
               faults="on_error: block")  # fmt: skip
    wfpd.start()
    assert wait_until(lambda: helpers(wfpd) == 1, 10)


def helper_pids(wfpd: Wfpd) -> list[int]:
    assert wfpd.process is not None
    found = set()
    for task in pathlib.Path(f"/proc/{wfpd.process.pid}/task").iterdir():
        with contextlib.suppress(OSError):
            for pid in (task / "children").read_text().split():
                if b"wfpd.injection.helper" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.add(int(pid))
    return sorted(found)


def helpers(wfpd: Wfpd) -> int:
    return len(helper_pids(wfpd))


def sent(wfpd: Wfpd) -> float:
    return wfpd.metric("wfpd_injected_packets_total", result="sent")


def udp(name: str, layer: str, callout: str, **when: int) -> str:
    more = "".join(f", {key}: {value}" for key, value in when.items())
    return f"  - {{name: {name}, layer: {layer}, action: {{callout: {callout}}}, when: {{ip_protocol: udp{more}}}}}"


AT = {
    "output": (LOCAL, udp("out", "outbound_transport", "answers")),
    "postrouting": (LOCAL + "\n  - {hook: postrouting, queues: 2-2}",
                    "  - {name: out, layer: outbound_ippacket, action: {callout: answers}}"),
}  # fmt: skip


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("at", AT)
def test_a_callout_at_input_answers_a_datagram_and_its_answer_passes_it(
    wfpd: Wfpd, net: Network, family: int, at: str
) -> None:
    attach, out = AT[at]
    run(wfpd, udp("in", "inbound_transport", "answers", ip_local_port=5000) + "\n" + out, "answers", attach=attach)
    with net.client.socket(family_of(ROUTER[family])) as sock:
        sock.connect((ROUTER[family], 5000))
        sock.send(b"one")
        assert sock.recv(100) == b"answer to one"
    assert said(wfpd) == ["asked input not_injected"]
    assert wait_until(lambda: sent(wfpd) == 1)
    assert wfpd.end() == 0


@pytest.mark.parametrize("family", [4, 6])
def test_a_callout_at_forward_answers_in_the_name_of_the_server(wfpd: Wfpd, net: Network, family: int) -> None:
    run(wfpd, udp("all", "ipforward", "answers"), "answers", attach=FORWARD)
    with net.udp_receiver(net.server, 5000, family) as receiver, net.client.socket(family_of(SERVER[family])) as sock:
        sock.connect((SERVER[family], 5000))
        for payload in (b"one", b"two"):
            sock.send(payload)
            assert sock.recv(100) == b"answer to " + payload
        assert not receiver.count
    assert said(wfpd) == ["asked forward not_injected"] * 2


@pytest.mark.parametrize("family", [4, 6])
def test_a_datagram_is_dropped_and_a_longer_one_is_injected_in_its_place(wfpd: Wfpd, net: Network, family: int) -> None:
    run(wfpd, udp("all", "ipforward", "longer"), "longer", attach=FORWARD)
    with net.udp_receiver(net.server, 5000, family) as receiver:
        net.send_udp(net.client, 20, 64, 5000, to=SERVER[family])
        assert receiver.wait_for(20)
    assert [data[3] for data in receiver.payloads] == list(range(20))
    assert all(data.endswith(b" and more") and len(data) == 73 for data in receiver.payloads)
    assert said(wfpd) == ["longer forward not_injected"] * 20
    assert wait_until(lambda: sent(wfpd) == 20)


@pytest.mark.parametrize("family", [4, 6])
def test_what_is_sent_and_what_is_received_is_reinjected_once(wfpd: Wfpd, net: Network, family: int) -> None:
    for name in ("all", "lo", "c0"):
        net.router.sysctl(f"net.ipv4.conf.{name}.rp_filter", 1)
    filters = udp("out", "outbound_transport", "longer") + "\n" + udp("in", "inbound_transport", "longer")
    run(wfpd, filters, "longer")
    with net.udp_receiver(net.client, 5000, family) as out, net.udp_receiver(net.router, 5000, family) as in_:
        net.send_udp(net.router, 3, 64, 5000, to=CLIENT[family])
        net.send_udp(net.client, 3, 64, 5000, to=ROUTER[family])
        assert out.wait_for(3) and in_.wait_for(3)
    for receiver in (out, in_):
        assert [data[64:] for data in receiver.payloads] == [b" and more"] * 3
    assert sorted(said(wfpd)) == ["longer input not_injected"] * 3 + ["longer output not_injected"] * 3


def test_handles_see_their_own_packets_those_of_others_and_earlier_ones(wfpd: Wfpd, net: Network) -> None:
    filters = "\n".join((
        udp("out", "outbound_transport", "sees").replace("{name", "{sublayer: above, name", 1),
        udp("below", "outbound_transport", "other").replace("{name", "{sublayer: below, name", 1),
    ))  # fmt: skip
    head = ("callouts: [{name: sees, use: 'live_injection:Sees'}, {name: other, use: 'live_injection:Longer'}]\n"
            "sublayers: [{name: above, weight: 200}, {name: below, weight: 100}]")  # fmt: skip
    wfpd.write(filters, attach=LOCAL, head=head, daemon=f"callout_path: [{wfpd.folder}]", faults="on_error: block")
    wfpd.start()
    assert wait_until(lambda: helpers(wfpd) == 1, 10)
    with net.udp_receiver(net.client, 5000) as receiver:
        net.send_udp(net.router, 1, 64, 5000, to=CLIENT[4])
        assert receiver.wait_for(1)
    assert [data[64:] for data in receiver.payloads] == [b" and more"]
    assert said(wfpd) == ["sees output not_injected", "sees output injected_by_self", "longer output injected_by_other",
                          "sees output previously_injected_by_self"]  # fmt: skip


@pytest.mark.parametrize("name", ["loops", "writes"])
def test_a_packet_that_is_injected_again_and_again_is_blocked(wfpd: Wfpd, net: Network, name: str) -> None:
    run(wfpd, udp("out", "outbound_transport", name), name)
    with net.udp_receiver(net.client, 5000) as receiver:
        net.send_udp(net.router, 1, 64, 5000, to=CLIENT[4])
        assert wait_until(lambda: wfpd.metric("wfpd_injected_packets_total", result="loop") == 1)
        assert not receiver.count
    assert said(wfpd) == ["loops not_injected True", *["loops injected_by_self True"] * 2,
                          "loops injected_by_self False"]  # fmt: skip


@pytest.mark.parametrize("family", [4, 6])
def test_what_is_to_be_received_never_leaves_the_host(wfpd: Wfpd, net: Network, family: int) -> None:
    run(wfpd, udp("all", "inbound_transport", "wrong", ip_local_port=5000), "wrong")
    with net.udp_receiver(net.server, 5000, family) as server, net.udp_receiver(net.client, 5000, family) as client:
        net.send_udp(net.client, 5, 64, 5000, to=ROUTER[family])
        assert wait_until(lambda: len(said(wfpd)) == 10)
        net.send_udp(net.client, 1, 64, 5000, to=SERVER[family])
        assert server.wait_for(1) and client.wait_for(0)
        assert (server.count, client.count) == (1, 0)


@pytest.mark.parametrize("family", [4, 6])
def test_a_clone_is_injected_when_the_call_is_long_over(wfpd: Wfpd, net: Network, family: int) -> None:
    run(wfpd, udp("all", "ipforward", "later"), "later", attach=FORWARD)
    with net.udp_receiver(net.server, 5000, family) as receiver:
        net.send_udp(net.client, 5, 64, 5000, to=SERVER[family])
        assert receiver.wait_for(5)
    assert all(data.endswith(b" later") for data in receiver.payloads)


@pytest.mark.parametrize("family", [4, 6])
def test_what_is_longer_than_the_link_allows_is_counted(wfpd: Wfpd, net: Network, family: int) -> None:
    run(wfpd, udp("all", "ipforward", "huge"), "huge", attach=FORWARD)
    net.send_udp(net.client, 1, 64, 5000, to=SERVER[family])
    assert wait_until(lambda: wfpd.metric("wfpd_injected_packets_total", result="too_long") == 1)
    assert sent(wfpd) == 0


@pytest.mark.parametrize("family", [4, 6])
def test_a_flow_goes_on_though_its_packets_are_clones_and_answers_find_their_way(
    wfpd: Wfpd, net: Network, family: int
) -> None:
    run(wfpd, "  - {name: all, layer: ipforward, action: {callout: same}, when: {ip_protocol: tcp}}", "same",
        attach=FORWARD)  # fmt: skip
    with net.tcp_echo(net.server, 7000, family):
        assert net.tcp_round_trip(net.client, 7000, b"ping", to=SERVER[family]) == b"ping"
    assert wait_until(lambda: sent(wfpd) >= 7)


def test_a_helper_that_dies_is_counted_and_another_one_serves(wfpd: Wfpd, net: Network) -> None:
    run(wfpd, udp("all", "ipforward", "longer"), "longer", attach=FORWARD)
    (pid,) = helper_pids(wfpd)
    os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: helper_pids(wfpd) not in ([], [pid]), 10)
    assert wait_until(lambda: wfpd.metric("wfpd_injection_helper_deaths_total") == 1)
    with net.udp_receiver(net.server, 5000) as receiver:
        assert wait_until(lambda: net.send_udp(net.client, 1, 64, 5000) or receiver.wait_for(1, 0.2), 10)
    pids = helper_pids(wfpd)
    assert wfpd.end() == 0
    assert not [pid for pid in pids if pathlib.Path(f"/proc/{pid}").exists()]


def test_a_helper_that_hangs_holds_nobody_up(wfpd: Wfpd, net: Network) -> None:
    run(wfpd, udp("some", "ipforward", "longer", ip_destination_port=5000), "longer", attach=FORWARD)
    (pid,) = helper_pids(wfpd)
    os.kill(pid, signal.SIGSTOP)
    with net.udp_receiver(net.server, 5001) as receiver:
        for _ in range(20):
            net.send_udp(net.client, 50, 64, 5000)
            net.send_udp(net.client, 1, 64, 5001)
        assert receiver.wait_for(20)
        assert wait_until(lambda: wfpd.metric("wfpd_injected_packets_total", result="queue_full") > 0)
    os.kill(pid, signal.SIGCONT)
    assert wait_until(lambda: sent(wfpd) > 0)
    assert wfpd.metric("wfpd_injection_helper_deaths_total") == 0


def test_a_helper_ends_with_its_daemon_however_that_ends(wfpd: Wfpd) -> None:
    run(wfpd, udp("all", "ipforward", "longer"), "longer", attach=FORWARD)
    (pid,) = helper_pids(wfpd)
    assert wfpd.end(signal.SIGKILL) == -signal.SIGKILL
    status = pathlib.Path(f"/proc/{pid}/status")
    assert wait_until(lambda: not status.exists() or "State:\tZ" in status.read_text(), 10)


def test_a_helper_is_there_only_while_a_callout_injects(wfpd: Wfpd, net: Network) -> None:
    none = "  - {name: all, layer: ipforward, action: permit}"
    wfpd.write(none, daemon=f"callout_path: [{wfpd.folder}]")
    wfpd.start()
    assert helpers(wfpd) == 0
    before = net.router.rules()
    head = "callouts: [{name: longer, use: 'live_injection:Longer'}]"
    wfpd.write(udp("all", "ipforward", "longer"), head=head, daemon=f"callout_path: [{wfpd.folder}]")
    assert wfpd.call("reload")["successful"]
    assert wait_until(lambda: helpers(wfpd) == 1, 10)
    wfpd.write(none, daemon=f"callout_path: [{wfpd.folder}]")
    assert wfpd.call("reload")["successful"]
    assert wait_until(lambda: helpers(wfpd) == 0, 10)
    assert bare(net.router.rules()) == bare(before)


def test_a_callout_of_a_session_injects_from_its_first_filter_on(wfpd: Wfpd, net: Network) -> None:
    wfpd.write("  - {name: all, layer: ipforward, action: permit, when: {ip_protocol: tcp}}",
               daemon=f"callout_path: [{wfpd.folder}]")  # fmt: skip
    wfpd.start()
    with Client(str(wfpd.socket)) as client, net.udp_receiver(net.server, 5000) as receiver:
        client.call("callouts.add", callout={"name": "longer", "use": "live_injection:Longer"})
        asked = {"name": "f", "layer": "ipforward_v4", "action": {"callout": "longer"}, "when": {"ip_protocol": "udp"}}
        added = client.call("filters.add", filter=asked)
        assert wait_until(lambda: helpers(wfpd) == 1, 10)
        assert wait_until(lambda: net.send_udp(net.client, 1, 64, 5000) or receiver.wait_for(1, 0.2), 10)
        client.call("filters.delete", keys=[added["filters"][0]["key"]])
    assert receiver.payloads[-1].endswith(b" and more")
    assert not wfpd.status()["why_not"]


def bare(rules: str) -> str:
    """Without what counts, and the lines that say when."""
    return re.sub(r"\[\d+:\d+\]|^#.*$", "", rules, flags=re.MULTILINE)

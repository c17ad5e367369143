"""Callouts of a running daemon on real packets: coroutines, flow contexts, notify, state over a reload."""

from __future__ import annotations

import pathlib

import pytest

from tests.integration.netns import ROUTER, ROUTER_CLIENT4, Network, family_of, wait_until
from tests.integration.running import Wfpd
from wfpd.client import Client

ATTACH = "  - {hook: input, queues: 0-0}\n  - {hook: output, queues: 1-1}"
MODULE = """
import asyncio

def say(*what):
    with open({log!r}, "a") as log:
        print(*what, file=log, flush=True)

class Base:
    def __init__(self, tag="none"):
        self.tag, self.n = tag, 0
    def notify(self, n):
        say(self.tag, n.kind, n.filter, n.layer)
    def close(self):
        say(self.tag, "closed after", self.n)

class Base2(Base):
    def classify(self, c):
        self.n += 1

class Waits(Base):
    async def classify(self, c):
        self.n += 1
        port = c.values["ip_destination_port"]
        await asyncio.sleep(0.05)
        if port == 5001:
            c.block()
        elif port == 5002:
            raise ValueError("told to")
        elif port == 5003:
            await asyncio.sleep(60)
        else:
            c.permit()

class Flows(Base):
    def classify(self, c):
        self.n += 1
        if "established" in c.layer:
            c.set_flow_context("datagram_data", c.values["ip_remote_port"])
        elif c.flow_context is not None:
            say(self.tag, "data", c.direction, c.flow_context == c.values["ip_remote_port"], bytes(c.payload))
    def flow_delete(self, f):
        say(self.tag, "deleted", f.layer, f.context > 0)

class Chooses(Base):
    def classify(self, c):
        if c.values["ip_local_port"] == 5000:
            c.set_flow_context("datagram_data", 7, callout="chosen")

class Chosen(Base):
    conditional_on_flow = True
    def classify(self, c):
        self.n += 1
        say(self.tag, c.layer, c.direction, c.flow_context, bytes(c.payload))
        if c.payload == b"bad":
            c.block()
    def flow_delete(self, f):
        say(self.tag, "deleted", f.layer, f.context)
"""

COMPILED = """
from wfpd.callouts._told import Told

class ChosenCompiled:
    conditional_on_flow = True
    def __init__(self):
        self.told = Told(kind=1)
        self.native = self.told.native
"""


@pytest.fixture
def wfpd(net: Network, tmp_path: pathlib.Path) -> Wfpd:
    (tmp_path / "live_callouts.py").write_text(MODULE.replace("{log!r}", repr(str(tmp_path / "said"))))
    return Wfpd(net, tmp_path)


def said(wfpd: Wfpd) -> list[str]:
    path = wfpd.folder / "said"
    return path.read_text().splitlines() if path.exists() else []


def head(use: str, tag: str) -> str:
    return f"callouts: [{{name: c, use: 'live_callouts:{use}', options: {{tag: {tag}}}}}]"


def test_coroutines_decide_parked_packets_and_hold_nobody_up(wfpd: Wfpd, net: Network, tmp_path: pathlib.Path) -> None:
    filters = "  - {name: ask, layer: ipforward, action: {callout: c}, on_error: block, when: {ip_protocol: udp}}"
    wfpd.write(filters, head=head("Waits", "a"), daemon=f"callout_path: [{tmp_path}]",
               faults="late_after: 400ms, on_late: permit")  # fmt: skip
    wfpd.start()
    with (
        net.udp_receiver(net.server, 5000) as good, net.udp_receiver(net.server, 5001) as bad,
        net.udp_receiver(net.server, 5002) as broken, net.udp_receiver(net.server, 5003) as late,
    ):  # fmt: skip
        for port in (5003, 5001, 5002, 5000):
            net.send_udp(net.client, 5, 64, port)
        assert good.wait_for(5) and late.wait_for(5)
        assert wait_until(lambda: wfpd.metric("wfpd_callout_errors_total", callout="c") == 5)
        assert (bad.count, broken.count) == (0, 0)
    (shown,) = wfpd.call("callouts.list")["objects"]
    assert (shown["class"], shown["calls"], shown["errors"]) == ("live_callouts:Waits", 20, 5)
    log = wfpd.log.read_text()
    assert log.count("callout c raised ValueError('told to')") == 1 and "live_callouts.py" in log
    assert wfpd.end() == 0
    assert said(wfpd)[-1] == "a closed after 20"


def test_flow_contexts_and_state_stay_over_a_reload(wfpd: Wfpd, net: Network, tmp_path: pathlib.Path) -> None:
    filters = """  - {name: in, layer: ale_auth_recv_accept, action: permit, when: {ip_protocol: udp}}
  - {name: new, layer: ale_flow_established_v4, action: {callout: c}, when: {ip_protocol: udp}}
  - {name: data, layer: datagram_data_v4, action: {callout: c}, when: {ip_protocol: udp, ip_local_port: 5000}}"""

    def write(more: str = "") -> None:
        wfpd.write(filters + more, attach=ATTACH, head=head("Flows", "b"), daemon=f"callout_path: [{tmp_path}]")

    write()
    wfpd.start()
    assert sorted(said(wfpd)) == ["b add data datagram_data_v4", "b add new ale_flow_established_v4"]
    with net.udp_receiver(net.router, 5000) as receiver, net.client.socket() as sock:
        sock.connect((ROUTER_CLIENT4, 5000))
        sock.send(b"one")
        assert receiver.wait_for(1)
        write("\n  - {name: more, layer: datagram_data_v4, action: {callout: c}, when: {ip_protocol: icmp}}")
        assert wfpd.call("reload")["successful"]
        sock.send(b"two")
        assert receiver.wait_for(2)
    (shown,) = wfpd.call("callouts.list")["objects"]
    assert shown["contexts"] == 1
    assert wfpd.end() == 0
    assert said(wfpd)[2:] == [
        "b data inbound True b'one'", "b add more datagram_data_v4", "b data inbound True b'two'",
        "b deleted datagram_data_v4 True", "b closed after 3"]  # fmt: skip


CHOSEN = """  - {name: in, layer: ale_auth_recv_accept, action: permit, when: {ip_protocol: udp}}
  - {name: new, layer: ale_flow_established, action: {callout: chooses}, when: {ip_protocol: udp}}
  - {name: data, layer: datagram_data, action: {callout: chosen, kind: unknown}}"""


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("compiled", [False, True], ids=["Python", "compiled"])
def test_a_callout_is_called_for_the_flows_that_another_has_chosen_only(
    wfpd: Wfpd, net: Network, tmp_path: pathlib.Path, family: int, compiled: bool
) -> None:
    use = "live_callouts:ChosenCompiled" if compiled else "live_callouts:Chosen"
    with (tmp_path / "live_callouts.py").open("a") as module:
        module.write(COMPILED)
    callouts = f"{{name: chosen, use: '{use}'}}, {{name: chooses, use: 'live_callouts:Chooses'}}"
    wfpd.write(CHOSEN, attach=ATTACH, daemon=f"callout_path: [{tmp_path}]", head=f"callouts: [{callouts}]")
    wfpd.start()
    with (
        net.udp_receiver(net.router, 5000, family) as chosen, net.udp_receiver(net.router, 5001, family) as other,
        net.client.socket(family_of(ROUTER[family])) as sock,
    ):  # fmt: skip
        for port in (5000, 5001):
            for data in (b"one", b"bad", b"two"):
                sock.sendto(data, (ROUTER[family], port))
        assert other.wait_for(3) and chosen.wait_for(3 if compiled else 2)
        all_of = [b"bad", b"one", b"two"]  # Neighbor discovery may let the last of them go first.
        assert (sorted(other.payloads), sorted(chosen.payloads)) == (all_of, all_of if compiled else [b"one", b"two"])
    shown = {
        one["name"]: (one["calls"], one["errors"], one["contexts"]) for one in wfpd.call("callouts.list")["objects"]
    }
    assert shown == {"chosen": (3, 0, 1), "chooses": (2, 0, 0)}
    assert wfpd.end() == 0
    lines = [line for line in said(wfpd) if line.startswith("none datagram") or " deleted " in line]
    layer = f"datagram_data_v{family}"
    data = [f"none {layer} inbound 7 {one!r}" for one in (b"one", b"bad", b"two")]
    assert lines == ([] if compiled else [*data, f"none deleted {layer} 7"])


def test_a_sessions_callout_is_given_contexts_until_it_is_deleted(
    wfpd: Wfpd, net: Network, tmp_path: pathlib.Path
) -> None:
    wfpd.write("\n".join(CHOSEN.splitlines()[:2]), attach=ATTACH, daemon=f"callout_path: [{tmp_path}]",
               head="callouts: [{name: chooses, use: 'live_callouts:Chooses'}]")  # fmt: skip
    wfpd.start()
    with Client(str(wfpd.socket)) as client, net.udp_receiver(net.router, 5000) as receiver:

        def send(n: int) -> None:
            with net.client.socket() as sock:
                sock.sendto(b"one", (ROUTER_CLIENT4, 5000))
            assert receiver.wait_for(n)

        def errors() -> float:
            return wfpd.metric("wfpd_callout_errors_total", callout="chooses")

        send(1)
        assert wait_until(lambda: errors() == 1)
        made = client.call("callouts.add", callout={"name": "chosen", "use": "live_callouts:Chosen"})
        added = client.call("filters.add", filter={
            "name": "f", "layer": "datagram_data_v4", "action": {"callout": "chosen"}})  # fmt: skip
        send(2)
        assert wait_until(lambda: "none datagram_data_v4 inbound 7 b'one'" in said(wfpd))
        assert errors() == 1
        client.call("filters.delete", keys=[added["filters"][0]["key"]])
        client.call("callouts.delete", keys=[made["objects"][0]["key"]])
        assert wait_until(
            lambda: said(wfpd)[-2:] == ["none deleted datagram_data_v4 7", "none closed after 1"], 5.0, 0.05
        )
        send(3)
        assert wait_until(lambda: errors() == 2)
    assert wfpd.log.read_text().count("FWP_E_CALLOUT_NOT_FOUND") >= 1
    assert wfpd.end() == 0


def test_a_callout_of_a_session_is_closed_after_its_deletion(wfpd: Wfpd, net: Network, tmp_path: pathlib.Path) -> None:
    wfpd.write("  - {name: other, layer: ipforward, action: permit}", daemon=f"callout_path: [{tmp_path}]")
    wfpd.start()
    with Client(str(wfpd.socket)) as client:
        made = client.call("callouts.add", callout={"name": "c", "use": "live_callouts:Base2", "options": {"tag": "s"}})
        key = made["objects"][0]["key"]
        added = client.call("filters.add", filter={"name": "f", "layer": "ipforward_v4", "action": {"callout": "c"}})
        client.call("filters.delete", keys=[added["filters"][0]["key"]])
        assert said(wfpd) == ["s add f ipforward_v4", "s delete f ipforward_v4"]
        client.call("callouts.delete", keys=[key])
        assert wait_until(lambda: said(wfpd)[2:] == ["s closed after 0"], 5.0, 0.05)
    assert wfpd.end() == 0

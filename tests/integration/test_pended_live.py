"""Packets that a running daemon's callouts pend: connections that wait to be authorized, reloads, limits, the stop."""

from __future__ import annotations

import contextlib
import pathlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.netns import ROUTER, SERVER, Network, wait_until
from tests.integration.running import Wfpd
from wfpd.client import Client

ATTACH = "  - {hook: input, queues: 0-0}\n  - {hook: output, queues: 1-1}"
MODULE = """
import pathlib, threading, time

FOLDER = pathlib.Path({folder!r})

def say(*what):
    with open(FOLDER / "said", "a") as log:
        print(*what, file=log, flush=True)

class Gate:
    '''Pends what it is asked about until the file `go` says what to answer.'''
    parks = True

    def __init__(self, tag="a"):
        self.tag = tag

    def classify(self, c):
        say("asked", self.tag, c.layer)
        threading.Thread(target=self.wait, args=(c.pend(),), daemon=True).start()

    def wait(self, handle):
        while not (FOLDER / "go").exists() and handle.waits:
            time.sleep(0.01)
        if handle.waits:
            word, _, reply = (FOLDER / "go").read_text().partition(" ")
            say("completed", handle.complete(word, reply=reply or None))
        else:
            say("late")

class Keeps(Gate):
    def classify(self, c):
        c.set_flow_context("stream_packet", "kept")
        super().classify(c)

    def flow_delete(self, f):
        say("over", f.context)

class Told:
    def classify(self, c):
        say("told", c.layer, c.values["flags"] & 4, c.values["reauthorize_reason"])

class Asks:
    async def classify(self, c):
        if c.values["ip_remote_port"] == 7001:
            c.block(reply="tcp_reset")
        else:
            c.permit()
"""
GATE = """sublayers: [{name: last, weight: 1}]
callouts:
  - {name: c, use: "pended_callouts:Gate", options: {tag: %s}}
  - {name: told, use: "pended_callouts:Told"}"""
AUTH = """  - {name: gate, layer: LAYER, action: {callout: c}, when: {ip_protocol: tcp, PORT: 7000-7009}}
  - {name: told, layer: LAYER, sublayer: last, action: {callout: told, kind: inspection}, when: {ip_protocol: tcp,
     PORT: 7000-7009}}"""
CONNECT = AUTH.replace("LAYER", "ale_auth_connect").replace("PORT", "ip_remote_port")
ACCEPT = AUTH.replace("LAYER", "ale_auth_recv_accept").replace("PORT", "ip_local_port")


@pytest.fixture
def wfpd(net: Network, tmp_path: pathlib.Path) -> Wfpd:
    (tmp_path / "pended_callouts.py").write_text(MODULE.replace("{folder!r}", repr(str(tmp_path))))
    return Wfpd(net, tmp_path)


def begin(wfpd: Wfpd, filters: str, *, tag: str = "a", late: str = "20s", **words: Any) -> None:
    """Write the policy, once more for a reload."""
    faults = f"late_after: {late}, on_late: {words.pop('on_late', 'permit')}"
    wfpd.write(filters, attach=words.pop("attach", ATTACH), head=words.pop("head", GATE % tag),
               daemon=f"callout_path: [{wfpd.folder}]", faults=faults)  # fmt: skip


def said(wfpd: Wfpd) -> list[str]:
    path = wfpd.folder / "said"
    return path.read_text().splitlines() if path.exists() else []


def go(wfpd: Wfpd, words: str) -> None:
    (wfpd.folder / "new").write_text(words)
    (wfpd.folder / "new").rename(wfpd.folder / "go")


@contextlib.contextmanager
def connecting(space: Any, family: int, address: str, port: int) -> Iterator[list[Any]]:
    """A thread that connects; gives a list of the round trip's answer, or the error."""
    outcome: list[Any] = []

    def work() -> None:
        with space.socket(socket.AF_INET6 if family == 6 else socket.AF_INET, socket.SOCK_STREAM) as sock:
            sock.settimeout(15)
            try:
                sock.connect((address, port))
                sock.sendall(b"ping")
                outcome.append(sock.recv(4))
            except OSError as error:
                outcome.append(type(error))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    yield outcome
    thread.join(20)
    assert not thread.is_alive()


def comes(found: list[Any], outcome: object, timeout: float = 5.0) -> bool:
    """True once the connection has had this outcome."""
    return wait_until(lambda: found == [outcome], timeout)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(("words", "outcome"), [("permit", b"ping"), ("block tcp_reset", ConnectionRefusedError)])
def test_a_connect_waits_for_its_authorization(wfpd: Wfpd, net: Network, family: int, words: str, outcome: Any) -> None:
    begin(wfpd, CONNECT)
    wfpd.start()
    with net.tcp_echo(net.server, 7000, family), connecting(net.router, family, SERVER[family], 7000) as found:
        assert wait_until(lambda: said(wfpd) != [])
        assert found == [] and wfpd.metric("wfpd_pended_packets") == 1
        go(wfpd, words)
        assert comes(found, outcome)
    name = f"ale_auth_connect_v{family}"
    assert sorted(said(wfpd)) == [f"asked a {name}", "completed True", f"told {name} 4 16"]
    assert wfpd.metric("wfpd_pended_bytes") == 0
    assert wfpd.metric("wfpd_pended_events_total", event="completed") >= 1
    assert wfpd.end() == 0


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(("words", "outcome"), [("permit", b"ping"), ("block tcp_reset", ConnectionRefusedError)])
def test_an_accept_waits_and_a_syn_that_comes_again_waits_with_the_first(
    wfpd: Wfpd, net: Network, family: int, words: str, outcome: Any
) -> None:
    begin(wfpd, ACCEPT)
    wfpd.start()
    with net.tcp_echo(net.router, 7000, family), connecting(net.client, family, ROUTER[family], 7000) as found:
        # The SYN comes again after a second, and asks nobody.
        assert wait_until(lambda: wfpd.metric("wfpd_pended_packets") >= 2, 10.0, 0.1)
        assert found == [] and said(wfpd) == [f"asked a ale_auth_recv_accept_v{family}"]
        go(wfpd, words)
        assert comes(found, outcome)
    told = [line for line in said(wfpd) if line.startswith("told")]
    assert set(told) == {f"told ale_auth_recv_accept_v{family} 0 0"}
    assert sum(line.startswith("asked") for line in said(wfpd)) == 1
    assert wfpd.end() == 0


@pytest.mark.parametrize(("on_late", "outcome"), [("permit", b"ping"), ("block", TimeoutError)])
def test_a_connect_that_nobody_decides_gets_on_late(wfpd: Wfpd, net: Network, on_late: str, outcome: Any) -> None:
    begin(wfpd, CONNECT, late="300ms", on_late=on_late)
    wfpd.start()
    with net.tcp_echo(net.server, 7000), connecting(net.router, 4, SERVER[4], 7000) as found:
        assert wait_until(lambda: "late" in said(wfpd), 5.0)
        if on_late == "block":  # Its SYN is sent again and again, and asked about each time.
            assert wait_until(lambda: said(wfpd).count("late") >= 2, 10.0)
            go(wfpd, "permit")
            outcome = b"ping"
        assert comes(found, outcome, 10.0)
    assert wfpd.metric("wfpd_pended_events_total", event="late") >= 1
    assert wfpd.end() == 0


def test_a_reload_and_a_deletion_between_pend_and_complete(wfpd: Wfpd, net: Network) -> None:
    begin(wfpd, CONNECT)
    wfpd.start()
    with net.tcp_echo(net.server, 7000), connecting(net.router, 4, SERVER[4], 7000) as found:
        assert wait_until(lambda: said(wfpd) != [])
        begin(wfpd, "  - {name: other, layer: inbound_transport, action: permit, when: {ip_protocol: 99}}\n" + CONNECT)
        assert wfpd.call("reload")["successful"]
        go(wfpd, "permit")
        assert comes(found, b"ping")
    assert said(wfpd).count("asked a ale_auth_connect_v4") == 1
    (wfpd.folder / "go").unlink()
    with net.tcp_echo(net.server, 7001), connecting(net.router, 4, SERVER[4], 7001) as found:
        assert wait_until(lambda: said(wfpd).count("asked a ale_auth_connect_v4") == 2)
        begin(wfpd, "  - {name: gate, layer: ale_auth_connect, action: permit}", head="")
        assert wfpd.call("reload")["successful"]
        assert found == []
        go(wfpd, "block tcp_reset")
        assert comes(found, b"ping")  # Its filter is gone: the new policy decides.
    assert wfpd.end() == 0


def test_a_session_deletes_the_callout_of_what_is_pended(wfpd: Wfpd, net: Network) -> None:
    begin(wfpd, "  - {name: other, layer: ale_auth_connect, action: permit, when: {ip_protocol: udp}}", head="")
    wfpd.start()
    with Client(str(wfpd.socket)) as client:
        made = client.call("callouts.add", callout={"name": "s", "use": "pended_callouts:Gate"})
        where = {"name": "f", "layer": "ale_auth_connect_v4", "action": {"callout": "s"}}
        added = client.call("filters.add", filter=where)
        with net.tcp_echo(net.server, 7000), connecting(net.router, 4, SERVER[4], 7000) as found:
            assert wait_until(lambda: said(wfpd) != [])
            client.call("filters.delete", keys=[added["filters"][0]["key"]])
            client.call("callouts.delete", keys=[made["objects"][0]["key"]])
            go(wfpd, "block tcp_reset")
            assert comes(found, b"ping")
    assert wfpd.end() == 0


@pytest.mark.parametrize(("on_late", "arrive"), [("permit", 1), ("block", 0)])
def test_a_stop_decides_what_is_pended(wfpd: Wfpd, net: Network, on_late: str, arrive: int) -> None:
    begin(wfpd, "  - {name: gate, layer: ipforward, action: {callout: c}, when: {ip_protocol: udp}}",
          attach="  - {hook: forward, queues: 0-0}", on_late=on_late)  # fmt: skip
    wfpd.start()
    with net.udp_receiver(net.server, 5000) as receiver:
        net.send_udp(net.client, 1, 64, 5000)
        assert wait_until(lambda: wfpd.metric("wfpd_pended_packets") == 1)
        assert wfpd.end() == 0
        assert receiver.wait_for(arrive) and receiver.count == arrive


def test_a_coroutines_answer_meets_the_layers_that_follow(wfpd: Wfpd, net: Network) -> None:
    head = GATE.replace(":Gate", ":Asks").replace(", options: {tag: %s}", "")
    filters = (
        CONNECT
        + "\n  - {name: out, layer: outbound_transport, action: block, reply: tcp_reset, when: {ip_remote_port: 7002}}"
    )
    begin(wfpd, filters, head=head)
    wfpd.start()
    for port, outcome in ((7000, b"ping"), (7001, ConnectionRefusedError), (7002, ConnectionRefusedError)):
        with net.tcp_echo(net.server, port), connecting(net.router, 4, SERVER[4], port) as found:
            assert comes(found, outcome)
    assert wfpd.end() == 0


@pytest.mark.parametrize(("words", "outcome"), [("permit", b"ping"), ("block tcp_reset", ConnectionRefusedError)])
def test_what_is_kept_with_the_flow_to_be_waits_with_its_packet(
    wfpd: Wfpd, net: Network, words: str, outcome: Any
) -> None:
    begin(wfpd, ACCEPT, head=(GATE % "a").replace(":Gate", ":Keeps"))
    wfpd.start()
    with net.tcp_echo(net.router, 7000), connecting(net.client, 4, ROUTER[4], 7000) as found:
        assert wait_until(lambda: said(wfpd) != [])
        assert not wait_until(lambda: "over kept" in said(wfpd), 0.3)
        go(wfpd, words)
        assert comes(found, outcome)
        if words == "permit":
            assert wfpd.metric("wfpd_flow_contexts") == 1
        assert wait_until(lambda: ("over kept" in said(wfpd)) == (words != "permit"))
    assert wfpd.end() == 0
    assert said(wfpd).count("over kept") == 1

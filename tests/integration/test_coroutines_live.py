"""Coroutines of a running daemon that modify, inject and reinject, and what was modified before a packet waits."""

from __future__ import annotations

import pathlib

import pytest

from tests.integration.netns import CLIENT, ROUTER, SERVER, Network, family_of, wait_until
from tests.integration.running import FORWARD, Wfpd
from tests.integration.test_injection_live import MODULE as INJECTING
from tests.integration.test_injection_live import helpers, sent

LOCAL = "  - {hook: input, queues: 0-0}\n  - {hook: output, queues: 1-1}"
MODULE = '''
import asyncio, threading

class Doubles:
    """Makes datagrams twice as long, in capitals, when it has thought about them."""
    modifies = True
    async def classify(self, c):
        await asyncio.sleep(0.01)
        c.write(c.payload_offset, bytes(c.payload).upper())
        c.modify(bytes(c.packet) + bytes(c.payload))
        c.permit()

class Never:
    modifies = True
    async def classify(self, c):
        c.write(c.payload_offset, bytes(c.payload).upper())
        c.block()
        await asyncio.get_running_loop().create_future()

class Segments:
    modifies = True
    async def classify(self, c):
        await asyncio.sleep(0)
        if len(c.payload):
            c.write(c.payload_offset, bytes(c.payload).replace(b"a", b"b"))

class Replies:
    """Answers a datagram in the name of whom it was sent to, later."""
    injects = True
    async def classify(self, c):
        await asyncio.sleep(0.01)
        say(c.hook, c.injection_state, c.inject(turned(bytes(c.packet), b"answer to " + bytes(c.payload))))
        c.block(clear_right=True, absorb=c.hook != "forward")

class Clones:
    """Another takes the packet's place, and the coroutine is still busy."""
    injects = True
    async def classify(self, c):
        await asyncio.sleep(0.01)
        say(c.hook, c.injection_state, c.reinject(bytes(c.packet) + b" and more"))
        c.permit()
        await asyncio.sleep(0.2)
        raise LookupError("in vain")

class Capital:
    modifies = True
    def classify(self, c):
        c.write(c.payload_offset, bytes(c.payload).upper())

class Pends:
    parks = True
    def classify(self, c):
        say(bytes(c.payload))
        handle = c.pend()
        threading.Timer(0.05, handle.complete, ["permit"]).start()

class Thinks:
    async def classify(self, c):
        say(bytes(c.payload))
        await asyncio.sleep(0.05)
        c.permit()
'''


@pytest.fixture
def wfpd(net: Network, tmp_path: pathlib.Path) -> Wfpd:
    (tmp_path / "live_coroutines.py").write_text((INJECTING + MODULE).replace("{log!r}", repr(str(tmp_path / "said"))))
    return Wfpd(net, tmp_path)


def said(wfpd: Wfpd) -> list[str]:
    path = wfpd.folder / "said"
    return path.read_text().splitlines() if path.exists() else []


def run(wfpd: Wfpd, filters: str, *names: str, attach: str = FORWARD, **faults: str) -> None:
    callouts = ", ".join(f"{{name: {name.lower()}, use: 'live_coroutines:{name}'}}" for name in names)
    head = f"sublayers: [{{name: above, weight: 0xf000}}]\ncallouts: [{callouts}]"
    words = {"on_error": "block", "late_after": "20s"} | faults
    wfpd.write(filters, attach=attach, head=head, daemon=f"callout_path: [{wfpd.folder}]",
               faults=", ".join(f"{name}: {word}" for name, word in words.items()))  # fmt: skip
    wfpd.start()


def asks(name: str, layer: str, protocol: str = "udp", sublayer: str = "") -> str:
    where = f"sublayer: {sublayer}, " if sublayer else ""
    return (f"  - {{name: ask-{name}-{layer}, {where}layer: {layer}, action: {{callout: {name}, kind: unknown}}, "
            f"when: {{ip_protocol: {protocol}}}}}\n")  # fmt: skip


@pytest.mark.parametrize("family", [4, 6])
def test_a_coroutine_modifies_datagrams(wfpd: Wfpd, net: Network, family: int) -> None:
    run(wfpd, asks("doubles", "ipforward"), "Doubles")
    with net.udp_receiver(net.server, 5000, family) as receiver, net.client.socket(family_of(SERVER[family])) as sock:
        sock.connect((SERVER[family], 5000))
        for payload in (b"one", b"two"):
            sock.send(payload)
        assert receiver.wait_for(2)
    assert sorted(receiver.payloads) == [b"ONEONE", b"TWOTWO"]
    assert wfpd.metric("wfpd_modified_packets_total") == 2
    assert wfpd.end() == 0


@pytest.mark.parametrize("family", [4, 6])
def test_a_coroutine_modifies_segments(wfpd: Wfpd, net: Network, family: int) -> None:
    run(wfpd, asks("segments", "ipforward", "tcp"), "Segments")
    with net.tcp_echo(net.server, 7000, family):
        sent = b"a" * 100_000
        assert net.tcp_round_trip(net.client, 7000, sent, to=SERVER[family]) == b"b" * 100_000
    assert wfpd.metric("wfpd_callout_errors_total", callout="segments") == 0
    assert wfpd.end() == 0


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("layer", ["inbound_transport", "ipforward"])
def test_a_coroutine_answers_a_datagram(wfpd: Wfpd, net: Network, family: int, layer: str) -> None:
    local = layer != "ipforward"
    address = (ROUTER if local else SERVER)[family]
    run(wfpd, asks("replies", layer), "Replies", attach=LOCAL if local else FORWARD)
    assert wait_until(lambda: helpers(wfpd) == 1, 10)
    with net.client.socket(family_of(address)) as sock:
        sock.connect((address, 5000))
        sock.settimeout(10)
        for payload in (b"one", b"two"):
            sock.send(payload)
            assert sock.recv(100) == b"answer to " + payload
    assert wait_until(lambda: said(wfpd) == [f"{'input' if local else 'forward'} not_injected True"] * 2)
    assert wfpd.end() == 0


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("layer", ["ipforward", "outbound_transport", "inbound_transport"])
def test_a_coroutine_has_another_packet_take_the_place(wfpd: Wfpd, net: Network, family: int, layer: str) -> None:
    run(wfpd, asks("clones", layer), "Clones", attach=FORWARD if layer == "ipforward" else LOCAL)
    source, sink, to = {
        "ipforward": (net.client, net.server, SERVER), "outbound_transport": (net.router, net.client, CLIENT),
        "inbound_transport": (net.client, net.router, ROUTER),
    }[layer]  # fmt: skip
    assert wait_until(lambda: helpers(wfpd) == 1, 10)
    with net.udp_receiver(sink, 5000, family) as receiver:
        net.send_udp(source, 5, 64, 5000, to=to[family])
        assert receiver.wait_for(5)
        assert wait_until(lambda: sent(wfpd) == 5) and receiver.count == 5
    assert all(len(data) == 73 and data.endswith(b" and more") for data in receiver.payloads)
    hook = {"ipforward": "forward", "outbound_transport": "output", "inbound_transport": "input"}[layer]
    assert wait_until(lambda: said(wfpd) == [f"{hook} not_injected True"] * 5)
    # What the coroutines do afterwards is in vain.
    assert wait_until(lambda: wfpd.metric("wfpd_callout_errors_total", callout="clones") == 5)
    assert wfpd.end() == 0


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("name", ["Pends", "Thinks"])
def test_a_packet_that_was_modified_before_waits_and_arrives_so(
    wfpd: Wfpd, net: Network, family: int, name: str
) -> None:
    filters = asks("capital", "ipforward", sublayer="above") + asks(name.lower(), "ipforward")
    run(wfpd, filters, "Capital", name)
    with net.udp_receiver(net.server, 5000, family) as receiver, net.client.socket(family_of(SERVER[family])) as sock:
        sock.connect((SERVER[family], 5000))
        sock.send(b"hello")
        assert receiver.wait_for(1)
    assert (receiver.payloads, said(wfpd)) == ([b"HELLO"], ["b'HELLO'"])
    assert wfpd.metric("wfpd_modified_packets_total") == 1
    assert wfpd.metric("wfpd_pended_events_total", event="completed") == 1
    assert wfpd.end() == 0


def test_what_a_late_coroutine_has_made_of_its_packet_is_forgotten(wfpd: Wfpd, net: Network) -> None:
    run(wfpd, asks("never", "ipforward"), "Never", late_after="300ms", on_late="permit")
    with net.udp_receiver(net.server, 5000) as receiver, net.client.socket() as sock:
        sock.connect((SERVER[4], 5000))
        sock.send(b"hello")
        assert receiver.wait_for(1)
    assert receiver.payloads == [b"hello"]
    assert wfpd.end() == 0

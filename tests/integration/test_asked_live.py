"""Compiled callouts of a running daemon that leave some packets to Python: injecting, waiting, failing, streams."""

from __future__ import annotations

import pathlib
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.integration.netns import CLIENT, ROUTER, SERVER, Network, family_of, wait_until
from tests.integration.running import FORWARD, Wfpd

LOCAL = "  - {hook: input, queues: 0-0}\n  - {hook: output, queues: 1-1}"
MODULE = '''
"""Datagrams that begin with 1 are permitted, 2 blocked, 8 pended, 9 handed to Python, by compiled code."""
import asyncio, pathlib, queue, threading, time
from wfpd.callouts._told import Chooses

FOLDER = pathlib.Path({folder!r})

def say(*what):
    with open(FOLDER / "said", "a") as log:
        print(*what, file=log, flush=True)

class Longer(Chooses):
    injects = True
    def classify(self, c):
        say("longer", c.hook, c.injection_state)
        c.reinject(bytes(c.packet) + b" and more")

class Loops(Longer):
    sees_injected = True
    injects_at_most = 3
    def classify(self, c):
        say("loops", c.injection_state, c.reinject())

class Waits(Chooses):
    """A thread of its own decides what waits: what ends in `bad` is blocked, `again` is asked about again and late."""
    parks = injects = modifies = True

    def __init__(self, *, without=1):
        self.waiting = queue.Queue()
        threading.Thread(target=self.work, daemon=True).start()

    def pended(self, c, handle):
        say("pended", c.layer)
        self.waiting.put((bytes(c.packet), handle, c.injection_handle))

    def classify(self, c):
        say("classify", c.layer)
        self.waiting.put((bytes(c.packet), c.pend(), None))

    def work(self):
        while True:
            packet, handle, injection = self.waiting.get()
            while not (FOLDER / "go").exists() and handle.waits:
                time.sleep(0.01)
            if packet.endswith(b"bad"):
                say("blocked", handle.complete("block"))
            elif packet.endswith(b"clone"):
                handle.complete("block", clear_right=True)
                say("injected", injection.inject(packet[:-5] + b"another one", direction="forward"))
            elif packet.endswith(b"louder"):
                say("changed", handle.complete("permit", packet=packet[:-6] + b"LOUDER"))
            else:
                say("permitted", handle.complete("permit"))

class Awaits(Chooses):
    async def classify(self, c):
        await asyncio.sleep(0.05)
        say("awaited", bytes(c.payload).decode())
        if bytes(c.payload).endswith(b"bad"):
            c.block()
        else:
            c.permit()

class Faulty(Chooses):
    """Raises, or hangs."""
    def classify(self, c):
        say("faulty", bytes(c.payload).decode())
        if bytes(c.payload) == b"9 hang":
            time.sleep(3.0)
        raise ValueError("it cannot")

class Silent(Chooses):
    """Has nobody to ask."""

class Streams(Chooses):
    def classify(self, c):
        data = bytes(c.stream)
        say("stream", c.stream_direction, data.decode(), *sorted(c.stream_flags & {"NO_MORE_DATA"}))
        if b"evil" in data:
            c.block()
        elif data.endswith(b".") or "NO_MORE_DATA" in c.stream_flags:
            c.permit()
        else:
            c.need_more()
'''
LATE = "on_error: block, on_late: permit, late_after: 20s"


@pytest.fixture
def wfpd(net: Network, tmp_path: pathlib.Path) -> Wfpd:
    (tmp_path / "asked_live.py").write_text(MODULE.replace("{folder!r}", repr(str(tmp_path))))
    return Wfpd(net, tmp_path)


def said(wfpd: Wfpd) -> list[str]:
    path = wfpd.folder / "said"
    return path.read_text().splitlines() if path.exists() else []


def run(wfpd: Wfpd, filters: str, name: str, *, attach: str = FORWARD, faults: str = LATE, more: str = "") -> None:
    wfpd.write(filters, attach=attach, head=f"callouts: [{{name: c, use: 'asked_live:{name}'{more}}}]",
               daemon=f"callout_path: [{wfpd.folder}]", faults=faults)  # fmt: skip
    wfpd.start()


def udp(layer: str, port: int = 5000) -> str:
    named = {"ipforward": "ip_destination_port", "inbound_transport": "ip_local_port"}.get(layer, "ip_remote_port")
    return f"  - {{name: {layer}, layer: {layer}, action: {{callout: c}}, when: {{ip_protocol: udp, {named}: {port}}}}}"


def helper(wfpd: Wfpd) -> bool:
    """Whether the process that injects is there."""
    assert wfpd.process is not None
    children = pathlib.Path(f"/proc/{wfpd.process.pid}/task").glob("*/children")
    return any(
        b"wfpd.injection.helper" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
        for path in children
        for pid in path.read_text().split()
    )


def send(space: Any, to: str, family: int, *payloads: bytes, port: int = 5000) -> None:
    with space.socket(family_of(to)) as sock:
        for payload in payloads:
            sock.sendto(payload, (to, port))


@pytest.mark.parametrize("family", [4, 6])
def test_a_changed_clone_takes_the_place_of_what_python_is_asked_about(wfpd: Wfpd, net: Network, family: int) -> None:
    run(wfpd, udp("ipforward"), "Longer")
    assert wait_until(lambda: helper(wfpd), 10)
    with net.udp_receiver(net.server, 5000, family) as receiver:
        send(net.client, SERVER[family], family, *[b"1 pass", b"2 stop", b"9 ask"] * 5)
        assert receiver.wait_for(10) and not wait_until(lambda: receiver.count > 10, 0.2)
    assert sorted(bytes(one) for one in receiver.payloads) == [b"1 pass"] * 5 + [b"9 ask and more"] * 5
    assert said(wfpd) == ["longer forward not_injected"] * 5
    assert wait_until(lambda: wfpd.metric("wfpd_injected_packets_total", result="sent") == 5)
    assert wfpd.metric("wfpd_callout_errors_total", callout="c") == 0
    assert wfpd.end() == 0


@pytest.mark.parametrize("family", [4, 6])
def test_what_it_has_injected_passes_it_without_a_call_where_it_meets_it_again(
    wfpd: Wfpd, net: Network, family: int
) -> None:
    run(wfpd, udp("outbound_transport") + "\n" + udp("inbound_transport"), "Longer", attach=LOCAL)
    assert wait_until(lambda: helper(wfpd), 10)
    with net.udp_receiver(net.client, 5000, family) as out, net.udp_receiver(net.router, 5000, family) as in_:
        send(net.router, CLIENT[family], family, b"9 out", b"1 out", b"2 out")
        send(net.client, ROUTER[family], family, b"9 in", b"1 in", b"2 in")
        assert out.wait_for(2) and in_.wait_for(2)
    assert sorted(bytes(one) for one in out.payloads) == [b"1 out", b"9 out and more"]
    assert sorted(bytes(one) for one in in_.payloads) == [b"1 in", b"9 in and more"]
    assert sorted(said(wfpd)) == ["longer input not_injected", "longer output not_injected"]
    assert wfpd.metric("wfpd_injected_packets_total", result="loop") == 0


@pytest.mark.parametrize("family", [4, 6])
def test_one_that_sees_its_own_packets_comes_to_an_end(wfpd: Wfpd, net: Network, family: int) -> None:
    run(wfpd, udp("outbound_transport"), "Loops", attach=LOCAL)
    assert wait_until(lambda: helper(wfpd), 10)
    with net.udp_receiver(net.client, 5000, family) as receiver:
        send(net.router, CLIENT[family], family, b"9 round")
        assert wait_until(lambda: wfpd.metric("wfpd_injected_packets_total", result="loop") == 1)
        assert not receiver.count
    assert said(wfpd) == ["loops not_injected True", *["loops injected_by_self True"] * 2,
                          "loops injected_by_self False"]  # fmt: skip


@pytest.mark.parametrize("kind", ["8", "9"], ids=["pended", "classify"])
@pytest.mark.parametrize("family", [4, 6])
def test_another_thread_completes_what_waits(wfpd: Wfpd, net: Network, family: int, kind: str) -> None:
    run(wfpd, udp("ipforward"), "Waits")
    texts = [f"{kind} {word}".encode() for word in ("good", "bad", "louder")]
    name = "pended" if kind == "8" else "classify"
    with net.udp_receiver(net.server, 5000, family) as receiver:
        send(net.client, SERVER[family], family, *texts, b"1 now")
        assert receiver.wait_for(1)  # Behind those that wait.
        assert wait_until(lambda: len(said(wfpd)) == 3)
        assert said(wfpd) == [f"{name} ipforward_v{family}"] * 3 and receiver.count == 1
        assert wfpd.metric("wfpd_pended_packets") == 3
        (wfpd.folder / "go").touch()
        assert receiver.wait_for(3)
    assert sorted(bytes(one) for one in receiver.payloads) == sorted([b"1 now", texts[0], f"{kind} LOUDER".encode()])
    assert wait_until(lambda: len(said(wfpd)) == 6)
    assert said(wfpd)[3:] == ["permitted True", "blocked True", "changed True"]
    assert wfpd.metric("wfpd_pended_events_total", event="completed") == 3
    assert wfpd.metric("wfpd_callout_errors_total", callout="c") == 0
    assert wfpd.end() == 0


@pytest.mark.parametrize("family", [4, 6])
def test_a_compiled_one_that_parks_injects_a_clone_of_what_waits_by_its_handle(
    wfpd: Wfpd, net: Network, family: int
) -> None:
    run(wfpd, udp("ipforward"), "Waits")
    assert wait_until(lambda: helper(wfpd), 10)
    (wfpd.folder / "go").touch()
    with net.udp_receiver(net.server, 5000, family) as receiver:
        send(net.client, SERVER[family], family, b"8 clone")
        assert receiver.wait_for(1)
    assert [bytes(one) for one in receiver.payloads] == [b"8 another one"]
    assert wait_until(lambda: said(wfpd) == [f"pended ipforward_v{family}", "injected True"])


@pytest.mark.parametrize("without", [8, 9], ids=["pended", "classify"])
@pytest.mark.parametrize("family", [4, 6])
def test_a_connection_waits_for_a_compiled_callout(wfpd: Wfpd, net: Network, family: int, without: int) -> None:
    filters = "  - {name: gate, layer: ale_auth_recv_accept, action: {callout: c}, when: {ip_local_port: 7000}}"
    run(wfpd, filters, "Waits", attach=LOCAL, more=f", options: {{without: {without}}}")
    with net.tcp_echo(net.router, 7000, family), ThreadPoolExecutor(1) as pool:
        found = pool.submit(net.tcp_round_trip, net.client, 7000, b"ping", to=ROUTER[family])
        try:
            assert wait_until(lambda: len(said(wfpd)) == 1)
            assert wfpd.metric("wfpd_pended_packets") >= 1 and not found.done()
        finally:
            (wfpd.folder / "go").touch()
        assert found.result(10) == b"ping"
    name = "pended" if without == 8 else "classify"
    assert wait_until(lambda: said(wfpd) == [f"{name} ale_auth_recv_accept_v{family}", "permitted True"])
    assert wfpd.end() == 0


@pytest.mark.parametrize("family", [4, 6])
def test_a_coroutine_decides_what_it_is_asked_about(wfpd: Wfpd, net: Network, family: int) -> None:
    run(wfpd, udp("ipforward"), "Awaits")
    with net.udp_receiver(net.server, 5000, family) as receiver:
        send(net.client, SERVER[family], family, b"9 good", b"9 bad", b"1 now")
        assert receiver.wait_for(2) and wait_until(lambda: len(said(wfpd)) == 2)
    assert [bytes(one) for one in receiver.payloads] == [b"1 now", b"9 good"]
    assert sorted(said(wfpd)) == ["awaited 9 bad", "awaited 9 good"]
    assert wfpd.end() == 0


@pytest.mark.parametrize("name", ["Faulty", "Silent"])
def test_a_classify_that_raises_and_one_that_is_not_there_cost_their_packets_alone(
    wfpd: Wfpd, net: Network, name: str
) -> None:
    run(wfpd, udp("ipforward"), name)
    with net.udp_receiver(net.server, 5000) as receiver:
        send(net.client, SERVER[4], 4, *[b"9 fail", b"1 pass"] * 4)
        assert receiver.wait_for(4)
        assert wait_until(lambda: wfpd.metric("wfpd_callout_errors_total", callout="c") == 4)
    assert [bytes(one) for one in receiver.payloads] == [b"1 pass"] * 4
    log = wfpd.log.read_text()
    assert ("it cannot" if name == "Faulty" else "no method classify") in log
    assert wfpd.end() == 0


def test_a_classify_that_hangs_is_suspended_with_its_compiled_half(wfpd: Wfpd, net: Network) -> None:
    attach = "  - {hook: forward, queues: 0-0}\n  - {hook: input, queues: 1-1}"
    faults = "on_error: block, on_late: permit, late_after: 200ms"
    run(wfpd, udp("ipforward") + "\n" + udp("inbound_transport"), "Faulty", attach=attach, faults=faults,
        more=", budget: {time: 50ms, suspend: 1h}")  # fmt: skip
    with net.udp_receiver(net.server, 5000) as hung, net.udp_receiver(net.router, 5000) as other:
        send(net.client, ROUTER[4], 4, b"1 before")
        assert other.wait_for(1)
        send(net.client, SERVER[4], 4, b"9 hang")
        assert hung.wait_for(1)  # By on_late: classify still runs.
        assert said(wfpd) == ["faulty 9 hang"]
        assert wait_until(lambda: wfpd.metric("wfpd_callout_suspended", callout="c") == 1)
        send(net.client, ROUTER[4], 4, b"1 suspended")
        assert wait_until(lambda: wfpd.metric("wfpd_callout_calls_skipped_total", callout="c") == 1)
        assert other.count == 1  # By on_error.
    assert wfpd.end() == 0


@pytest.mark.parametrize("family", [4, 6])
def test_streams_that_are_left_to_python_are_decided_by_it(wfpd: Wfpd, net: Network, family: int) -> None:
    run(wfpd, "  - {name: look, layer: stream, action: {callout: c, kind: unknown}, when: {ip_local_port: 7000}}",
        "Streams", attach=LOCAL)  # fmt: skip
    with net.tcp_echo(net.router, 7000, family):
        assert net.tcp_round_trip(net.client, 7000, b"1 evil", to=ROUTER[family]) == b"1 evil"
        assert not [line for line in said(wfpd) if "evil" in line]
        assert net.tcp_round_trip(net.client, 7000, b"9 good.", to=ROUTER[family]) == b"9 good."
        assert set(said(wfpd)) == {"stream in 9 good.", "stream out 9 good."}
        with pytest.raises(ConnectionResetError):
            net.tcp_round_trip(net.client, 7000, b"9 evil", to=ROUTER[family])
    assert "stream in 9 evil" in said(wfpd)
    assert wfpd.metric("wfpd_callout_errors_total", callout="c") == 0
    assert wfpd.end() == 0


def test_all_calls_are_counted_and_each_of_the_python_half_is_timed(wfpd: Wfpd, net: Network) -> None:
    run(wfpd, udp("ipforward"), "Awaits")
    with net.udp_receiver(net.server, 5000) as receiver:
        send(net.client, SERVER[4], 4, *[b"1 pass"] * 20, b"9 ask")
        assert receiver.wait_for(21)
    (found,) = wfpd.call("callouts.list")["objects"]
    assert found["calls"] == 21 and re.search("Awaits", str(found))
    assert 2 <= wfpd.metric("wfpd_callout_duration_seconds_count", callout="c") < 21  # And the first of each worker.
